"""`hf-amdet`, the second console script: as installed, a real scan, two streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from amdet_hub.report import parse_report
from tests.demo_hub import BACKDOORED, BASE, FAST_TOML, demo_hub

ROOT = Path(__file__).parent.parent.parent


def test_hf_amdet_scans_a_repository_of_the_hub(tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "hf-amdet"
    assert script.is_file(), "`pip install -e .` makes it"
    (tmp_path / "fast.toml").write_text(FAST_TOML)
    with demo_hub() as hub:
        environment = {**os.environ, **hub.environment(), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [script, "scan", BACKDOORED, "--reference", BASE, "--config", "fast.toml", "-f", "json"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 1, done.stderr
        report = parse_report(done.stdout)
        assert report.snapshot.commit_sha == hub.head(BACKDOORED)
        assert [t.text for t in report.results[0].triggers] == ["о"]
        assert hub.writes == []
        wrong = subprocess.run([script, "scan", "a b"], env=environment, capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("Error: ")
