"""Which text encoders does a pinned repository hold? Reads small JSON files and safetensors headers; no weights, no torch, no transformers.

Knows how transformers models, sentence-transformers models, diffusers pipelines and single weight files are laid out. Every text encoder
that is seen and cannot be scanned becomes a `SkippedScan` with its reason, never silence: what was not looked at must not be acquitted.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from amdet_hub.encoders import architectures as known
from amdet_hub.encoders.names import PROJECTION, canonical_name, find_prefix
from amdet_hub.encoders.stray_files import classify_names, pickle_names
from amdet_hub.encoders.strict_json import parse_json, read_json_object
from amdet_hub.encoders.tower_config import FAMILY_OF_MODEL_TYPE, assumptions, inferred_config, tower_config
from amdet_hub.encoders.weight_files import WeightSet, check_tower, join, names_in, single_file, weight_sets
from amdet_hub.errors import BadRepository, FileNotInRepo, NothingToScan
from amdet_hub.records import Family, RepoSource, ResolvedEncoder, SkippedScan, SkipReason, TowerConfig

MAX_STRAY_FILES = 32
"""Weight files outside the declared components whose headers are read; a repository with more is reported as not fully examined."""
MAX_COMPONENTS = 256
"""Entries of a `model_index.json`; the largest real pipelines have about 20."""
_COMPONENT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Resolution:
    """What a repository holds: encoders that can be scanned, and text encoders or components that cannot, each with its reason."""

    encoders: tuple[ResolvedEncoder, ...]
    skipped: tuple[SkippedScan, ...]


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
    encoders, duplicates = _without_duplicates(survey.encoders)
    skipped = (*survey.skipped, *duplicates)
    if not encoders:
        found = tuple(s.detail for s in skipped) or survey.other_contents(root)
        raise NothingToScan(source.snapshot.repo_id, found, pickle_only=survey.only_pickles())
    return Resolution(tuple(encoders), skipped)


@dataclass
class _Survey:
    source: RepoSource
    encoders: list[ResolvedEncoder] = field(default_factory=list)
    skipped: list[SkippedScan] = field(default_factory=list)
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
        self.adapters(root)
        self.stray_files(root)
        self.pickles(root)
        said = any("OpenCLIP" in s.detail for s in self.skipped)
        if not self.encoders and not said and self.has(join(root, "open_clip_config.json")):
            self.skip(root, "unsupported-architecture", "an OpenCLIP model (open_clip_config.json), not supported", blocks=True)

    def pipeline(self, root: str) -> None:
        path = join(root, "model_index.json")
        components = read_json_object(self.source, path)
        if len(components) > MAX_COMPONENTS:
            raise BadRepository(path, f"it lists {len(components)} entries, more than the {MAX_COMPONENTS} that are looked at")
        for name, entry in components.items():
            if name.startswith("_") or not (isinstance(entry, list) and len(entry) == 2 and all(isinstance(e, str) for e in entry)):
                continue
            if not _COMPONENT_NAME.fullmatch(name):
                raise BadRepository(path, f"the component name '{name[:80]}' is not a plain folder name")
            library, class_name = entry[0][:80], entry[1][:80]
            self.settled.add(join(root, name))
            if library == "transformers" and class_name in known.TEXT_CLASSES:
                self.model(join(root, name), component=join(root, name), declared_class=class_name)
            elif class_name in known.TEXT_CLASSES or class_name in known.UNSUPPORTED_CLASSES:
                self.skip(join(root, name), "unsupported-architecture", f"{library}.{class_name} is not supported", blocks=True)
            elif "text_encoder" in name and library in ("transformers", "diffusers"):
                self.skip(join(root, name), "not-clip-family", f"{class_name} is not CLIP-family, not scanned", blocks=False)
            elif "text_encoder" in name:  # the class is code of the repository's own, so its name says nothing
                self.skip(
                    join(root, name), "unsupported-architecture", f"{library}.{class_name} is not a known class, not scanned", blocks=True
                )

    def sentence_transformer(self, root: str) -> None:
        path = join(root, "modules.json")
        modules = parse_json(self.source.read_small(path, max_bytes=1 << 20), path)
        for module in modules if isinstance(modules, list) else []:
            name, kind = (module.get("path"), module.get("type")) if isinstance(module, Mapping) else (None, None)
            if isinstance(kind, str) and kind.endswith(".CLIPModel") and isinstance(name, str) and _COMPONENT_NAME.fullmatch(name):
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
        if not sets and not self.loose_encoders(folder, data, label) and not pickle_names(names_in(self.source, folder)):
            self.skip(component, "no-weights", f"{label} without weight files", blocks=True)

    def declared_encoder(self, component: str, label: str, data: Mapping[str, Any], path: str, weights: WeightSet) -> None:
        prefix = find_prefix(weights.tensors)
        if prefix is None:
            detail = f"{label}, but '{weights.files[0].path}' holds no text tower in transformers' layout"
            return self.skip(component, "unsupported-architecture", detail, blocks=True)
        config = tower_config(data, path, _family(data, label), projection_dim=_projection_rows(weights))
        self.add(component, label, config, prefix, weights)

    def loose_encoders(self, folder: str, data: Mapping[str, Any], label: str) -> bool:
        """Weight files with names of their own beside a config that describes them. True when there was one."""
        before = len(self.encoders)
        paths = [join(folder, name) for name in names_in(self.source, folder) if name.endswith(".safetensors")]
        paths = [path for path in paths if path not in self.settled]
        for path in paths[:MAX_STRAY_FILES]:
            weights = single_file(self.source, path, "")
            if find_prefix(weights.tensors) is not None:
                self.settled.add(path)
                self.declared_encoder(path, label, data, join(folder, "config.json"), weights)
        if len(paths) > MAX_STRAY_FILES:
            self.skip(folder, "unreadable", f"{len(paths) - MAX_STRAY_FILES} more weight files were not examined", blocks=True)
        return len(self.encoders) > before

    def add(self, component: str, label: str, config: TowerConfig, prefix: str, weights: WeightSet) -> None:
        files = weights.holding(prefix)
        check_tower(config, prefix, weights.tensors, weights.file_of, files[0].path)
        tower = [info for name, info in weights.tensors.items() if canonical_name(name, prefix) is not None]
        snapshot = self.source.snapshot
        self.encoders.append(
            ResolvedEncoder(
                repo_id=snapshot.repo_id,
                commit_sha=snapshot.commit_sha,
                component=component,
                architecture=label,
                config=config,
                weight_files=files,
                variant=weights.variant,
                prefix=prefix,
                tokenizer_files=self.tokenizer_files(files[0].path.rpartition("/")[0]),
                tower_bytes=sum(info.size_bytes for info in tower),
                dtypes=tuple(sorted({info.dtype for info in tower if info.dtype != "I64"})),  # I64: the position_ids buffer
            )
        )

    def tokenizer_files(self, folder: str) -> tuple[str, ...]:
        """The tokenizer beside the weights, or in a pipeline's `tokenizer_2` for `text_encoder_2`."""
        parent, _, name = folder.rpartition("/")
        places = [folder]
        if "text_encoder" in name:
            places.append(join(parent, name.replace("text_encoder", "tokenizer")))
        for place in places:
            for group in (("tokenizer.json",), ("vocab.json", "merges.txt")):
                paths = tuple(join(place, file) for file in group)
                if all(self.has(path) for path in paths):
                    return paths
        return ()

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
        strays = [f.path for f in self.source.snapshot.files if f.path.startswith(start) and f.path.endswith(".safetensors")]
        strays = sorted(path for path in strays if not self._accounted_for(path))
        for path in strays[:MAX_STRAY_FILES]:
            self.stray_file(path, strict=False)
        if len(strays) > MAX_STRAY_FILES:
            self.skip(root, "unreadable", f"{len(strays) - MAX_STRAY_FILES} more weight files were not examined", blocks=True)

    def _accounted_for(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if path in self.settled or name.startswith(known.ADAPTER_WEIGHTS):
            return True
        # beside a config, files of other names are looked at; in a pipeline's other components (U-Net, VAE, T5) they are not
        return folder in self.settled and not any(e.weight_files[0].path.startswith(f"{folder}/" if folder else "") for e in self.encoders)

    def stray_file(self, path: str, *, strict: bool) -> None:
        """A weight file that no config declares. `strict`: it was asked for by name, so that its defects are errors."""
        try:
            weights = single_file(self.source, path, "")
            prefix = find_prefix(weights.tensors)
            if prefix is not None:
                config, label = self._config_for_stray(path, prefix, weights)
                return self.add(path, label, config, prefix, weights)
        except BadRepository as error:
            if strict:
                raise
            return self.skip(path, "unreadable", str(error), blocks=True)
        detail, blocks = classify_names(weights.tensors.keys())
        if detail or strict:
            reason: SkipReason = "unsupported-architecture" if blocks else "not-clip-family"
            self.skip(path, reason, f"'{path}' holds {detail or 'no text encoder'}", blocks=blocks)
        return None

    def _config_for_stray(self, path: str, prefix: str, weights: WeightSet) -> tuple[TowerConfig, str]:
        beside = join(path.rpartition("/")[0], "config.json")
        if self.has(beside):
            data = read_json_object(self.source, beside)
            label, verdict, _ = known.judge_config(data, None)
            if verdict == "supported":
                return tower_config(data, beside, _family(data, label), projection_dim=_projection_rows(weights)), label
        config = inferred_config(weights.tensors, prefix, path)
        name = "SiglipTextModel" if config.family == "siglip" else "CLIPTextModel" + ("WithProjection" if config.projection_dim else "")
        return config, f"{name} ({assumptions(config)})"

    def adapters(self, root: str) -> None:
        start = f"{root}/" if root else ""
        for path in [f.path for f in self.source.snapshot.files if f.path.startswith(start)]:
            folder, _, name = path.rpartition("/")
            if name == "adapter_config.json" and (folder in self.text_folders | {root} or "text_encoder" in folder.rpartition("/")[2]):
                detail = "a LoRA adapter (adapter_config.json), which transformers would apply, is not scanned"
                self.skip(path, "unsupported-architecture", detail, blocks=True)

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
        return bool(pickled) and (bool(pickled & self.text_folders) or all(s.reason == "pickle-only" for s in self.skipped))

    def other_contents(self, root: str) -> tuple[str, ...]:
        """A few words on what is there when nothing was recognised."""
        names = names_in(self.source, root)
        if not names:
            return (f"no files under '{root}'",) if root else ("no files",)
        return ("files: " + ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else ""),)


