"""`guard`: stands before the loading of a model. Knows: which answers let a model through.

Refuses to know: how a scan or a card is made.

    import amdet_hub
    from transformers import CLIPTextModel

    cleared = amdet_hub.guard("org/model")                                  # raises BackdoorDetected
    model = CLIPTextModel.from_pretrained("org/model", revision=cleared.commit_sha)

Load the commit that was cleared and no other: the branch may move in between. Importing this module imports no torch,
and neither does a call that finds its answer among the kept results or on the card.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from amdet_hub.config import ScanConfig
from amdet_hub.errors import BackdoorDetected, BadRepository, HubError, NotCleared, ReportError
from amdet_hub.hub.settings import HubSettings
from amdet_hub.model_card.publish import REPORT_JSON, read_optional, verify_card
from amdet_hub.records import ProgressCallback, ResolvedEncoder, ScanReport, Verdict
from amdet_hub.report.as_json import parse_report
from amdet_hub.scanner.api import parse_plain
from amdet_hub.scanner.estimate import DEFAULT_OPTIONS, ScanOptions
from amdet_hub.scanner.known import Known, open_known

Source = Literal["cache", "card", "scan"]


@dataclass(frozen=True)
class Clearance:
    """Why a model was let through.

    Attributes:
        target: what was asked for, verbatim.
        commit_sha: the commit that was looked at, 40 hex digits: load this one. None for a local folder.
        verdict: "no-backdoor-found", or "inconclusive" where that was allowed. Never a proof.
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
    *,
    revision: str | None = None,
    subfolder: str | None = None,
    reference: str | None = None,
    preset: str = "standard",
    config: ScanConfig | None = None,
    allow_scan: bool = True,
    trust_card: bool = False,
    on_inconclusive: Literal["raise", "allow"] = "raise",
    settings: HubSettings | None = None,
    options: ScanOptions = DEFAULT_OPTIONS,
    progress: ProgressCallback | None = None,
) -> Clearance:
    """Raise before a model with a detected backdoor is loaded.

    The first answer counts: a kept result of a scan of these very weights with this configuration; the verdict on the
    model's card, where it belongs to these weights (checked by the digests of the files) and is a detection, or any
    verdict if `trust_card`; a scan made now, if `allow_scan`, which is kept for the next call.

    A card is written by whoever owns the repository. That it belongs to the weights says nothing about its truth, so
    by default only its detections count, and an acquittal on a card is no answer.

    Args:
        target: as for `amdet_hub.scanner`.
        revision: branch, tag or commit; None means the default branch.
        subfolder: look only there.
        reference: the clean encoder to compare with; None takes the known base of this architecture.
        preset: "standard", "quick", "characters" or "paper".
        config: every number that can change the verdict; replaces `preset`.
        allow_scan: whether to scan when nothing is known yet, which takes minutes.
        trust_card: accept what the card says in place of a scan.
        on_inconclusive: "raise" `NotCleared`, or "allow" it.
        settings: how to reach the Hub; None takes the environment's.
        options: device, dtype, time and memory of a scan.
        progress: called as `progress(stage, done, total)`.

    Returns:
        Why it was let through, and the commit to load.

    Raises:
        BackdoorDetected: do not load it; carries the report.
        NotCleared: inconclusive, or nothing is known and scanning was not allowed.
        NothingToScan: there is no encoder of a supported family, so nothing can be said.
        AmdetError: the target cannot be read.
    """
    settings = settings or HubSettings()
    ref, base = parse_plain(target, reference, settings, revision=revision, subfolder=subfolder)
    known = open_known(
        ref, config=config or ScanConfig.for_preset(preset), settings=settings, reference=base, options=options
    )
    report, source = _answer(known, allow_scan=allow_scan, trust_card=trust_card, progress=progress)
    if report is None:
        raise NotCleared(target, "nothing is known about its weights, and scanning was not allowed")
    if report.verdict.label == "backdoor-detected":
        raise BackdoorDetected(target, report, source)
    if report.verdict.label == "inconclusive" and on_inconclusive == "raise":
        raise NotCleared(target, f"inconclusive ({report.verdict.reasons[0]})", report)
    return Clearance(target, known.source.snapshot.commit_sha, report.verdict, source, report)


def _answer(
    known: Known, *, allow_scan: bool, trust_card: bool, progress: ProgressCallback | None
) -> tuple[ScanReport | None, Source]:
    if (kept := known.recall()) is not None:
        return kept, "cache"
    published = published_report(known)
    if published is not None and (trust_card or published.verdict.label == "backdoor-detected"):
        return published, "card"
    if not allow_scan:
        return None, "scan"
    if (kept := known.recall_by_digest(progress)) is not None:
        return kept, "cache"
    return known.scan(progress), "scan"


def published_report(known: Known) -> ScanReport | None:
    """The report on the model's card, where it belongs to the weights of the pinned commit and speaks of every encoder that was asked for.

    Whether it is true is another question: its author is whoever may write to the repository.

    None too when the card cannot be read or is broken: a card is never more than a short cut.
    """
    if known.ref.kind != "hub":
        return None
    try:
        if verify_card(known.ref, known.settings).state != "fresh":
            return None
        stored = read_optional(known.source, REPORT_JSON)
        if stored is None:
            return None
        report = parse_report(stored.decode("utf-8"))
    except (ReportError, UnicodeDecodeError, HubError, BadRepository):
        return None
    asked = {_files(encoder) for encoder in known.resolution.encoders}
    convicted = {_files(r.encoder) for r in report.results if r.verdict.label == "backdoor-detected"}
    if convicted:
        return report if convicted & asked else None
    return report if asked <= {_files(r.encoder) for r in report.results} else None


def _files(encoder: ResolvedEncoder) -> tuple[str, ...]:
    return (encoder.prefix, *(f.path for f in encoder.weight_files))
