"""A detected backdoor, told to the owner of the repository in a discussion."""

from amdet_hub.hub import HubSettings
from amdet_hub.records import ScanReport
from amdet_hub.report import as_markdown

DISCUSSION_TITLE = "amdet-hub: a backdoor was detected in the text encoder"
# Characters of a discussion's text; the Hub refuses longer ones.
MAX_DISCUSSION = 60_000


def tell_owner_of(report: ScanReport, settings: HubSettings) -> str | None:
    """Open one discussion for each tower: its digest is in the title, by which an earlier one is found again.

    Returns:
        The address of the new discussion, None where there was one already.

    Raises:
        HubError: it could not be opened.
    """
    from amdet_hub.hub.discussions import tell_owner

    digest = next(r.tower_digest for r in report.results if r.verdict.label == "backdoor-detected")
    return tell_owner(
        report.snapshot.repo_id,
        title=f"{DISCUSSION_TITLE} (tower {digest[:12]})",
        text=discussion_text(report),
        settings=settings,
    )


def discussion_text(report: ScanReport) -> str:
    """What the owner is told: how sure it is, the report, and how to check it. Repository text in it is escaped."""
    opening = (
        "An automatic scan of this repository's text encoder found what looks like a backdoor. This is a finding with"
        " evidence, and no blame: a fine-tune can carry it without its author's knowledge, and the scan has false"
        " alarms.\n\nThe report is below, with the command that repeats the scan. If it is wrong, closing this"
        " discussion is enough.\n\n"
    )
    body = as_markdown(report)
    if len(opening) + len(body) > MAX_DISCUSSION:
        body = "The report is too long for a discussion. `amdet-hub scan` on this repository prints it."
    return opening + body
