"""What changed, read with git. Knows: commits and listings. Refuses to know: what a checkpoint is.

The repository is somebody's: hooks, filters, external diff programs and file-system monitors of its configuration stay
off, and paths are read with NUL between them, so that no name can be two.
"""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from amdet_hub.errors import ConfigError
from amdet_hub.files import write_atomically

_TIMEOUT_S = 120
_FILE_MODES = ("100644", "100755")
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

    Of a submodule that differs, all its files, as in `all_paths`.

    What cannot be compared is for the caller to look at whole.

    Args:
        root: the checkout.
        base: a commit, 40 or 64 hex digits.

    Raises:
        GitFailed: there is no repository here.
    """
    run_git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if not has_commit(root, base):
        return None
    settings = ("--name-only", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=none")
    return _entered(root, _split(run_git(root, "diff", *settings, base, "HEAD", "--")))


def all_paths(root: Path) -> list[str]:
    """Every path of the checked out commit. A submodule counts with its files, or, not checked out, as its folder.

    Raises:
        GitFailed: there is no repository here.
    """
    return _entered(root, [path for _, _, path in _tree(root, "HEAD")])


def _entered(root: Path, paths: list[str]) -> list[str]:
    """The paths, each submodule that is checked out replaced by its own paths."""
    found = []
    for path in paths:
        inner = all_paths(root / path) if (root / path / ".git").exists() else None
        found += [path] if inner is None else [f"{path}/{name}" for name in inner]
    return found


def has_commit(root: Path, commit: str) -> bool:
    """Whether a commit can be read. A checkout of depth one lacks it, so it is fetched, and only it."""
    if not _has(root, commit):
        with suppress(GitFailed):
            run_git(root, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--depth=1", "origin", commit)
    return _has(root, commit)


def copy_files(root: Path, commit: str, place: str, folder: Path) -> bool:
    """Copy what a commit holds at or below `place` to the same path below `folder`, links and submodules left out.

    Args:
        root: the checkout.
        commit: one that `has_commit` found.
        place: a path from the root, with `/`; "." is all of it.
        folder: where the copies go.

    Returns:
        Whether there was a file.

    Raises:
        GitFailed: the commit cannot be read.
        OSError: a copy cannot be written.
    """
    files = [(mode, sha, path) for mode, sha, path in _tree(root, commit, place) if mode in _FILE_MODES]
    for _, sha, path in files:
        write_atomically(folder / path, run_git(root, "cat-file", "blob", sha))
    return bool(files)


def _tree(root: Path, commit: str, place: str = ".") -> list[tuple[str, str, str]]:
    """Mode, object and path of everything that a commit holds at or below `place`."""
    below = [] if place == "." else ["--", place]
    rows = _split(run_git(root, "ls-tree", "-r", "-z", "--full-tree", commit, *below))
    facts = [(row.partition("\t")[0].split(" "), row.partition("\t")[2]) for row in rows]
    return [(mode, sha, path) for (mode, _, sha), path in facts]


def _has(root: Path, commit: str) -> bool:
    try:
        run_git(root, "cat-file", "-e", f"{commit}^{{commit}}")
    except GitFailed:
        return False
    return True


def _split(listing: bytes) -> list[str]:
    return [os.fsdecode(path) for path in listing.split(b"\0") if path]