def _family(data: Mapping[str, Any], label: str) -> Family:
    model_type = data.get("model_type")
    if isinstance(model_type, str) and model_type in FAMILY_OF_MODEL_TYPE:
        return FAMILY_OF_MODEL_TYPE[model_type]
    return "siglip" if label.startswith("Siglip") else "clip"


def _projection_rows(weights: WeightSet) -> int | None:
    info = weights.tensors.get(PROJECTION)
    return info.shape[0] if info is not None and len(info.shape) == 2 else None


def _without_duplicates(encoders: list[ResolvedEncoder]) -> tuple[list[ResolvedEncoder], list[SkippedScan]]:
    """Files with the same sha256 and the same config are one encoder; the later ones are said to be copies."""
    kept: dict[Any, ResolvedEncoder] = {}
    copies: list[SkippedScan] = []
    for encoder in encoders:
        digests = tuple(f.sha256 for f in encoder.weight_files)
        # ids that only frame prompts do not make another encoder; the pooling rule (eos) does
        config = dataclasses.replace(encoder.config, bos_token_id=0, pad_token_id=0)
        key: Any = (digests, config, encoder.prefix) if all(digests) else object()
        first = kept.setdefault(key, encoder)
        if first is not encoder:
            detail = f"'{encoder.weight_files[0].path}' has the same bytes as '{first.weight_files[0].path}'"
            copies.append(SkippedScan(encoder.repo_id, encoder.component, "duplicate", detail, False))
    return list(kept.values()), copies
