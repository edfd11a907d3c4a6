"""The model card's section on the Hub: preview it, push it as a pull request, verify it.

Knows: when a report may be pushed and which commits to compare. Refuses to know: the text of a section and its place
(`render`, `edit`), how a commit is made (`hub.publish`), and the weights: nothing here downloads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amdet_hub import hub  # its names are loaded on first use, so that `--help` loads no YAML
from amdet_hub.errors import FileNotInRepo, PushRefused, RevisionNotFound, TargetError
from amdet_hub.hub import HubSettings
from amdet_hub.model_card.edit import diff
from amdet_hub.model_card.render import README, REPORT_JSON, card_files
from amdet_hub.model_card.verify import SectionStatus, check_section, stated_commit
from amdet_hub.records import RepoRef, RepoSnapshot, RepoSource, ScanReport
from amdet_hub.report.error_rates import EVER_SHOWN, rates_of_report

if TYPE_CHECKING:
    from amdet_hub.hub import PushResult

# A larger README or stored report is not a card, and reading it would only help the person who made it so large.
MAX_CARD_BYTES = 4 << 20
# An earlier pull request of ours is recognised by it, so it never changes.
PULL_REQUEST_TITLE = "Add the amdet-hub backdoor scan to the model card"


def preview_card(report: ScanReport, settings: HubSettings) -> str:
    """The changes of a push: the card's as a unified diff, the stored report's as a count. `""` without any.

    Writes nothing.

    Raises:
        CardError: the card cannot be spliced.
        HubError: the repository cannot be read.
    """
    source = hub.open_source(_present(report), settings)
    readme, stored = (read_optional(source, path) or b"" for path in (README, REPORT_JSON))
    files = card_files(report, readme, measured=rates_of_report(report))
    signs = [line[:1] for line in diff(stored, files[REPORT_JSON], REPORT_JSON).split("\n")[2:]]
    count = f"+{signs.count('+')} -{signs.count('-')} lines {REPORT_JSON}\n" if signs else ""
    return diff(readme, files[README], README) + count


def push_card(report: ScanReport, settings: HubSettings, *, direct: bool = False) -> PushResult:
    """Write the report's section: as one pull request, opened or updated in place, or directly to the main branch.

    Args:
        report: a finished report of a Hub repository.
        settings: how to reach the Hub, as whom.
        direct: commit to the main branch instead of opening a pull request.

    Raises:
        PushRefused: the report is of a local folder or unfinished, or the repository no longer holds the weights it
            speaks of.
        CardError: the card cannot be spliced.
        PullRequestClosed: the owner closed our earlier pull request.
        CommitConflict: the main branch moved meanwhile; nothing was written.
        HubError: anything else between us and the Hub.
    """
    from amdet_hub.hub.publish import Proposal, push_files

    check_pushable(report)
    source = hub.open_source(_present(report), settings)
    files = card_files(report, read_optional(source, README), measured=rates_of_report(report))
    then = _snapshot_at(report.snapshot.repo_id, report.snapshot.commit_sha, settings)
    status = check_section(files[README], files[REPORT_JSON], source.snapshot, then, measured=EVER_SHOWN)
    if status.state != "fresh":
        raise PushRefused(
            f"the report does not describe '{report.snapshot.repo_id}' as it is now: {'; '.join(status.reasons)}"
        )
    assert source.snapshot.commit_sha is not None  # a Hub repository, as `check_pushable` says
    proposal = Proposal(
        report.snapshot.repo_id, files, PULL_REQUEST_TITLE, _description(report), source.snapshot.commit_sha
    )
    return push_files(proposal, settings, direct=direct)


def verify_card(ref: RepoRef, settings: HubSettings) -> SectionStatus:
    """Whether the card's section belongs to the repository's present weights, without downloading any.

    Raises:
        TargetError: the target is a local folder, which has no commits to compare with.
        HubError: the repository cannot be read.
    """
    if ref.kind != "hub":
        raise TargetError(ref.raw, "it is a local folder; only the card of a Hub repository can be verified")
    source = hub.open_source(ref, settings)
    readme = read_optional(source, README)
    then = _snapshot_at(source.snapshot.repo_id, stated_commit(readme), settings)
    return check_section(readme, read_optional(source, REPORT_JSON), source.snapshot, then, measured=EVER_SHOWN)


def check_pushable(report: ScanReport) -> None:
    """Refuse what could never be pushed, before the Hub is asked anything.

    Raises:
        PushRefused: the report is of a local folder, unfinished, or without a scanned encoder.
    """
    name = report.snapshot.repo_id
    if not report.complete:
        raise PushRefused(f"the scan of '{name}' was not finished, and a card needs a whole one")
    if report.snapshot.kind != "hub" or report.snapshot.commit_sha is None:
        raise PushRefused(f"the report is of the local folder '{name}', which has no card on the Hub")
    if not report.results:
        raise PushRefused(f"nothing of '{name}' was scanned, so there is nothing to say on its card")


def read_optional(source: RepoSource, path: str) -> bytes | None:
    """A small file of the repository, None when it has none.

    Raises: BadRepository when it is too large; any HubError.
    """
    if source.snapshot.file(path) is None:
        return None
    try:
        return source.read_small(path, max_bytes=MAX_CARD_BYTES)
    except FileNotInRepo:
        return None


def _present(report: ScanReport) -> RepoRef:
    """The repository of a report as it is now, not as it was scanned."""
    return RepoRef(kind=report.snapshot.kind, repo_id=report.snapshot.repo_id, raw=report.target)


def _snapshot_at(repo_id: str, commit_sha: str | None, settings: HubSettings) -> RepoSnapshot | None:
    if commit_sha is None:
        return None
    try:
        return hub.open_at(repo_id, commit_sha, settings).snapshot
    except RevisionNotFound:
        return None


def _description(report: ScanReport) -> str:
    """The pull request's first comment. Holds no text of the repository but its id and commit."""
    return (
        f"This adds the result of an amdet-hub scan of `{report.snapshot.repo_id}` at commit"
        f" `{report.snapshot.commit_sha}` to the model card, and the full report as `{REPORT_JSON}`.\n\nVerdict:"
        f" **{report.verdict.label}**.\n\nOnly the part between the `amdet-hub` markers is touched; every other byte"
        " of the card stays as it is. Anyone can check that the section belongs to the present weights with"
        f" `amdet-hub verify {report.snapshot.repo_id}`, and run the scan again with the command at the section's end."
        " Close this pull request and amdet-hub will not open another."
    )
