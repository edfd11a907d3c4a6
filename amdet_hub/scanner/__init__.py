"""Resolve, load, detect, judge: from a target to a `ScanReport`. The room that owns the `Accelerator`.

* `plan`: what would be scanned, against what, and how long it may take; fetches no weights, imports no torch.
* `references`: which clean encoder a suspect is held against.
* `travel`: which weights travel, and how many bytes; `prefetch` and `shared`: what several scans have in common.
* `devices`: processes, device, dtype, memory and time, through accelerate.
* `findings`: what the detectors measured, as `Evidence`.
* `loading`: a suspect and its reference, to towers in memory.
* `run`: the scan itself.
* `probe`: one prompt in a scanned encoder and its reference, without and with the trigger; `again` loads the two anew
  for it.
* `simple`: the same with plain arguments. The room itself can be called and does that: `from amdet_hub import scan;
  scan("org/model")`.
* `known`, `results_cache`: what was scanned before is answered without scanning it again.

The names below are loaded on first use, so that importing this package imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amdet_hub.scanner.cache import judged_by
    from amdet_hub.scanner.estimate import PlannedEncoder, ScanOptions, TargetPlan, plan_target
    from amdet_hub.scanner.inspect_prompt import EncoderView, Probe, check_text, probe_prompt
    from amdet_hub.scanner.reload import PairCache
    from amdet_hub.scanner.runtime import is_main_process
    from amdet_hub.scanner.session import scan_target

__all__ = [
    "EncoderView",
    "PairCache",
    "PlannedEncoder",
    "Probe",
    "ScanOptions",
    "TargetPlan",
    "check_text",
    "is_main_process",
    "judged_by",
    "plan_target",
    "probe_prompt",
    "scan_target",
]

_HOMES = {
    "EncoderView": "inspect_prompt",
    "PairCache": "reload",
    "PlannedEncoder": "estimate",
    "Probe": "inspect_prompt",
    "ScanOptions": "estimate",
    "TargetPlan": "estimate",
    "check_text": "inspect_prompt",
    "is_main_process": "runtime",
    "judged_by": "cache",
    "plan_target": "estimate",
    "probe_prompt": "inspect_prompt",
    "scan_target": "session",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"amdet_hub.scanner.{_HOMES[name]}"), name)
