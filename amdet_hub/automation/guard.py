"""`guard`: stands before the loading of a model, and decides which answers let it through.

    import amdet_hub
    from transformers import CLIPTextModel

    cleared = amdet_hub.guard("org/model")                                  # raises BackdoorDetected
    model = CLIPTextModel.from_pretrained("org/model", revision=cleared.commit_sha)

Load the commit that was cleared and no other: the branch may move in between. Importing this module imports no torch,
and neither does a call that finds its answer among the cached results or on the card.
"""

from dataclasses import dataclass
from typing import Literal

from amdet_hub.errors import BackdoorDetected, BadRepository, HubError, NotCleared, ReportError
from amdet_hub.model_card.publish import read_optional, verify_card
from amdet_hub.model_card.render import REPORT_JSON
from amdet_hub.records import ResolvedEncoder, ScanReport, Verdict
from amdet_hub.report.as_json import parse_report
from amdet_hub.scanner.api import understand
from amdet_hub.scanner.resolve import ResolvedTarget
from amdet_hub.scanner.scanner import Scanner

Source = Literal["cache", "card", "scan"]


@dataclass(frozen=True)
class Clearance:
    """Why a model was let through.

    Attributes:
        target: what was asked for, verbatim.
        commit_sha: the commit that was looked at, 40 hex digits: load this one. None for a local folder.
        verdict: "no-backdoor-found" or "nothing-to-scan", or "inconclusive" where that was allowed. Never a proof.
        source: "cache" (a scan on this machine, of these very weights), "card" (its owner's word) or "scan" (made just
            now).
        report: everything behind it.
    """

    target: str
    commit_sha: str | None
    verdict: Verdict
    source: Source
    report: ScanReport


def guard(
    target: str,
    reference: str | None = None,
    *,
    scanner: Scanner | None = None,
    allow_scan: bool = True,
    trust_card: bool = False,
    on_inconclusive: Literal["raise", "allow"] = "raise",
) -> Clearance:
    """Raise before a model with a detected backdoor is loaded.

    The first answer counts: a cached result of a scan of these very weights with this configuration; the verdict on
    the model's card, where it belongs to these weights (checked by digests) and is a detection, or any verdict if
    `trust_card`; a scan made now, if `allow_scan`. A model without a text encoder of this kind passes. The owner of
    the repository writes its card, which may be untrue: by default only its detections count.

    Args:
        target: as for `amdet_hub.scan`.
        reference: the clean encoder to compare with; None takes the known base of this architecture.
        scanner: every setting of a scan; None takes the preset "standard".
        allow_scan: whether to scan when there is no answer yet, which takes minutes.
        trust_card: accept the card's verdict in place of a scan.
        on_inconclusive: "raise" `NotCleared`, or "allow" it.

    Returns:
        Why it was let through, and the commit to load.

    Raises:
        BackdoorDetected: do not load it; carries the report.
        NotCleared: inconclusive, or there is no answer and scanning was not allowed.
        AmdetError: the target cannot be read.
    """
    ref, scanner = understand(target, reference, scanner or Scanner())
    resolved = scanner.resolve(ref)
    report, source = known_report(scanner, resolved, trust_card=trust_card)
    if report is None and allow_scan:
        report = scanner.scan(resolved)
        source = "cache" if report.cached else "scan"
    if report is None:
        raise NotCleared(target, "there is no answer yet, and scanning was not allowed")
    if report.verdict.label == "backdoor-detected":
        raise BackdoorDetected(target, report, source)
    unknown = ref.kind == "hub" and resolved.snapshot.commit_sha is None  # without it, another commit could be loaded
    if report.verdict.label == "inconclusive" and (on_inconclusive == "raise" or unknown):
        raise NotCleared(target, f"inconclusive ({report.verdict.reasons[0]})", report)
    return Clearance(target, resolved.snapshot.commit_sha, report.verdict, source, report)


def known_report(
    scanner: Scanner, target: ResolvedTarget, *, trust_card: bool = False
) -> tuple[ScanReport | None, Source]:
    """What is known without a scan: the cached result, else the card's, which counts for a detection or if trusted."""
    report = scanner.cached(target)
    published = published_report(scanner, target) if report is None else None
    if published is not None and (trust_card or published.verdict.label == "backdoor-detected"):
        return published, "card"
    # a target without encoders is answered without a scan, and not from the cache either
    return report, "cache" if report is not None and report.cached else "scan"


def published_report(scanner: Scanner, target: ResolvedTarget) -> ScanReport | None:
    """The report on the model's card, where it belongs to the weights of the pinned commit and covers every encoder.

    It may still be untrue: its author is anyone who may write to the repository. None too when the card cannot be read
    or is broken: a card is never more than a short cut.
    """
    if target.ref.kind != "hub":
        return None
    try:
        if verify_card(target.ref, scanner.hub).state != "fresh":
            return None
        stored = read_optional(target.pairs[0].source, REPORT_JSON)
        if stored is None:
            return None
        report = parse_report(stored.decode("utf-8"))
    except (ReportError, UnicodeDecodeError, HubError, BadRepository):
        return None
    asked = {_files(pair.suspect) for pair in target.pairs}
    detected = {_files(r.encoder) for r in report.results if r.verdict.label == "backdoor-detected"}
    counts = detected & asked if detected else asked <= {_files(r.encoder) for r in report.results}
    return report if counts else None


def _files(encoder: ResolvedEncoder) -> tuple[str, ...]:
    return (encoder.prefix, *(f.path for f in encoder.weight_files))
