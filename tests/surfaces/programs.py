"""Our programs, run in this process as a shell would run them: words in, exit code and two streams out.

A process of its own would import torch anew for each cell. Whatever a program may see of its surroundings is set:
environment, folder, arguments, streams.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

_PYTHON_STEP = re.compile(r'"\$AMDET_PYTHON" -P -m ([\w.]+)(.*)$')


@dataclass(frozen=True)
class Finished:
    exit_code: int
    stdout: str
    stderr: str


def run_program(words: Sequence[str], *, cwd: Path, environ: Mapping[str, str], module: str = "amdet_hub") -> Finished:
    """`python -m MODULE WORDS...`."""
    written = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(one, encoding="utf-8", write_through=True) for one in written)
    with (
        mock.patch.dict(os.environ, dict(environ), clear=True),
        mock.patch.multiple(sys, argv=[module, *words], stdin=io.StringIO(""), stdout=out, stderr=err),
        _inside(cwd),
    ):
        code = int(import_module(f"{module}.__main__").main())
    done = Finished(code, *(one.getvalue().decode() for one in written))
    assert "Traceback" not in done.stderr, done.stderr
    return done


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class ActionSteps:
    """In place of `subprocess` in the Action's harness: our own Python runs here, any other step in bash."""

    DEVNULL = subprocess.DEVNULL

    def run(self, command: list[str], *, cwd: Path, env: Mapping[str, str], **extra: Any) -> Any:
        script = Path(command[-1]).read_text(encoding="utf-8").strip()
        if "install.sh" in script:  # the environment that runs the tests is the one that it would find
            Path(env["GITHUB_OUTPUT"]).write_text(f"python={sys.executable}\n", encoding="utf-8")
            return SimpleNamespace(stdout=b"", stderr=b"", returncode=0)
        step = _PYTHON_STEP.search(script)
        if step is None:
            return subprocess.run(command, cwd=cwd, env=dict(env), **extra)
        done = run_program(step[2].split(), cwd=cwd, environ=env, module=step[1])
        return SimpleNamespace(stdout=done.stdout.encode(), stderr=done.stderr.encode(), returncode=done.exit_code)
