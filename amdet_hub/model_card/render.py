"""What a pull request with a scan in it contains, and one import for everything about cards.

`amdet_hub.model_card.section` writes the section, `amdet_hub.model_card.edit` owns the card's bytes,
`amdet_hub.model_card.verify` compares a section with a repository. Refuses to know: the Hub.
"""

from __future__ import annotations

from amdet_hub.model_card.edit import Section, diff, find_section, remove_section, splice
from amdet_hub.model_card.section import JSON_NAME, SECTION_VERSION, render_section, weights_digest
from amdet_hub.model_card.verify import SectionState, SectionStatus, check_section, stated_commit
from amdet_hub.records import ScanReport
from amdet_hub.report.as_json import as_json
from amdet_hub.report.error_rates import MeasuredRates

__all__ = [
    "JSON_NAME",
    "README_NAME",
    "SECTION_VERSION",
    "MeasuredRates",
    "Section",
    "SectionState",
    "SectionStatus",
    "card_files",
    "check_section",
    "diff",
    "find_section",
    "remove_section",
    "render_section",
    "splice",
    "stated_commit",
    "weights_digest",
]

README_NAME = "README.md"


def card_files(report: ScanReport, readme: bytes | None, *, measured: MeasuredRates | None = None) -> dict[str, bytes]:
    """The files of a pull request: the card with the section in it, and the whole report beside it.

    Args:
        report: the scan.
        readme: README.md as it is now, None when the repository has none.
        measured: as for `render_section`.

    Raises:
        CardError: the card's markers are unusable.
        ReportError: the report is not plain JSON data.
    """
    section = render_section(report, measured=measured)
    return {README_NAME: splice(readme or b"", section), JSON_NAME: as_json(report).encode("ascii")}
