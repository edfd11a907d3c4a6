"""Does a card's section belong to the weights that the repository holds now?

Answered from listings, without a byte of weights.

Knows: sections, reports and listings (paths, LFS sha256, git blob ids). Asks no Hub, and refuses to know whether a
verdict is true: a section can belong to these weights and still have been made by a scanner that lies. Only scanning
again answers that, and every answer here says so.
"""

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from amdet_hub import __version__
from amdet_hub.errors import CardError, ReportError, TargetError
from amdet_hub.hub.targets import parse_target
from amdet_hub.model_card.edit import Section, body_digest, find_section
from amdet_hub.model_card.render import (
    REPORT_JSON,
    SECTION_VERSION,
    file_identity,
    render_section,
    scanned_files,
    weights_digest,
)
from amdet_hub.records import RepoFile, RepoSnapshot, ScanReport
from amdet_hub.report import wording
from amdet_hub.report.as_json import parse_report
from amdet_hub.report.error_rates import MeasuredRates
from amdet_hub.report.escape import visible
from amdet_hub.weight_formats import INDEXES, is_tokenizer_file, weight_format

_MAX_NAMED = 8
# Names of the configurations that decide what is loaded, and how.
_CONFIGURATIONS = (
    "config.json",
    "adapter_config.json",
    "open_clip_config.json",
    "model_index.json",
    "modular_model_index.json",
    "modules.json",
)


@dataclass(frozen=True)
class SectionStatus:
    """What a card's section is worth.

    `reasons` are plain sentences, the deciding one first, with hostile text already `visible`.

    "fresh": it belongs to the present weights (which does not make it true). "stale": a file that may hold weights, or
    a configuration, has changed since, it speaks of a part of the repository, or it cannot be checked by this version.
    "forged": it is not what amdet-hub wrote, or it never belonged to this repository. "missing": there is none.
    """

    state: Literal["fresh", "stale", "forged", "missing"]
    reasons: tuple[str, ...]


def stated_commit(card: bytes | None) -> str | None:
    """The commit a card's section says was scanned (40 hex digits): the one to list as `then`.

    None when it names none; never raises.
    """
    try:
        section = find_section(card) if card else None
    except CardError:
        return None
    commit = section.attributes.get("commit", "") if section else ""
    return commit if re.fullmatch(r"[0-9a-f]{40}", commit) else None


def check_section(
    card: bytes | None,
    report_json: bytes | None,
    now: RepoSnapshot,
    then: RepoSnapshot | None,
    *,
    measured: Sequence[MeasuredRates] = (),
) -> SectionStatus:
    """Compare a card's section with the report beside it and with the repository's listings.

    Never raises for what they hold.

    Args:
        card: README.md, None when there is none.
        report_json: amdet-hub.json beside it, None when there is none.
        now: the repository's present listing.
        then: its listing at `stated_commit(card)`, None when it has no such commit.
        measured: every measured rate a section may have been rendered with; none of them is tried too.
    """
    try:
        section = find_section(card or b"")
    except CardError as error:
        if b"amdet-hub:" in (card or b""):
            return SectionStatus("forged", (f"{error}; amdet-hub never writes that",))
        section = None
    if section is None:
        return SectionStatus("missing", ("the card holds no amdet-hub section",))
    version = section.attributes.get("v", "")
    # Of these forms the marker holds the digest of the body.
    if version in ("1", SECTION_VERSION) and section.attributes.get("body") != body_digest(section.body):
        return SectionStatus(
            "forged",
            ("the text of the section was changed after it was written: its sha256 is not the one in its marker",),
        )
    if not version:
        return SectionStatus("forged", ("its begin marker states no version; amdet-hub never writes that",))
    if version != SECTION_VERSION:
        old = f"the section has the form '{version}', this version of amdet-hub reads '{SECTION_VERSION}'; scan again"
        return SectionStatus("stale", (old,))
    if report_json is None:
        return SectionStatus("forged", (f"the repository has no {REPORT_JSON} to support the section",))
    try:
        report = parse_report(report_json.decode())
    except (ReportError, UnicodeDecodeError) as error:
        return SectionStatus("forged", (f"no readable {REPORT_JSON} supports the section: {error}",))
    return _check_against(section, report, now, then, measured)


