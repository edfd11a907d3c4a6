"""From changed files to what is scanned: whole pipelines, model folders, single weight files. Standard library only.

Knows which files make a checkpoint. A change to any of them, a configuration or a tokenizer too, can make another
model of the same weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from amdet_hub.errors import ConfigError
from amdet_hub.github_action.git import all_paths, changed_paths
from amdet_hub.github_action.job import Event, Inputs, inside
from amdet_hub.weight_formats import INDEXES, is_read, is_tokenizer_file, is_trainer_state, weight_format

MAX_TARGETS = 200
_PIPELINE = "model_index.json"
_PARTS = frozenset({_PIPELINE, "config.json", "modules.json", "adapter_config.json"})


@dataclass(frozen=True)
class Plan:
    """What the job looks at.

    Attributes:
        kind: "local" or "hub".
        targets: as `scan` takes them: `./folder`, `./file.safetensors`, `org/model`.
        why: one sentence about how they were found.
    """

    kind: str
    targets: tuple[str, ...]
    why: str = ""

    @property
    def needed(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self.targets)

    def to_json(self) -> str:
        """For the step that scans."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote. Raises: ConfigError."""
        try:
            data = json.loads(text)
            return cls(data["kind"], tuple(data["targets"]), data["why"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError("plan", "the plan of the first step cannot be read") from error


def make_plan(root: Path, inputs: Inputs, event: Event) -> Plan:
    """What there is to look at.

    Args:
        root: the checkout, a real path.
        inputs: with `models`, they are the targets; with `path`, only what lies there counts.
        event: a change is compared with what was before; any other event looks at all there is.

    Raises:
        ConfigError: git cannot say what changed, `path` is unusable, or there are too many targets.
    """
    if inputs.models:
        return Plan("hub", inputs.models, f"{len(inputs.models)} Hub repositories to watch")
    if event.deletes:
        return Plan("local", (), "the push deletes its branch")
    place = inside(root, inputs.path, "path").relative_to(root).as_posix() if inputs.path else "."
    if inputs.path and not (root / place).exists():
        raise ConfigError("path", "there is no such file or folder in the checkout")
    paths, why = _paths(root, event)
    found = find_targets(root, [p for p in paths if place == "." or p == place or p.startswith(f"{place}/")])
    if inputs.path and found and ((root / place).is_dir() or is_read(place)):
        found = (f"./{place}" if place != "." else "./",)
    if len(found) > MAX_TARGETS:
        why = f"{len(found)} checkpoints changed, more than the {MAX_TARGETS} of one job; narrow it with 'path'"
        raise ConfigError("path", why)
    return Plan("local", found, why)


def _paths(root: Path, event: Event) -> tuple[list[str], str]:
    if event.compares and event.base is not None:
        changed = changed_paths(root, event.base)
        if changed is not None:
            return changed, f"checkpoints that changed since {event.base[:12]}"
        return all_paths(root), f"every checkpoint, because {event.base[:12]} is not in this clone to compare with"
    return all_paths(root), "every checkpoint of this commit"


def find_targets(root: Path, paths: Iterable[str]) -> tuple[str, ...]:
    """The targets that changed `paths` belong to, each once and sorted. A target inside a model folder is left out.

    A file of a pipeline belongs to the folder with its `model_index.json`, however deep it lies; any other to its own
    folder if a configuration and weights lie there. A safetensors file elsewhere stands for itself, and weights in
    another form for their folder. A submodule that is not checked out is a target, which cannot be scanned. Files that
    are gone (deleted ones) leave their folder behind.

    Args:
        root: what the paths start from.
        paths: with `/`, relative.
    """
    folders: set[PurePosixPath] = set()
    alone: set[PurePosixPath] = set()
    for path in map(PurePosixPath, paths):
        if (root / path).is_dir() and not (root / path).is_symlink():
            alone.add(path)
            continue
        name, weights = path.name.lower(), _is_weights(path.name)
        if not (weights or name in _PARTS or is_tokenizer_file(name) or name.endswith(INDEXES)):
            continue
        if (home := _home(root, path)) is not None:
            folders.add(home)
        elif weights and os.path.lexists(root / path):
            alone.add(path if path.name.endswith(".safetensors") else path.parent)
    kept = {folder for folder in folders if not any(other in folder.parents for other in folders)}
    uncovered = {place for place in alone if not any(parent in kept for parent in (place, *place.parents))}
    return tuple(sorted(f"./{place}" if str(place) != "." else "./" for place in kept | uncovered))


def _home(root: Path, path: PurePosixPath) -> PurePosixPath | None:
    """The pipeline or model folder that a file is part of, None when it stands alone."""
    for parent in path.parents:
        if (root / parent / _PIPELINE).is_file():
            return parent
    folder = path.parent
    return folder if (root / folder / "config.json").is_file() and _holds_weights(root / folder) else None


def _is_weights(name: str) -> bool:
    return weight_format(name, 0) != "document" and not is_trainer_state(name)


def _holds_weights(folder: Path) -> bool:
    try:
        return any(map(_is_weights, os.listdir(folder)))
    except OSError:
        return False
