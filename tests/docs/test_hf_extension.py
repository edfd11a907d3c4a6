"""`hf amdet` as docs/how-to/shell.md tells it: it needs an extension, and two lines are enough for one."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from amdet_hub import __version__

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent


def hf(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HOME": str(home),
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_OFFLINE": "1",
        "HTTPS_PROXY": "http://127.0.0.1:9",  # nothing listens there: an unknown command is looked up on a forge
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    words = (str(BIN / "hf"), *words)
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def test_an_extension_of_two_lines_is_enough(tmp_path: Path) -> None:
    assert hf(tmp_path, "amdet", "--version").returncode != 0, "without an extension there is no such command"
    text = (ROOT / "docs/how-to/shell.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```text\n(#!.*?)```", text, re.DOTALL)
    folder = tmp_path / ".local/share/hf/extensions/hf-amdet"
    folder.mkdir(parents=True)
    program = folder / "hf-amdet"
    program.write_text(script, encoding="utf-8")
    program.chmod(0o755)
    manifest = {
        "owner": "owner",
        "repo": "hf-amdet",
        "repo_id": "owner/hf-amdet",
        "short_name": "amdet",
        "executable_path": str(program),
        "type": "binary",
        "installed_at": datetime.datetime.now(datetime.UTC).isoformat(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    done = hf(tmp_path, "amdet", "--version")
    assert (done.returncode, done.stdout.split()[-1:]) == (0, [__version__]), done.stderr
