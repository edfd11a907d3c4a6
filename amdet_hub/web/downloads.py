"""The report as files to download, and the command line and the workflow that repeat its scan."""

import json
import re
import shutil
import tempfile
import time
from pathlib import Path

from amdet_hub.records import ScanReport
from amdet_hub.report import RENDERERS, wording

# The formats that are offered, in this order, with their file endings.
SUFFIXES = {"json": "json", "markdown": "md", "html": "html", "sarif": "sarif"}

_STORED_S = 6 * 3600.0  # a download link that is older than this may be dead


def write_files(report: ScanReport, folder: Path) -> list[str]:
    """The report in every format, each a file with a plain name, in a new folder inside `folder`.

    Old ones are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if time.time() - old.stat().st_mtime > _STORED_S:
            shutil.rmtree(old, ignore_errors=True)
    place = Path(tempfile.mkdtemp(dir=folder))
    name = re.sub(r"[^A-Za-z0-9_]+", "-", report.snapshot.repo_id)[:60].strip("-") or "model"
    files = {place / f"amdet-hub-{name}.{suffix}": RENDERERS[form] for form, suffix in SUFFIXES.items()}
    for path, render in files.items():
        path.write_text(render(report), encoding="utf-8")
    return [str(path) for path in files]


def workflow(report: ScanReport) -> str:
    """A GitHub workflow that scans the same model every week with the project's Action.

    OWNER and COMMIT are the visitor's to fill in.
    """
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
