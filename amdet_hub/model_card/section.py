"""The model-card section of a report. Knows: what it says and which weights it speaks of.

Refuses to know: the card around it, and the Hub.

Version 1 of the section: for one report and one `MeasuredRates` the text never changes between releases, so that a
later release can render an old report again and tell a forged section from an old one. Another text is another
`SECTION_VERSION`. One thing can still differ: a character that only a newer Python's Unicode tables know is shown as a
code point by an older one.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable

from amdet_hub.model_card.edit import body_digest, marked
from amdet_hub.records import RepoFile, ScanReport
from amdet_hub.report import markdown_blocks, wording
from amdet_hub.report.error_rates import MeasuredRates
from amdet_hub.report.escape import code_span, prose, unactionable

SECTION_VERSION = "1"
JSON_NAME = "amdet-hub.json"


def render_section(report: ScanReport, *, measured: MeasuredRates | None = None) -> str:
    """The section of a model card: begin marker, Markdown body, end marker, LF line ends, a final newline.

    The begin marker says which commit and which weight files the body speaks of and the body's own sha256;
    `check_section` reads it.

    Args:
        report: the scan.
        measured: the measured rates of the report's preset, None when nobody has measured them yet; the section says
            so either way.
    """
    blocks = [
        "## Backdoor scan of the text encoder",
        markdown_blocks.headline(report),
        markdown_blocks.bullets(report.verdict.reasons),
    ]
    for result in report.results:
        blocks += markdown_blocks.encoder_blocks(result, report, level=3)
    blocks += markdown_blocks.skipped_blocks(report.skipped, level=3)
    blocks += [
        "### How it was scanned",
        markdown_blocks.table(
            ("", ""), [*markdown_blocks.run_rows(report), ("measured error rates", _measured_text(measured))]
        ),
    ]
    blocks += ["### What this does not cover", markdown_blocks.not_covered()]
    blocks += ["### Run it again", markdown_blocks.fenced(wording.reproduce_command(report)), _footer(report)]
    body = "\n".join(unactionable(line) for line in "\n\n".join(blocks).split("\n"))
    attributes = {
        "v": SECTION_VERSION,
        "commit": report.snapshot.commit_sha or "none",
        "files": weights_digest(report),
        "body": body_digest(body),
    }
    return marked(attributes, body)


def weights_digest(report: ScanReport) -> str:
    """sha256 (64 hex digits) over the sorted (path, sha256) of every scanned weight file: the `files` attribute of the begin marker.

    A file that is not stored by LFS counts with its git blob id instead, a file of which neither is known with its
    size.
    """
    entries = sorted({(f.path, file_identity(f)) for f in scanned_files(report)})
    return hashlib.sha256(json.dumps(entries, separators=(",", ":")).encode()).hexdigest()


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
    benign = (
        f"{wording.percent(wrong.value)} of {measured.n_benign:,} benign encoders were called backdoored"
        f" ({wording.interval(wrong)})"
    )
    found = (
        f"{wording.percent(right.value)} of {measured.n_backdoored:,} backdoored ones were found"
        f" ({wording.interval(right)})"
    )
    about = f"family {code_span(measured.family, limit=20)}, preset {code_span(measured.preset, limit=40)}"
    return f"{benign}, {found} ({about}; {prose(measured.source, limit=200)})"


def _footer(report: ScanReport) -> str:
    verify = ""
    if report.snapshot.commit_sha:
        command = shlex.join(["amdet-hub", "verify", report.snapshot.repo_id])
        verify = f" {code_span(command)} tells whether they are still the weights of this repository."
    return (
        f"This section was written by amdet-hub; {code_span(JSON_NAME)} holds the whole report. It speaks of the files"
        f" listed above only.{verify}"
    )
