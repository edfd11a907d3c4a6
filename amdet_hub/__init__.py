"""amdet-hub: was the text encoder of this CLIP-family model backdoored by the person who fine-tuned it?

    from amdet_hub import scan

    report = scan("org/model", reference="org/base")
    print(report.verdict.label, report.verdict.code, *report.verdict.reasons)

and, before a model is loaded, `amdet_hub.guard("org/model")` (see `amdet_hub.automation.guard`).

The map. Data flows downward, imports point downward, and no room imports its sibling:

* `amdet_hub.cli`: words in, words out; the only place that prints and that knows exit codes.
* `amdet_hub.web`: the Gradio app, which a Space on the Hub serves.
* `amdet_hub.demo`, `amdet_hub.bench`: the offline demonstration; labelled encoders to measure the detector with.
* `amdet_hub.automation`: `guard`, a watch over repositories, changed checkpoints, and the tools of coding agents.
* `amdet_hub.github_action`: which checkpoints a push changed, and how a runner learns of the result. Standard library
  only.
* `amdet_hub.scanner`: `Scanner`, the one object that owns a scan: resolve -> load -> detect -> judge. Owns the
  `Accelerator`.
* `amdet_hub.model_card`: a report on a model card, as a pull request, and verified later.
* `amdet_hub.hub`: the only room that talks to the Hugging Face Hub (or to a folder in its place).
* `amdet_hub.encoders`: the only room that knows the insides of transformers and of checkpoints.
* `amdet_hub.report`: a `ScanReport` as text, JSON, Markdown, SARIF and HTML. Pure functions.
* `amdet_hub.detect`: the paper's method and ours, on tensors. No Hub, no files, no printing.
* `amdet_hub.verdict`: evidence -> verdict, one pure function.
* `amdet_hub.families`: supported families, their trusted references and calibrated thresholds, as data.
* `amdet_hub.config`: every number that can change a verdict, with its source.
* `amdet_hub.installation`: the key of this user, and the seed of scans that follows from it.
* `amdet_hub.records`, `amdet_hub.errors`: the data that crosses the walls, and the errors.
* `amdet_hub.testing`: a local Hub and tiny encoders, for our tests and for yours.

Importing this package imports no torch; the names below are loaded on first use.
"""

from typing import TYPE_CHECKING

from amdet_hub._lazy import loader

if TYPE_CHECKING:
    from amdet_hub.automation.guard import Clearance, guard
    from amdet_hub.config import ScanConfig
    from amdet_hub.errors import AmdetError, BackdoorDetected, NotCleared
    from amdet_hub.hub.settings import HubSettings
    from amdet_hub.records import Monitor, ScanReport, ScanResult, Verdict
    from amdet_hub.scanner.api import scan
    from amdet_hub.scanner.options import ScanOptions
    from amdet_hub.scanner.scanner import Scanner

__all__ = [
    "AmdetError",
    "BackdoorDetected",
    "Clearance",
    "HubSettings",
    "Monitor",
    "NotCleared",
    "ScanConfig",
    "ScanOptions",
    "ScanReport",
    "ScanResult",
    "Scanner",
    "Verdict",
    "guard",
    "scan",
]

__version__ = "0.1.0"

__getattr__ = loader(
    __name__,
    {
        "AmdetError": "errors",
        "BackdoorDetected": "errors",
        "Clearance": "automation.guard",
        "HubSettings": "hub.settings",
        "Monitor": "records",
        "NotCleared": "errors",
        "ScanConfig": "config",
        "ScanOptions": "scanner.options",
        "ScanReport": "records",
        "ScanResult": "records",
        "Scanner": "scanner.scanner",
        "Verdict": "records",
        "guard": "automation.guard",
        "scan": "scanner.api",
    },
)


def __dir__() -> list[str]:
    return sorted((*__all__, "__version__"))
