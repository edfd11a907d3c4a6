"""The model-card section of a report, and the files of a pull request that holds it.

Knows: the text of a section, and which weights it speaks of. Refuses to know: the card around it, and the Hub.

Version 2 of the section: for one report and one `MeasuredRates` the text never changes between releases, so that a
later release can render an old report again and tell a forged section from an old one. Another text is another
`SECTION_VERSION`. One thing can still differ: a character that only a newer Python's Unicode tables know is shown as a
code point by an older one.
"""

import shlex
from collections.abc import Iterable

from amdet_hub.model_card.edit import body_digest, marked, splice
from amdet_hub.records import RepoFile, ScanReport, fingerprint
from amdet_hub.report import wording
from amdet_hub.report.as_json import as_json
from amdet_hub.report.as_markdown import document, joined
from amdet_hub.report.error_rates import MeasuredRates
from amdet_hub.report.escape import code_span, prose

SECTION_VERSION = "2"
README = "README.md"
REPORT_JSON = "amdet-hub.json"


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
    return {
        README: splice(readme or b"", render_section(report, measured=measured)),
        REPORT_JSON: as_json(report).encode("ascii"),
    }


def render_section(report: ScanReport, *, measured: MeasuredRates | None = None) -> str:
    """The section of a model card: begin marker, Markdown body, end marker, LF line ends, a final newline.

    The begin marker says which commit and which weight files the body speaks of and the body's own sha256;
    `check_section` reads it.

    Args:
        report: the scan.
        measured: the measured rates of the report's preset, None where there are none; the section says so either way.
    """
    blocks = [
        "## Backdoor scan of the text encoder",
        *document(report, level=3, rows=[("error rates", _measured_text(measured))]),
        _footer(report),
    ]
    body = joined(blocks).removesuffix("\n")
    return marked(
        {
            "v": SECTION_VERSION,
            "commit": report.snapshot.commit_sha or "none",
            "files": weights_digest(report),
            "body": body_digest(body),
        },
        body,
    )


def weights_digest(report: ScanReport) -> str:
    """sha256 over the sorted (path, identity) of every scanned weight file: the `files` attribute of the begin marker.

    The identity of a file is its sha256 where it is stored by LFS (`file_identity`).
    """
    return fingerprint(sorted({(f.path, file_identity(f)) for f in scanned_files(report)}))


def scanned_files(report: ScanReport) -> Iterable[RepoFile]:
    """The weight files of every encoder that was scanned."""
    return (f for result in report.results for f in result.encoder.weight_files)


def file_identity(file: RepoFile) -> str:
    """What tells this content from another: its sha256, else git's blob id, else only its size."""
    if file.sha256:
        return file.sha256
    return f"git:{file.blob_id}" if file.blob_id else f"size:{file.size_bytes}"


def _measured_text(measured: MeasuredRates | None) -> str:
    if measured is None:
        return "not measured yet for this family and preset"
    wrong, right = measured.false_alarms, measured.detections
    return (
        f"{wording.percent(wrong.value)} of {measured.n_benign:,} benign encoders were flagged"
        f" ({wording.interval(wrong)}), {wording.percent(right.value)} of {measured.n_backdoored:,} backdoored ones"
        f" were detected ({wording.interval(right)}); family {code_span(measured.family, limit=20)}, preset"
        f" {code_span(measured.preset, limit=40)}, {prose(measured.source, limit=200)}"
    )


def _footer(report: ScanReport) -> str:
    command = code_span(shlex.join(["amdet-hub", "verify", report.snapshot.repo_id]))
    verify = f" {command} tells whether they are still the weights of this repository."
    return (
        f"This section was written by amdet-hub; {code_span(REPORT_JSON)} holds the whole report. It speaks of the"
        f" files listed above only.{verify if report.snapshot.commit_sha else ''}"
    )
