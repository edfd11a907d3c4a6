"""What changed, read with git. Knows: commits and listings. Refuses to know: what a checkpoint is.

The repository is somebody's: hooks, filters, external diff programs and file-system monitors of its configuration stay
off, and paths are read with NUL between them, so that no name can be two.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from amdet_hub.errors import ConfigError

_TIMEOUT_S = 120
_QUIET = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "protocol.ext.allow=never", "core.quotePath=false")


class GitFailed(ConfigError):
    """git could not answer. The message says what was asked."""

    def __init__(self, what: str) -> None:
        super().__init__("git", f"could not {what}; run actions/checkout before this action")


def run_git(root: Path, *words: str) -> bytes:
    """Standard output of a git command in `root`.

    Raises:
        GitFailed: git is not there, said no, or took too long.
    """
    settings = [part for setting in (*_QUIET, f"safe.directory={root}") for part in ("-c", setting)]
    try:
        return subprocess.run(
            ["git", *settings, *words],
            cwd=root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise GitFailed(f"run '{words[0]}'") from error


def changed_paths(root: Path, base: str) -> list[str] | None:
    """Paths that differ between `base` and the checked out commit, deleted ones included; None without the `base`.

    A checkout of depth one does not hold the base, so it is fetched, and only it. What then cannot be compared is for
    the caller to look at whole.

    Args:
        root: the checkout.
        base: a commit, 40 or 64 hex digits.

    Raises:
        GitFailed: there is no repository here.
    """
    run_git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if not _has(root, base):
        with suppress(GitFailed):
            run_git(root, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--depth=1", "origin", base)
        if not _has(root, base):
            return None
    return _split(
        run_git(
            root, "diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", base, "HEAD", "--"
        )
    )


def all_paths(root: Path) -> list[str]:
    """Every path of the checked out commit. Raises: GitFailed."""
    return _split(run_git(root, "ls-tree", "-r", "-z", "--name-only", "--full-tree", "HEAD"))


def _has(root: Path, commit: str) -> bool:
    try:
        run_git(root, "cat-file", "-e", f"{commit}^{{commit}}")
    except GitFailed:
        return False
    return True


def _split(listing: bytes) -> list[str]:
    return [os.fsdecode(path) for path in listing.split(b"\0") if path]
