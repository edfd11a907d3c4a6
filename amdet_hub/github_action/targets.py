"""From changed files to what is scanned: whole pipelines, model folders, single weight files. Standard library only.

Knows which files make a checkpoint. A change to any of them, a configuration or a tokenizer too, can make another
model of the same weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from amdet_hub.errors import ConfigError
from amdet_hub.github_action.git import all_paths, changed_paths
from amdet_hub.github_action.job import Event, Inputs, inside

MAX_TARGETS = 200
_PIPELINE = "model_index.json"
_PARTS = frozenset(
    {_PIPELINE, "config.json", "tokenizer.json", "vocab.json", "merges.txt", "modules.json", "adapter_config.json"}
)
_PICKLES = (".ckpt", ".pt", ".pth", ".bin")
_MODEL_WORDS = (
    "model",
    "clip",
    "encoder",
    "diffusion",
    "unet",
)  # what a pickle that may hold a text encoder is called; optimizer.pt is none


@dataclass(frozen=True)
class Plan:
    """What the job looks at.

    Attributes:
        kind: "local" or "hub".
        targets: as `scan` takes them: `./folder`, `./file.safetensors`, `org/model`.
        pickles: changed pickles that may hold a text encoder and that nothing else covers. They are not opened, so
            they block an acquittal.
        named: the targets were named by an input, so that finding no text encoder in them is worth a word.
        why: one sentence about how they were found.
    """

    kind: str
    targets: tuple[str, ...]
    pickles: tuple[str, ...] = ()
    named: bool = False
    why: str = ""

    @property
    def needed(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self.targets or self.pickles)

    def to_json(self) -> str:
        """For the step that scans."""
        return json.dumps(
            {"kind": self.kind, "targets": self.targets, "pickles": self.pickles, "named": self.named, "why": self.why}
        )

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote. Raises: ConfigError."""
        try:
            data = json.loads(text)
            return cls(data["kind"], tuple(data["targets"]), tuple(data["pickles"]), data["named"], data["why"])
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
        return Plan("hub", inputs.models, named=True, why=f"{len(inputs.models)} Hub repositories to watch")
    if event.deletes:
        return Plan("local", (), why="the push deletes its branch")
    place = inside(root, inputs.path, "path").relative_to(root).as_posix() if inputs.path else "."
    if inputs.path and not (root / place).exists():
        raise ConfigError("path", "there is no such file or folder in the checkout")
    paths, why = _paths(root, event)
    found, pickles = find_targets(root, [p for p in paths if place == "." or p == place or p.startswith(f"{place}/")])
    if inputs.path:
        found = (f"./{place}" if place != "." else "./",) if found or pickles else ()
        pickles = ()
    if len(found) + len(pickles) > MAX_TARGETS:
        raise ConfigError(
            "path",
            f"{len(found) + len(pickles)} checkpoints changed, more than the {MAX_TARGETS} of one job; narrow it with"
            " 'path'",
        )
    return Plan("local", found, pickles, named=bool(inputs.path), why=why)


def _paths(root: Path, event: Event) -> tuple[list[str], str]:
    if event.compares and event.base is not None:
        changed = changed_paths(root, event.base)
        if changed is not None:
            return changed, f"checkpoints that changed since {event.base[:12]}"
        return all_paths(root), f"every checkpoint, because {event.base[:12]} is not in this clone to compare with"
    return all_paths(root), "every checkpoint of this commit"


def find_targets(root: Path, paths: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The targets that changed `paths` belong to, and the pickles that belong to none.

    A target inside another one is left out.
    """
    folders: set[PurePosixPath] = set()
    files: set[PurePosixPath] = set()
    pickles: set[PurePosixPath] = set()
    for path in map(PurePosixPath, paths):
        if not _makes_a_checkpoint(path):
            continue
        home = _home(root, path)
        if home is not None:
            folders.add(home)
        elif path.suffix == ".safetensors" and os.path.lexists(root / path):
            files.add(path)
        elif _may_be_a_model(path) and os.path.lexists(root / path):
            pickles.add(path)
    kept = {f for f in folders if not any(other in f.parents for other in folders)}

    def uncovered(path: PurePosixPath) -> bool:
        return not any(parent in kept for parent in path.parents)

    targets = sorted(
        [*(f"./{f}" if str(f) != "." else "./" for f in kept), *(f"./{f}" for f in files if uncovered(f))]
    )
    return tuple(targets), tuple(sorted(str(p) for p in pickles if uncovered(p)))


def _makes_a_checkpoint(path: PurePosixPath) -> bool:
    name = path.name
    return name in _PARTS or name.endswith((".safetensors", ".safetensors.index.json")) or _may_be_a_model(path)


def _may_be_a_model(path: PurePosixPath) -> bool:
    name = path.name.lower()
    return name.endswith(_PICKLES) and (name.endswith(".ckpt") or any(word in name for word in _MODEL_WORDS))


def _home(root: Path, path: PurePosixPath) -> PurePosixPath | None:
    """The pipeline or model folder that a file is part of, None when it stands alone."""
    for parent in path.parents:
        if (root / parent / _PIPELINE).is_file():
            return parent
    folder = path.parent
    return folder if (root / folder / "config.json").is_file() and _holds_weights(root / folder) else None


def _holds_weights(folder: Path) -> bool:
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return any(name.endswith((".safetensors", *_PICKLES)) for name in names)
