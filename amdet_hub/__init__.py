"""amdet-hub: was the text encoder of this CLIP-family model backdoored by whoever fine-tuned it?

    from amdet_hub import scan

    report = scan("org/model", reference="org/base")
    print(report.verdict.label, *report.verdict.reasons)

and, before loading somebody's model, `amdet_hub.guard("org/model")` (see `amdet_hub.automation.guard`).

The map. Data flows downward, imports point downward, and no room imports its sibling:

* `amdet_hub.cli`: words in, words out; the only place that prints and that knows exit codes.
* `amdet_hub.github_action`: which checkpoints a push changed, and how a GitHub runner is told of the result. Standard
  library only.
* `amdet_hub.demo`, `amdet_hub.bench`: the offline demonstration; labelled backdoored and benign encoders, made to
  measure us with.
* `amdet_hub.automation`: scanning without being asked: a watch over repositories, webhooks, and the tools of coding
  agents.
* `amdet_hub.automation.guard`: `guard`, which stands before the loading of a model.
* `amdet_hub.scanner`: resolve -> load -> detect -> judge. Owns the `Accelerator`. Called, it scans:
  `scan("org/model")`.
* `amdet_hub.model_card.publish`: a report on a model card, as a pull request, and read back.
* `amdet_hub.hub`: the only room that talks to the Hugging Face Hub (or to a folder in its place).
* `amdet_hub.encoders`: the only room that knows transformers' and checkpoints' insides.
* `amdet_hub.report`: a `ScanReport` as text, JSON, Markdown, and as a section of a model card. Pure functions.
* `amdet_hub.detect`: the paper's method and ours, on tensors. No Hub, no files, no printing.
* `amdet_hub.verdict`: evidence -> verdict, one pure function.
* `amdet_hub.families`: supported families, their trusted references and calibrated thresholds, as data.
* `amdet_hub.records`, `amdet_hub.errors`: what crosses the walls, and what can go wrong.
* `amdet_hub.testing`: a local Hub and tiny encoders, for our tests and for yours.

Importing this package imports no torch; the names below are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amdet_hub.automation.guard import Clearance, guard
    from amdet_hub.config import ScanConfig
    from amdet_hub.errors import AmdetError, BackdoorDetected, NotCleared
    from amdet_hub.hub.settings import HubSettings
    from amdet_hub.records import ScanReport
    from amdet_hub.scanner.api import scan
    from amdet_hub.scanner.estimate import ScanOptions

__all__ = [
    "AmdetError",
    "BackdoorDetected",
    "Clearance",
    "HubSettings",
    "NotCleared",
    "ScanConfig",
    "ScanOptions",
    "ScanReport",
    "guard",
    "scan",
]

__version__ = "0.1.0"

_HOMES = {
    "AmdetError": "errors",
    "BackdoorDetected": "errors",
    "Clearance": "automation.guard",
    "HubSettings": "hub.settings",
    "NotCleared": "errors",
    "ScanConfig": "config",
    "ScanOptions": "scanner.estimate",
    "ScanReport": "records",
    "guard": "automation.guard",
    "scan": "scanner.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"amdet_hub.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*__all__, "__version__"))
