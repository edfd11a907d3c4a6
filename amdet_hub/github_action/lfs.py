"""From a Git LFS pointer to the file it stands for. Knows: the pointer's form, git's own store, and `git lfs smudge`.

A checkout without `lfs: true` holds pointers. The object is taken from the store in `.git/lfs`, else git-lfs is asked
for it, and it is used only when its size and sha256 are those of the pointer. Source: git-lfs, "Git LFS Specification"
(version, oid and size lines).
"""

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from amdet_hub.errors import BadRepository
from amdet_hub.files import draft_of, read_at_most
from amdet_hub.weight_formats import is_read, is_tokenizer_file

# A longer file is no pointer.
MAX_POINTER_BYTES = 1024
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:[a-z0-9.-]+ [^\n]*\n)*?oid sha256:([0-9a-f]{64})\nsize"
    rb" (\d{1,15})\n?"
)
_TIMEOUT_S = 3600


@dataclass(frozen=True)
class Pointer:
    """The object a pointer stands for: sha256 as 64 hex digits, and its size."""

    sha256: str
    size_bytes: int


def read_pointer(path: Path) -> Pointer | None:
    """The pointer in a file, None when it is none, a link, or gone."""
    try:
        plain = path.is_file() and not path.is_symlink()
        found = _POINTER.fullmatch(read_at_most(path, MAX_POINTER_BYTES)) if plain else None
    except OSError:
        return None
    return Pointer(found[1].decode(), int(found[2])) if found else None


def materialize(root: Path, folder: Path) -> int:
    """Put the files in the place of every pointer to a weight or tokenizer file at or below `folder`.

    Args:
        root: the checkout.
        folder: a path in it, or a copy of one.

    Returns:
        How many files were put.

    Raises:
        BadRepository: an object is nowhere to be had, or is not what the pointer says.
    """
    pointers = {path: pointer for path in _candidates(folder) if (pointer := read_pointer(path)) is not None}
    for path, pointer in pointers.items():
        _replace(root, path, pointer)
    return len(pointers)


def _candidates(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != ".git")
        found += [
            Path(place, name)
            for name in sorted(names)
            if is_read(name) or is_tokenizer_file(name) or name.endswith((".json", ".txt"))
        ]
    return found


def _replace(root: Path, path: Path, pointer: Pointer) -> None:
    shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    stored = root / ".git" / "lfs" / "objects" / pointer.sha256[:2] / pointer.sha256[2:4] / pointer.sha256
    try:
        with draft_of(path) as draft:
            if stored.is_file():
                shutil.copyfile(stored, draft)
            elif not _smudge(root, path, draft):
                raise BadRepository(
                    shown, "it is a Git LFS pointer and its object is not here; check out with 'lfs: true'"
                )
            if draft.stat().st_size != pointer.size_bytes or _sha256(draft) != pointer.sha256:
                raise BadRepository(shown, "its Git LFS object is not the one that the pointer names")
    except OSError as error:
        raise BadRepository(
            shown, f"its Git LFS object cannot be read ({(error.strerror or 'system error').lower()})"
        ) from error


def _smudge(root: Path, path: Path, target: Path) -> bool:
    """Let git-lfs write the object.

    It gets the pointer and no path, so that no name of a file is a word of its command line.
    """
    if shutil.which("git-lfs") is None:
        return False
    environ = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    environ.pop("GIT_LFS_SKIP_SMUDGE", None)
    try:
        with path.open("rb") as pointer, target.open("xb") as output:
            done = subprocess.run(
                ["git", "lfs", "smudge"],
                cwd=root,
                stdin=pointer,
                stdout=output,
                stderr=subprocess.DEVNULL,
                timeout=_TIMEOUT_S,
                env=environ,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
