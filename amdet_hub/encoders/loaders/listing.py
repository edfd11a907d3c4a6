"""A repository as a loader sees it before it reads weights: paths, and the content of small JSON files."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from amdet_hub.encoders.strict_json import parse_json
from amdet_hub.encoders.weight_files import folder_of, join, paths_under
from amdet_hub.errors import BadRepository
from amdet_hub.records import RepoSource

Loader = Literal[
    "transformers",
    "sentence-transformers",
    "diffusers",
    "diffusers from_single_file",
    "diffusers load_lora_weights",
    "open_clip",
    "ComfyUI",
    "A1111",
]
# JSON files that choose among others. The index of a language model of 90,000 tensors, which may lie beside a text
# encoder, has 9 MB; a training run's repository has one for each of its checkpoints.
_CHOOSES = re.compile(
    r"(?:.*/)?(?:config|modules|model_index|modular_model_index|[^/]*\.index\.[^/]*|[^/]*\.index)\.json"
)
_MAX_JSON_BYTES, _MAX_JSON_FILES = 64 << 20, 512


@dataclass(frozen=True)
class Take:
    """A call that loads `files`: by which library or interface, and `how`, "" for the plain one."""

    loader: Loader
    how: str
    files: tuple[str, ...]

    @property
    def label(self) -> str:
        """The call for people."""
        return f"{self.loader} ({self.how})" if self.how else self.loader


@dataclass(frozen=True)
class Listing:
    """The files of a repository under the folder `root`."""

    source: RepoSource
    root: str

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """All paths, sorted."""
        return tuple(paths_under(self.source, self.root))

    @cached_property
    def too_large(self) -> bool:
        """Whether the JSON files that choose among others are more than anybody publishes, in number or in bytes."""
        files = map(self.source.snapshot.file, filter(_CHOOSES.fullmatch, self.paths))
        sizes = [file.size_bytes for file in files if file is not None]
        return len(sizes) > _MAX_JSON_FILES or sum(sizes) > _MAX_JSON_BYTES

    @cached_property
    def names(self) -> Mapping[str, frozenset[str]]:
        """The names in each folder that holds files."""
        found: dict[str, set[str]] = {}
        for path in self.paths:
            found.setdefault(folder_of(path), set()).add(path.rpartition("/")[2])
        return {folder: frozenset(names) for folder, names in found.items()}

    def folders_with(self, name: str) -> list[str]:
        """The folders that hold a file of this name."""
        return [folder for folder, names in self.names.items() if name in names]

    def first(self, folder: str, *names: str) -> tuple[str, ...]:
        """The path of the first of these names that is in a folder; empty where none is."""
        return next(((join(folder, name),) for name in names if name in self.names.get(folder, ())), ())

    def read(self, folder: str, name: str) -> Any:
        """A JSON value; None where there is none that can be read."""
        if name not in self.names.get(folder, ()):
            return None
        path = join(folder, name)
        try:
            return parse_json(self.source.read_small(path, max_bytes=_MAX_JSON_BYTES), path)
        except BadRepository:
            return None

    def fields(self, folder: str, name: str) -> Mapping[str, Any]:
        """A JSON object; empty where there is none that can be read."""
        value = self.read(folder, name)
        return value if isinstance(value, dict) else {}

    def shards(self, folder: str, name: str) -> tuple[str, ...]:
        """The file of this name, or the shards that an index names; an index that cannot be read stands for them."""
        shards = self.fields(folder, name).get("weight_map") if name.endswith(".json") else {}
        files = shards.values() if isinstance(shards, dict) else ()
        return tuple(sorted({join(folder, file) for file in files if isinstance(file, str)})) or (join(folder, name),)
