"""A scan with plain arguments: `from amdet_hub import scan`. Torch-free to import."""

from dataclasses import replace

from amdet_hub.config import ScanConfig
from amdet_hub.hub import parse_target
from amdet_hub.records import SILENT, Monitor, RepoRef, ScanReport
from amdet_hub.scanner.scanner import Scanner


def scan(
    target: str,
    reference: str | None = None,
    *,
    preset: str = "standard",
    scanner: Scanner | None = None,
    monitor: Monitor = SILENT,
) -> ScanReport:
    """Scan the text encoders of a model and judge them.

    Example:
        >>> from amdet_hub import scan
        >>> report = scan("org/model", reference="org/base")
        >>> print(report.verdict.label, *report.verdict.reasons)
        >>> for result in report.results:
        ...     print(result.encoder.label, [trigger.text for trigger in result.triggers])

    Args:
        target: `org/model`, `org/model@revision`, `hf://org/model@revision/subfolder`, a Hub URL, or a path that
            starts with `.` or `/`.
        reference: the clean encoder to compare with, written like a target; None takes the known base of this
            architecture.
        preset: "standard", "quick", "characters" or "paper".
        scanner: every setting; replaces `preset`.
        monitor: follows the scan; raise from `monitor.progress` to stop it.

    Returns:
        The report. `report.verdict.label` is "backdoor-detected", "no-backdoor-found", "inconclusive" or
        "nothing-to-scan"; there is no "safe".

    Raises:
        AmdetError: as `Scanner.resolve` and `Scanner.scan`.
    """
    ref, scanner = understand(target, reference, scanner or Scanner(ScanConfig.for_preset(preset)))
    return scanner.scan(scanner.resolve(ref), monitor)


def understand(target: str, reference: str | None, scanner: Scanner) -> tuple[RepoRef, Scanner]:
    """A target as written, and the scanner with the reference as written. Raises: TargetError."""
    endpoint = scanner.hub.endpoint
    ref = parse_target(target, endpoint=endpoint)
    if reference is None:
        return ref, scanner
    return ref, replace(scanner, reference=parse_target(reference, endpoint=endpoint))
