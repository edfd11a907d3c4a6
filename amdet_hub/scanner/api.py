"""A scan with plain arguments: what `from amdet_hub import scan` gives. Knows: the order of `scan_target`'s arguments.

Torch-free to import.
"""

from __future__ import annotations

from amdet_hub.config import ScanConfig
from amdet_hub.hub.settings import HubSettings
from amdet_hub.records import ProgressCallback, RepoRef, ScanReport
from amdet_hub.scanner.estimate import DEFAULT_OPTIONS, ScanOptions


def scan(
    target: str,
    *,
    revision: str | None = None,
    subfolder: str | None = None,
    reference: str | None = None,
    preset: str = "standard",
    seed: int = 0,
    config: ScanConfig | None = None,
    settings: HubSettings | None = None,
    options: ScanOptions = DEFAULT_OPTIONS,
    progress: ProgressCallback | None = None,
) -> ScanReport:
    """Scan the text encoders of a model and judge them.

    Example:
        >>> from amdet_hub import scan
        >>> report = scan("org/model", reference="org/base", progress=lambda stage, done, total: None)
        >>> print(report.verdict.label, *report.verdict.reasons)
        >>> for result in report.results:
        ...     print(result.encoder.label, [trigger.text for trigger in result.triggers])

    Args:
        target: `org/model`, `org/model@revision`, `hf://...`, a Hub URL, or a path that starts with `.` or `/`.
        revision: branch, tag or commit; None means the default branch.
        subfolder: look only there.
        reference: the clean encoder to compare with, written like a target; None takes the known base of this
            architecture.
        preset: "standard", "quick", "characters" or "paper".
        seed: drives every random choice.
        config: every number that can change the verdict; replaces `preset` and `seed`.
        settings: how to reach the Hub; None takes the environment's.
        options: device, dtype, time and memory.
        progress: called as `progress(stage, done, total)` while the scan runs; raise from it to stop.

    Returns:
        The report. `report.verdict.label` is "backdoor-detected", "no-backdoor-found" or "inconclusive"; there is no
        "safe".

    Raises:
        AmdetError: as `amdet_hub.scanner.scan_target`.
    """
    from amdet_hub.scanner.session import scan_target

    settings = settings or HubSettings()
    ref, base = parse_plain(target, reference, settings, revision=revision, subfolder=subfolder)
    return scan_target(
        ref,
        config=config or ScanConfig.for_preset(preset, seed=seed),
        settings=settings,
        reference=base,
        options=options,
        progress=progress,
    )


def parse_plain(
    target: str,
    reference: str | None,
    settings: HubSettings,
    *,
    revision: str | None = None,
    subfolder: str | None = None,
) -> tuple[RepoRef, RepoRef | None]:
    """Target and reference as written, understood. Raises: TargetError."""
    from amdet_hub.hub import parse_target

    ref = parse_target(target, revision=revision, subfolder=subfolder, endpoint=settings.endpoint)
    return ref, parse_target(reference, endpoint=settings.endpoint) if reference is not None else None
