"""`python -m amdet_hub.web.make_examples`: scan the demonstration's models with the presets of the page and keep the reports beside it.

Run it after a change of the version, the demonstration's weights or the detector; a test says when.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from amdet_hub.report import as_json
from amdet_hub.web.demo import demo_settings
from amdet_hub.web.job_queue import Job
from amdet_hub.web.result_store import EXAMPLES
from amdet_hub.web.service import ScanService


def make(presets: tuple[str, ...], folder: Path) -> list[Path]:
    """Scan every example with every preset. Returns the files written."""
    written = []
    with tempfile.TemporaryDirectory() as scratch, demo_settings(Path(scratch)) as (settings, _):
        service = ScanService(settings)
        try:
            for name in settings.examples:
                for preset in presets:
                    found = service.look_up(name, preset)
                    job: Job = service.start(found, "maker")
                    service.jobs.wait(job, 3600)
                    if job.report is None:
                        raise RuntimeError(f"the scan of {name} failed") from job.error
                    folder.mkdir(parents=True, exist_ok=True)
                    path = folder / f"{found.key}.json"
                    path.write_text(as_json(job.report), encoding="utf-8")
                    written.append(path)
        finally:
            service.close()
    return written


if __name__ == "__main__":
    for old in EXAMPLES.glob("*.json"):
        old.unlink()
    for path in make(("quick", "standard"), EXAMPLES):
        sys.stdout.write(f"{path.name}\n")
