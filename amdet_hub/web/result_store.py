"""Finished public results, found again by what was scanned rather than by who asked.

The key is made of the towers' weight files (their sha256 as the Hub lists them) and configurations, the references,
the preset, and the version and thresholds of amdet-hub: a copy of a model under another name has the same key, a
changed weight has another. Only whole results of public, ungated models are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

from amdet_hub.errors import ReportError
from amdet_hub.model_card.render import file_identity
from amdet_hub.records import ScanReport, to_dict
from amdet_hub.report import as_json, parse_report
from amdet_hub.scanner import TargetPlan, judged_by

EXAMPLES = Path(__file__).parent / "examples"
"""Real results of the demonstration's models, made by `python -m amdet_hub.web.make_examples`: the first click is answered at once."""


def result_key(plan: TargetPlan, preset: str) -> str:
    """64 hex digits that name a scan: what is scanned, against what, how."""
    towers = [
        {
            "component": one.encoder.component,
            "files": sorted(file_identity(f) for f in one.encoder.weight_files),
            "config": to_dict(one.encoder.config),
            "reference": [
                one.reference.repo_id,
                one.reference.commit_sha,
                one.reference.component,
                one.reference.trust,
            ],
        }
        for one in plan.encoders
    ]
    skipped = [[s.component, s.reason] for s in plan.skipped]
    text = json.dumps([towers, skipped, preset, judged_by()], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def may_keep(report: ScanReport) -> bool:
    """Whether others may see this result: a whole one, of a model that everybody may read."""
    return report.complete and bool(report.results) and not report.snapshot.private and not report.snapshot.gated


class ResultStore:
    """Results on disk, one JSON report a file; written whole or not at all. Safe to use from several threads."""

    def __init__(self, folder: Path, examples: Path | None = EXAMPLES) -> None:
        self._folder = folder
        self._folders = [folder, *([examples] if examples else [])]

    def get(self, key: str) -> ScanReport | None:
        """The result stored under `key`, None when there is none that can be read."""
        for folder in self._folders:
            try:
                return parse_report((folder / f"{key}.json").read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, ReportError):
                continue
        return None

    def put(self, key: str, report: ScanReport) -> bool:
        """Keep a result. Returns False, and keeps nothing, when it is not for others to see."""
        if not may_keep(report):
            return False
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(as_json(report))
        os.replace(name, self._folder / f"{key}.json")
        return True
