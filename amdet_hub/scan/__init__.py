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
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amdet_hub.records import ScanReport
    from amdet_hub.scan.again import KeptPairs
    from amdet_hub.scan.devices import is_main_process
    from amdet_hub.scan.plan import PlannedEncoder, ScanOptions, TargetPlan, plan_target
    from amdet_hub.scan.probe import EncoderView, Probe, check_text, probe_prompt
    from amdet_hub.scan.results_cache import judged_by
    from amdet_hub.scan.run import scan_target

__all__ = [
    "EncoderView",
    "KeptPairs",
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
    "EncoderView": "probe",
    "KeptPairs": "again",
    "PlannedEncoder": "plan",
    "Probe": "probe",
    "ScanOptions": "plan",
    "TargetPlan": "plan",
    "check_text": "probe",
    "is_main_process": "devices",
    "judged_by": "results_cache",
    "plan_target": "plan",
    "probe_prompt": "probe",
    "scan_target": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"amdet_hub.scan.{_HOMES[name]}"), name)


class _CallableRoom(types.ModuleType):
    """A module that can be called, because the package's most used function has the room's name."""

    def __call__(self, target: str, **settings: Any) -> ScanReport:
        """Scan a target; see `amdet_hub.scan.simple.scan`."""
        from amdet_hub.scan.simple import scan

        return scan(target, **settings)


sys.modules[__name__].__class__ = _CallableRoom