def _check_against(
    section: Section,
    report: ScanReport,
    now: RepoSnapshot,
    then: RepoSnapshot | None,
    measured: Sequence[MeasuredRates],
) -> SectionStatus:
    if not _is_rendering(section, report, measured):
        if _version_key(report.environment.amdet_hub) > _version_key(__version__):
            return SectionStatus(
                "stale",
                (
                    f"amdet-hub {visible(report.environment.amdet_hub, limit=40)} wrote it, which is newer than this"
                    f" {__version__}; scan again or upgrade",
                ),
            )
        return SectionStatus("forged", (f"the section is not what amdet-hub writes for the {REPORT_JSON} beside it",))
    forged = _claims_against(section, report, then)
    if forged or then is None:
        return SectionStatus("forged", tuple(forged))
    if part := _part(report):
        alone = f"the section speaks of '{visible(part)}' alone, and not of what else the repository holds"
        return SectionStatus("stale", (alone, "scan the whole repository"))
    if stale := _changes(then, now):
        return SectionStatus(
            "stale", (*stale, "the section speaks of other weights than the repository holds now: scan again")
        )
    reasons = [
        f"the weight files and configurations of commit {wording.short(then.commit_sha)} are those of"
        f" {wording.short(now.commit_sha)}"
    ]
    if now.repo_id != report.snapshot.repo_id:
        reasons.append(f"it was written for a repository called '{visible(report.snapshot.repo_id)}'")
    if changed := wording.changed_settings(report):
        reasons.append(f"it was not scanned with the preset's own settings: {changed}")
    command = visible(wording.reproduce_command(report), limit=1000)
    untrue = f"a section can belong to these weights and be untrue: run `{command}` to be sure"
    return SectionStatus("fresh", (*reasons, untrue))


def _part(report: ScanReport) -> str:
    """The folder or file that was scanned of the repository, "" where all of it was."""
    try:
        ref = parse_target(report.target)
    except TargetError:  # an address on a Hub of its own
        return ""
    return ref.filename or ref.subfolder


def _is_rendering(section: Section, report: ScanReport, measured: Sequence[MeasuredRates]) -> bool:
    found = (section.body, section.attributes)
    renderings = (find_section(render_section(report, measured=rates).encode()) for rates in (None, *measured))
    return any(one is not None and (one.body, one.attributes) == found for one in renderings)


def _version_key(version: str) -> tuple[int, ...]:
    match = re.match(r"\d{1,6}(?:\.\d{1,6}){0,3}", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _claims_against(section: Section, report: ScanReport, then: RepoSnapshot | None) -> list[str]:
    """Why the section cannot have been true of this repository even when it was written."""
    commit = section.attributes["commit"]
    if then is None or then.commit_sha is None or then.commit_sha != commit:
        return [f"the repository has no commit '{commit}', which the section says was scanned"]
    found = []
    if section.attributes["files"] != weights_digest(report):
        found.append("the marker's digest of the weight files is not that of the files the report lists")
    found += [
        f"the report's encoder '{visible(r.encoder.label)}' is of another commit"
        for r in report.results
        if r.encoder.commit_sha != commit
    ]
    if not report.results:
        found.append("the report scanned nothing, so the section belongs to no weights")
    for file in scanned_files(report):
        held = then.file(file.path)
        if held is None or not _same_content(file, held):
            found.append(
                f"commit {wording.short(commit)} has {'no' if held is None else 'another'} file"
                f" '{visible(file.path)}' than the section says"
            )
    return _named(found)


def _same_content(one: RepoFile, other: RepoFile) -> bool:
    if one.size_bytes != other.size_bytes:
        return False
    if one.sha256 and other.sha256:
        return one.sha256 == other.sha256
    return bool(one.blob_id) and one.blob_id == other.blob_id


def _changes(then: RepoSnapshot, now: RepoSnapshot) -> list[str]:
    """What differs between the two listings among the files that decide which towers load."""
    old, new = _deciding(then), _deciding(now)
    found = [f"'{visible(path)}' is gone" for path in sorted(old.keys() - new.keys())]
    found += [f"'{visible(path)}' is new" for path in sorted(new.keys() - old.keys())]
    found += [
        f"'{visible(path)}' has changed" for path in sorted(old.keys() & new.keys()) if _is_other(old[path], new[path])
    ]
    return _named(found)


def _is_other(old: RepoFile, new: RepoFile) -> bool:
    if old.size_bytes != new.size_bytes:
        return True
    stated = (old.blob_id and new.blob_id) or (old.sha256 and new.sha256)
    if not stated and weight_format(old.path, old.size_bytes) == "document":
        return False  # a small text file whose listing carries no id: nothing to compare
    return file_identity(old) != file_identity(new) and not _same_content(old, new)


def _deciding(snapshot: RepoSnapshot) -> dict[str, RepoFile]:
    """The files that decide what loads, in whatever folder: a scan looks at each, and some loader takes it."""
    return {
        f.path: f
        for f in snapshot.files
        if weight_format(f.path, f.size_bytes) != "document"
        or f.path.lower().endswith(INDEXES)
        or is_tokenizer_file(posixpath.basename(f.path))
        or posixpath.basename(f.path) in _CONFIGURATIONS
    }


def _named(sentences: list[str]) -> list[str]:
    more = len(sentences) - _MAX_NAMED
    return [*sentences[:_MAX_NAMED], f"and {more} more"] if more > 0 else sentences
