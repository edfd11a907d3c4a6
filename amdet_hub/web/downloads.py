"""What a visitor takes away: the report as files, the command line and the workflow that repeat it."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from amdet_hub.records import ScanReport
from amdet_hub.report import RENDERERS, wording

SUFFIXES = {"json": "json", "markdown": "md", "html": "html", "sarif": "sarif"}
"""Formats offered, where this version of amdet-hub has them."""

_KEPT_S = 6 * 3600.0  # a download link that is older than this may be dead


def formats() -> tuple[str, ...]:
    """The formats that this version renders, in the order they are offered."""
    return tuple(name for name in SUFFIXES if name in RENDERERS)


def render(report: ScanReport, form: str) -> str:
    """A report in one of `formats()`."""
    return RENDERERS[form](report)


def write_files(report: ScanReport, folder: Path) -> list[str]:
    """The report in every format, each a file with a plain name, in a new folder inside `folder`.

    Old ones are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _tidy(folder)
    place = Path(tempfile.mkdtemp(dir=folder))
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in report.snapshot.repo_id if c.isascii())[:60].strip(
        "-"
    )
    written = []
    for form in formats():
        path = place / f"amdet-hub-{name or 'model'}.{SUFFIXES[form]}"
        path.write_text(render(report, form), encoding="utf-8")
        written.append(str(path))
    return written


def _tidy(folder: Path) -> None:
    for old in folder.iterdir():
        try:
            if old.is_dir() and time.time() - old.stat().st_mtime > _KEPT_S:
                for file in old.iterdir():
                    file.unlink()
                os.rmdir(old)
        except OSError:
            continue  # another visitor's request was faster


def command_line(report: ScanReport) -> str:
    """The command that runs the same scan on the visitor's own machine."""
    return wording.reproduce_command(report)


def workflow(report: ScanReport) -> str:
    """A GitHub workflow that scans the same model every week with the project's Action; OWNER and COMMIT are the visitor's to fill in."""
    target, preset = wording.pinned_target(report), wording.setting(report, "preset")
    # JSON strings are YAML strings, whatever is in them
    return f"""\
on:
  schedule:
    - cron: "0 4 * * 1"
  workflow_dispatch:

permissions: {{}}

jobs:
  scan:
    runs-on: ubuntu-latest
    steps:
      - uses: OWNER/amdet-hub@COMMIT  # the full commit of a release
        with:
          model: {json.dumps(target.partition("@")[0])}
          preset: {json.dumps(preset)}
"""
