"""Which text encoders does a pinned repository hold?

Reads small JSON files and safetensors headers; no weights, no torch, no transformers.

Knows how transformers models, sentence-transformers models, diffusers pipelines and single weight files are laid out.
Every text encoder that is seen and cannot be scanned becomes a `SkippedScan` with its reason, never silence: what was
not looked at must not be acquitted.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from amdet_hub.encoders import architectures as known
from amdet_hub.encoders.adapters import ADAPTER_CONFIG, FoundAdapter, LoraBase, adapters_in
from amdet_hub.encoders.key_layouts import FoundTower, belongs
from amdet_hub.encoders.openclip import OPENCLIP_CONFIG, UnsupportedTower
from amdet_hub.encoders.strict_json import parse_json, read_json_object
from amdet_hub.encoders.textual_inversion import describe_inversion
from amdet_hub.encoders.towers import (
    declared_tower,
    part_name,
    resolve_tower,
    towers_in,
    undeclared_tower,
    without_duplicates,
)
from amdet_hub.encoders.unsupported_files import classify_names, pickle_names
from amdet_hub.encoders.weight_files import WeightSet, join, names_in, single_file, weight_sets
from amdet_hub.errors import BadRepository, FileNotInRepo, NothingToScan
from amdet_hub.records import RepoSource, ResolvedEncoder, SkippedScan, SkipReason

MAX_STRAY_FILES = 32
"""Weight files outside the declared components whose headers are read; a repository with more is reported as not fully examined."""
MAX_COMPONENTS = 256
"""Entries of a `model_index.json`; the largest real pipelines have about 20."""
_COMPONENT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Resolution:
    """What a repository holds: encoders that can be scanned, and text encoders or components that cannot, each with its reason.

    `adapters` are LoRAs whose base is still to be found. Once it is, the merged tower is one of `encoders`, and
    `bases` says of what it is made.
    """

    encoders: tuple[ResolvedEncoder, ...]
    skipped: tuple[SkippedScan, ...]
    adapters: tuple[FoundAdapter, ...] = ()
    bases: Mapping[ResolvedEncoder, LoraBase] = field(default_factory=dict)


def find_encoders(source: RepoSource, *, subfolder: str = "", filename: str | None = None) -> Resolution:
    """Locate every text encoder under `subfolder` ("" is the root), or the one in the `.safetensors` file `filename`.

    Raises:
        NothingToScan: there is none that can be scanned; the error names what was found instead.
        BadRepository: a configuration, index or header is broken or hostile.
        FileNotInRepo: `filename` is not there.
        HubError: something could not be read.
    """
    survey = _Survey(source)
    root = subfolder.strip("/")
    if filename is not None:
        survey.named_file(root, filename)
    else:
        survey.folder(root)
    encoders, duplicates = without_duplicates(survey.encoders)
    skipped = (*survey.skipped, *duplicates)
    if not encoders and not survey.adapters:
        found = tuple(s.detail for s in skipped) or survey.other_contents(root)
        blocks = any(s.blocks_clearance for s in skipped)
        raise NothingToScan(source.snapshot.repo_id, found, pickle_only=survey.only_pickles(), blocks_clearance=blocks)
    return Resolution(tuple(encoders), skipped, tuple(survey.adapters))


@dataclass
class _Survey:
    source: RepoSource
    encoders: list[ResolvedEncoder] = field(default_factory=list)
    skipped: list[SkippedScan] = field(default_factory=list)
    adapters: list[FoundAdapter] = field(default_factory=list)
    settled: set[str] = field(default_factory=set)  # folders and files that are accounted for
    text_folders: set[str] = field(default_factory=set)  # folders whose config describes a supported text encoder

    def skip(self, component: str, reason: SkipReason, detail: str, *, blocks: bool) -> None:
        self.skipped.append(SkippedScan(self.source.snapshot.repo_id, component, reason, detail, blocks))

    def has(self, path: str) -> bool:
        return self.source.snapshot.file(path) is not None

    # ------------------------------------------------ what kind of folder

    def folder(self, root: str) -> None:
        if self.has(join(root, "model_index.json")):
            self.pipeline(root)
        elif self.has(join(root, "config.json")):
            self.model(root, component=root)
        elif self.has(join(root, "modules.json")):
            self.sentence_transformer(root)
        self.peft_adapters(root)
        self.stray_files(root)
        self.pickles(root)
        said = any("OpenCLIP" in s.detail or s.blocks_clearance for s in self.skipped)
        if not self.encoders and not said and self.has(join(root, OPENCLIP_CONFIG)):
            self.skip(
                root,
                "no-weights",
                f"an OpenCLIP model ({OPENCLIP_CONFIG}) without a weight file that can be read",
                blocks=True,
            )

    def pipeline(self, root: str) -> None:
        path = join(root, "model_index.json")
        components = read_json_object(self.source, path)
        if len(components) > MAX_COMPONENTS:
            raise BadRepository(
                path, f"it lists {len(components)} entries, more than the {MAX_COMPONENTS} that are looked at"
            )
        for name, entry in components.items():
            if name.startswith("_") or not (
                isinstance(entry, list) and len(entry) == 2 and all(isinstance(e, str) for e in entry)
            ):
                continue
            if not _COMPONENT_NAME.fullmatch(name):
                raise BadRepository(path, f"the component name '{name[:80]}' is not a plain folder name")
            library, class_name = entry[0][:80], entry[1][:80]
            self.settled.add(join(root, name))
            if library == "transformers" and class_name in known.TEXT_CLASSES:
                self.model(join(root, name), component=join(root, name), declared_class=class_name)
            elif class_name in known.TEXT_CLASSES or class_name in known.UNSUPPORTED_CLASSES:
                self.skip(
                    join(root, name),
                    "unsupported-architecture",
                    f"{library}.{class_name} is not supported",
                    blocks=True,
                )
            elif "text_encoder" in name and library in ("transformers", "diffusers"):
                self.skip(
                    join(root, name), "not-clip-family", f"{class_name} is not CLIP-family, not scanned", blocks=False
                )
            elif "text_encoder" in name:  # the class is code of the repository's own, so its name says nothing
                self.skip(
                    join(root, name),
                    "unsupported-architecture",
                    f"{library}.{class_name} is not a known class, not scanned",
                    blocks=True,
                )

    def sentence_transformer(self, root: str) -> None:
        path = join(root, "modules.json")
        modules = parse_json(self.source.read_small(path, max_bytes=1 << 20), path)
        for module in modules if isinstance(modules, list) else []:
            name, kind = (module.get("path"), module.get("type")) if isinstance(module, Mapping) else (None, None)
            if (
                isinstance(kind, str)
                and kind.endswith(".CLIPModel")
                and isinstance(name, str)
                and _COMPONENT_NAME.fullmatch(name)
            ):
                if join(root, name) in self.settled:  # one folder named a thousand times is looked at once
                    continue
                self.model(join(root, name), component=join(root, name))

    # ------------------------------------------------ one model folder

    def model(self, folder: str, *, component: str, declared_class: str | None = None) -> None:
        path = join(folder, "config.json")
        self.settled.add(folder)
        if not self.has(path):
            return self.skip(component, "unreadable", f"'{path}' is missing", blocks=True)
        data = read_json_object(self.source, path)
        label, verdict, why = known.judge_config(data, declared_class)
        if verdict == "unsupported":
            return self.skip(component, "unsupported-architecture", why, blocks=True)
        if verdict == "other":
            return self.skip(component, "not-clip-family", why, blocks=False)
        self.text_folders.add(folder)
        sets = weight_sets(self.source, folder)
        for weights in sets:
            self.declared_encoder(component, label, data, path, weights)
        self.settled.update(f.path for s in sets for f in s.files)
        if (
            not sets
            and not self.loose_encoders(folder, data, label)
            and not pickle_names(names_in(self.source, folder))
        ):
            self.skip(component, "no-weights", f"{label} without weight files", blocks=True)

    def declared_encoder(
        self, component: str, label: str, data: Mapping[str, Any], path: str, weights: WeightSet
    ) -> None:
        towers = towers_in(weights)
        if not towers:
            detail = f"{label}, but '{weights.files[0].path}' holds no text tower in a known layout"
            return self.skip(component, "unsupported-architecture", detail, blocks=True)
        for number, tower in enumerate(towers):
            config = declared_tower(data, path, label, weights, tower)
            name = part_name(weights.files[0].path, tower) if number else component
            self.encoders.append(resolve_tower(self.source, weights, tower, config, component=name, label=label))
        return None

    def loose_encoders(self, folder: str, data: Mapping[str, Any], label: str) -> bool:
        """Weight files with names of their own beside a config that describes them. True when there was one."""
        before = len(self.encoders)
        paths = [join(folder, name) for name in names_in(self.source, folder) if name.endswith(".safetensors")]
        paths = [path for path in paths if path not in self.settled]
        for path in paths[:MAX_STRAY_FILES]:
            weights = single_file(self.source, path, "")
            if towers_in(weights):
                self.settled.add(path)
                self.declared_encoder(path, label, data, join(folder, "config.json"), weights)
        if len(paths) > MAX_STRAY_FILES:
            self.skip(
                folder,
                "unreadable",
                f"{len(paths) - MAX_STRAY_FILES} more weight files were not examined",
                blocks=True,
            )
        return len(self.encoders) > before

    # ------------------------------------------------ what else lies around

    def named_file(self, root: str, filename: str) -> None:
        path = filename if self.has(filename) else join(root, filename)
        if not self.has(path):
            raise FileNotInRepo(self.source.snapshot.repo_id, path)
        if not path.endswith(".safetensors"):
            if pickle_names([path.rpartition("/")[2]]):
                self.skip(path, "pickle-only", f"'{path}' is a pickle, which is not loaded", blocks=True)
            return
        self.stray_file(path, strict=True)

    def stray_files(self, root: str) -> None:
        start = f"{root}/" if root else ""
        strays = [
            f.path for f in self.source.snapshot.files if f.path.startswith(start) and f.path.endswith(".safetensors")
        ]
        strays = sorted(path for path in strays if not self._accounted_for(path))
        for path in strays[:MAX_STRAY_FILES]:
            self.stray_file(path, strict=False)
        if len(strays) > MAX_STRAY_FILES:
            self.skip(
                root, "unreadable", f"{len(strays) - MAX_STRAY_FILES} more weight files were not examined", blocks=True
            )

    def _accounted_for(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if path in self.settled or name.startswith(known.ADAPTER_WEIGHTS):
            return True
        # beside a config, files of other names are looked at; in a pipeline's other components (U-Net, VAE, T5) they
        # are not
        return folder in self.settled and not any(
            e.weight_files[0].path.startswith(f"{folder}/" if folder else "") for e in self.encoders
        )

    def stray_file(self, path: str, *, strict: bool) -> None:
        """A weight file that no config declares.

        `strict`: it was asked for by name, so that its defects are errors.
        """
        try:
            weights = single_file(self.source, path, "")
            towers = towers_in(weights)
            for tower in towers:
                self.undeclared_encoder(path, weights, tower)
            loras = self.loras(path, weights, towers)
        except BadRepository as error:
            if strict:
                raise
            return self.skip(path, "unreadable", str(error), blocks=True)
        if (words := describe_inversion(weights.tensors)) is not None:
            return self.skip(path, "textual-inversion", f"'{path}' holds {words}", blocks=False)
        detail, blocks = ("", True) if towers or loras else classify_names(weights.tensors.keys())
        if detail or (strict and not towers and not loras):
            reason: SkipReason = "unsupported-architecture" if blocks else "not-clip-family"
            self.skip(path, reason, f"'{path}' holds {detail or 'no text encoder'}", blocks=blocks)
        return None

    def loras(self, path: str, weights: WeightSet, towers: tuple[FoundTower, ...] = ()) -> bool:
        """Note the LoRAs on text towers in a file, beside its towers.

        True when there was something to note, a refusal included.
        """
        others = {
            name: info
            for name, info in weights.tensors.items()
            if not any(belongs(name, t.key_layout, t.prefix) for t in towers)
        }
        try:
            found = adapters_in(self.source, dataclasses.replace(weights, tensors=others))
        except UnsupportedTower as reason:
            self.skip(path, "unsupported-architecture", f"'{path}' holds {reason}", blocks=True)
            return True
        self.adapters += found
        return bool(found)

    def undeclared_encoder(self, path: str, weights: WeightSet, tower: FoundTower) -> None:
        component = part_name(path, tower)
        try:
            config, label = undeclared_tower(self.source, weights, tower)
        except UnsupportedTower as reason:
            return self.skip(
                component, "unsupported-architecture", f"'{path}' is not supported: {reason}", blocks=True
            )
        self.encoders.append(resolve_tower(self.source, weights, tower, config, component=component, label=label))
        return None

    def peft_adapters(self, root: str) -> None:
        """Adapters in PEFT's own files, which `stray_files` leaves alone: transformers would apply one that lies beside a model."""
        start = f"{root}/" if root else ""
        paths = [f.path for f in self.source.snapshot.files if f.path.startswith(start)]
        configs = [path for path in paths if path.rpartition("/")[2] == ADAPTER_CONFIG]
        weights = [
            path
            for path in paths
            if path.rpartition("/")[2].startswith(known.ADAPTER_WEIGHTS) and path.endswith(".safetensors")
        ]
        for path in weights[:MAX_STRAY_FILES]:
            self.peft_adapter(path)
        if len(weights) > MAX_STRAY_FILES:
            self.skip(
                root, "unreadable", f"{len(weights) - MAX_STRAY_FILES} more adapters were not examined", blocks=True
            )
        for path in configs:
            folder = path.rpartition("/")[0]
            if not any(w.rpartition("/")[0] == folder for w in weights) and self._beside_text(folder, root):
                detail = (
                    "an adapter (adapter_config.json) without a safetensors file, which transformers would apply, is"
                    " not scanned"
                )
                self.skip(path, "unsupported-architecture", detail, blocks=True)

    def peft_adapter(self, path: str) -> None:
        try:
            weights = single_file(self.source, path, "")
            if self.loras(path, weights):
                return
        except BadRepository as error:
            return self.skip(path, "unreadable", str(error), blocks=True)
        detail, blocks = classify_names(weights.tensors.keys())
        beside = (
            path.rpartition("/")[0] in self.text_folders
            or "text_encoder" in path.rpartition("/")[0].rpartition("/")[2]
        )
        reason: SkipReason = "unsupported-architecture" if blocks or beside else "not-clip-family"
        self.skip(
            path,
            reason,
            f"an adapter that changes {detail or 'no text tower that is known here'}",
            blocks=blocks or beside,
        )
        return None

    def _beside_text(self, folder: str, root: str) -> bool:
        return folder in self.text_folders | {root} or "text_encoder" in folder.rpartition("/")[2]

    def pickles(self, root: str) -> None:
        """Pickles are never loaded; beside safetensors they are said, alone they block an acquittal."""
        scanned = {f.path.rpartition("/")[0] for e in self.encoders for f in e.weight_files}
        for folder in sorted({root} | self.text_folders | scanned):
            names = pickle_names(names_in(self.source, folder))
            if names:
                listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
                beside = folder in scanned or (folder == root and bool(scanned))
                self.skip(folder, "pickle-only", f"pickles are not loaded: {listed}", blocks=not beside)

    def only_pickles(self) -> bool:
        """Whether pickles are what keeps this from being scanned: not so where the architecture could not be read anyway."""
        pickled = {s.component for s in self.skipped if s.reason == "pickle-only"}
        return bool(pickled) and (
            bool(pickled & self.text_folders) or all(s.reason == "pickle-only" for s in self.skipped)
        )

    def other_contents(self, root: str) -> tuple[str, ...]:
        """A few words on what is there when nothing was recognised."""
        names = names_in(self.source, root)
        if not names:
            return (f"no files under '{root}'",) if root else ("no files",)
        return ("files: " + ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else ""),)
