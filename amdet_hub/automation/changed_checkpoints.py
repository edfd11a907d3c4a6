"""Which checkpoints do these changed files belong to? Knows: file names of checkpoints, Git LFS pointers.

Refuses to know: git, and scans.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

WEIGHTS = ".safetensors"
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_INDEX, _CONFIG = "model_index.json", "config.json"


@dataclass(frozen=True)
class StagedCheckpoints:
    """Changed files, sorted by what can be done about them.

    Attributes:
        targets: folders and single files to scan, each once, sorted.
        absent: files whose content is not here: pointers of Git LFS that were never pulled.
    """

    targets: tuple[Path, ...]
    absent: tuple[Path, ...]


def checkpoints_of(paths: Iterable[Path]) -> StagedCheckpoints:
    """The checkpoints that changed files belong to.

    A file of a pipeline belongs to the folder with its `model_index.json`, however deep it lies; any other to its own
    folder if there is a `config.json`, and a weight file without one stands for itself. Files that are gone (deleted
    ones) belong to nothing.
    """
    targets: set[Path] = set()
    absent: set[Path] = set()
    for path in paths:
        if not path.is_file():
            continue
        if _is_pointer(path):
            absent.add(path)
        elif (target := _checkpoint(path)) is not None:
            targets.add(target)
    return StagedCheckpoints(tuple(sorted(targets)), tuple(sorted(absent)))


def _checkpoint(path: Path) -> Path | None:
    for folder in path.parents:
        if (folder / _INDEX).is_file():
            return folder
    if (path.parent / _CONFIG).is_file():
        return path.parent
    return path if path.name.endswith(WEIGHTS) else None


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_LFS_POINTER)) == _LFS_POINTER
