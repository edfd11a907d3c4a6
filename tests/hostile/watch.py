"""What a process did besides what was asked: files written, programs started, pickles opened, requests made."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amdet_hub.testing import LocalHub

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.move")
_NEVER = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class")
_HARMLESS = ("__pycache__", "/dev/", "/proc/")


class Watch:
    """While `on`, keeps every write outside `allowed` and every event that must not be.

    Audit hooks cannot be taken off again, so there is one.
    """

    def __init__(self) -> None:
        self.on, self.allowed, self.seen = False, (), []  # type: bool, tuple[str, ...], list[str]
        self._thread = 0
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if (
            not self.on or threading.get_ident() != self._thread
        ):  # the local Hub keeps files of its own, in its threads
            return
        if event in _NEVER:
            self.seen.append(f"{event} {args[:2]!r}"[:200])
        elif event == "open" and isinstance(args[0], str | bytes) and isinstance(args[2], int) and args[2] & _WRITING:
            self._changed(event, args[0])
        elif event in _CHANGES:
            target = args[1] if event in ("os.rename", "os.link", "os.symlink") else args[0]
            inside = args[-1] if isinstance(args[-1], int) else -1  # the folder that a relative path starts from
            if isinstance(target, str | bytes):
                self._changed(
                    event,
                    (
                        os.path.join(os.readlink(f"/proc/self/fd/{inside}"), os.fsdecode(target))
                        if inside >= 0
                        else target
                    ),
                )

    def _changed(self, event: str, path: str | bytes) -> None:
        where = os.path.abspath(os.fsdecode(path))
        if not where.startswith(self.allowed) and not any(part in where for part in _HARMLESS):
            self.seen.append(f"{event} {where}")

    @contextmanager
    def outside(self, *allowed: Path) -> Iterator[None]:
        """Fail when anything is written but below `allowed`, a program is started or a pickle is opened."""
        self.allowed, self.seen = tuple(str(path.resolve()) for path in allowed), []
        self._thread, self.on = threading.get_ident(), True
        try:
            yield
        finally:
            self.on = False
        assert self.seen == [], self.seen


WATCH = Watch()


def tree(folder: Path, *, without: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of all below `folder` that is not below `without`, files of native code included."""
    found, waiting = {}, [str(folder)]
    while waiting:  # without recursion: some folders are deep on purpose
        for entry in os.scandir(waiting.pop()):
            if entry.path != str(without):
                facts = entry.stat(follow_symlinks=False)
                found[entry.path] = (facts.st_size, facts.st_mtime_ns)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return found


def check_requests(hub: LocalHub, repo_ids: tuple[str, ...]) -> None:
    """Fail unless every request reads one of `repo_ids`, and a token came to the Hub's own host only."""
    assert hub.writes == []
    for request in hub.requests:
        assert request.method in ("GET", "HEAD"), request
        if request.side == "lfs":
            assert not request.had_token, request
            continue
        known = any(request.path.startswith((f"/api/models/{name}", f"/{name}/resolve/")) for name in repo_ids)
        assert known, request
