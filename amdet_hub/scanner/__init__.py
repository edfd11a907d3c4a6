"""The room that owns a scan: resolve, load, detect, judge.

* `scanner`: `Scanner`, which every surface builds. `api`: the same with plain arguments, `amdet_hub.scan`.
* `resolve`: a target to pairs of suspect and reference; `references` and `lora_bases` choose.
* `estimate`, `transfer`: time and bytes of a scan before it is made. `prefetch`: the next target's weights.
* `session`, `pair_scan`: the scan itself. `runtime`: processes, device, memory and time, through accelerate.
* `evidence`, `trigger_choice`, `nearest_texts`: from measurements to findings.
* `cache`, `feature_cache`, `shared_references`, `deduplicate`: what is not computed twice.
* `inspect_prompt`, `reload`: one prompt in a scanned encoder, without and with the trigger.

The names below are loaded on first use, so that importing this package imports no torch.
"""

from typing import TYPE_CHECKING

from amdet_hub._lazy import loader

if TYPE_CHECKING:
    from amdet_hub.scanner.cache import judged_by
    from amdet_hub.scanner.estimate import PlannedEncoder, TargetPlan, plan_target
    from amdet_hub.scanner.inspect_prompt import EncoderView, Probe, PromptInspector, check_text
    from amdet_hub.scanner.options import DEFAULT_OPTIONS, ScanOptions, is_main_process
    from amdet_hub.scanner.reload import PairCache
    from amdet_hub.scanner.resolve import EncoderPair, ResolvedTarget
    from amdet_hub.scanner.scanner import Scanner

__getattr__ = loader(
    __name__,
    {
        "DEFAULT_OPTIONS": "options",
        "EncoderPair": "resolve",
        "EncoderView": "inspect_prompt",
        "PairCache": "reload",
        "PlannedEncoder": "estimate",
        "Probe": "inspect_prompt",
        "PromptInspector": "inspect_prompt",
        "ResolvedTarget": "resolve",
        "ScanOptions": "options",
        "Scanner": "scanner",
        "TargetPlan": "estimate",
        "check_text": "inspect_prompt",
        "is_main_process": "options",
        "judged_by": "cache",
        "plan_target": "estimate",
    },
)

__all__ = [
    "DEFAULT_OPTIONS",
    "EncoderPair",
    "EncoderView",
    "PairCache",
    "PlannedEncoder",
    "Probe",
    "PromptInspector",
    "ResolvedTarget",
    "ScanOptions",
    "Scanner",
    "TargetPlan",
    "check_text",
    "is_main_process",
    "judged_by",
    "plan_target",
]
