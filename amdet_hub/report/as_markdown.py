"""A `ScanReport` as a GitHub Flavored Markdown document of its own. Knows: the order of its blocks.

Refuses to know: cards. LF line ends.
"""

from __future__ import annotations

from amdet_hub.records import ScanReport
from amdet_hub.report import markdown_blocks, wording
from amdet_hub.report.escape import code_span, unactionable


def as_markdown(report: ScanReport) -> str:
    """The report as a Markdown document of its own (a job summary, a comment, a file), with a final newline."""
    changed = wording.changed_settings(report)
    blocks = [
        f"# amdet-hub: {code_span(report.snapshot.repo_id)}",
        markdown_blocks.headline(report),
        markdown_blocks.bullets(report.verdict.reasons),
        markdown_blocks.table(
            ("", ""),
            [
                *markdown_blocks.run_rows(report),
                *([("changed settings", changed)] if changed else []),
                *markdown_blocks.security_rows(report),
            ],
        ),
    ]
    for result in report.results:
        blocks += markdown_blocks.encoder_blocks(result, report, level=2)
    blocks += [
        *markdown_blocks.skipped_blocks(report.skipped, level=2),
        "## Not covered",
        markdown_blocks.not_covered(),
        "## Run it again",
        markdown_blocks.fenced(wording.reproduce_command(report)),
    ]
    return "".join(f"{unactionable(line)}\n" for line in "\n\n".join(blocks).split("\n"))
