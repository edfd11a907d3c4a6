"""A folder as a `RepoSource`, independent of the hub room, with sha256 as the Hub states them for LFS files."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.errors import BadRepository
from amdet_hub.records import FetchPlan, ProgressCallback, RepoFile, RepoSnapshot, SkippedScan, TensorInfo
from amdet_hub.weight_formats import weight_format

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FolderSource:
    """Reads a folder; `fetched` lists what was asked for whole, `ranges` what was read in part."""

    def __init__(self, folder: Path, repo_id: str = "org/model") -> None:
        self.folder = folder
        self.fetched: list[str] = []
        self.ranges: list[str] = []
        files = []
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            content = path.read_bytes()
            weights = weight_format(path.name, len(content)) != "document"
            lfs = hashlib.sha256(content).hexdigest() if weights else None
            files.append(RepoFile(path.relative_to(folder).as_posix(), len(content), lfs))
        self.snapshot = RepoSnapshot(repo_id, "hub", COMMIT, tuple(files))

    def read_small(self, path: str, *, max_bytes: int) -> bytes:
        content = (self.folder / path).read_bytes()
        if len(content) > max_bytes:
            raise BadRepository(path, "it is too large")
        return content

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        self.ranges.append(path)
        with (self.folder / path).open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def fetch(self, path: str, progress: ProgressCallback | None = None) -> Path:
        self.fetched.append(path)
        return self.folder / path

    def fetch_tensors(
        self, path: str, tensors: Mapping[str, TensorInfo], progress: ProgressCallback | None = None
    ) -> Path:
        return self.fetch(path, progress)

    def plan_fetch(self, path: str, tensors: Mapping[str, TensorInfo] | None) -> FetchPlan:
        return FetchPlan(0, 0, whole=True)

    def check_unchanged(self) -> None:
        pass


def saved(value: Any, **options: Any) -> bytes:
    """The file that `torch.save` writes."""
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def what_blocks(folder: Path) -> SkippedScan:
    """The one thing in a folder without a text encoder that keeps it from being cleared."""
    resolution = find_encoders(FolderSource(folder))
    assert (resolution.encoders, resolution.loras) == ((), ())
    (blocking,) = (skipped for skipped in resolution.skipped if skipped.blocks_clearance)
    return blocking


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Apply `change` to the object in a JSON file."""
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def edit_tensors(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Apply `change` to the tensors in a safetensors file."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), path)
