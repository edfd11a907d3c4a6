"""The text encoders of a pinned repository.

Reads small JSON files and safetensors headers; no weights, no torch, no transformers.

Knows how transformers models, sentence-transformers models and diffusers pipelines declare their encoders; files that
nothing declares are for `amdet_hub.encoders.undeclared_files`. Every text encoder that is seen and cannot be scanned
becomes a `SkippedScan` with its reason, never silence: a part that was not looked at must not be cleared.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from amdet_hub.encoders.architectures import TEXT_CLASSES, UNSUPPORTED, classify_config
from amdet_hub.encoders.lora_files import LoraBase, LoraFile
from amdet_hub.encoders.openclip import OPENCLIP_CONFIG
from amdet_hub.encoders.resolve_tower import declared_tower, part_name, towers_in, without_duplicates
from amdet_hub.encoders.strict_json import parse_json, read_json_object, require
from amdet_hub.encoders.survey import Survey
from amdet_hub.encoders.undeclared_files import (
    note_adapters,
    note_left_over,
    note_not_examined,
    note_redirects,
    note_tower,
    note_undeclared_file,
    note_undeclared_files,
)
from amdet_hub.encoders.weight_files import WeightSet, folder_of, join, names_in, weight_sets
from amdet_hub.errors import FileNotInRepo
from amdet_hub.records import RepoSource, ResolvedEncoder, SkippedScan

# Entries of a `model_index.json`; the largest real pipelines have about 20.
MAX_COMPONENTS = 256
_COMPONENT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Resolution:
    """The content of a repository: encoders that can be scanned, and parts that cannot, each with its reason.

    `loras` are LoRAs whose base is still to be found. Once it is, the merged tower is one of `encoders`, and `bases`
    holds the tower it is merged onto.
    """

    encoders: tuple[ResolvedEncoder, ...]
    skipped: tuple[SkippedScan, ...]
    loras: tuple[LoraFile, ...] = ()
    bases: Mapping[ResolvedEncoder, LoraBase] = field(default_factory=dict)


def find_encoders(source: RepoSource, *, subfolder: str = "", filename: str | None = None) -> Resolution:
    """Locate every text encoder under `subfolder` ("" is the root), or the one in the `.safetensors` file `filename`.

    A repository without any has at least one entry in `skipped`, which says what is there instead.

    Raises:
        BadRepository: a configuration, index or header is broken or hostile.
        FileNotInRepo: `filename` is not there.
        HubError: something could not be read.
    """
    survey, root = Survey(source), subfolder.strip("/")
    if filename is None:
        _note_folder(survey, root)
    else:
        _note_named_file(survey, root, filename)
    encoders, duplicates = without_duplicates(survey.encoders, source)
    survey.skipped += duplicates
    if not encoders and not survey.loras and not survey.skipped:
        names = names_in(source, root)
        files = f"files: {', '.join(names[:8])}" if names else f"no files under '{root}'" if root else "no files"
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        survey.skip("", "no-model-files", f"no recognised model files; {files}{more}")
    return Resolution(tuple(encoders), tuple(survey.skipped), tuple(survey.loras))


def _note_named_file(survey: Survey, root: str, filename: str) -> None:
    path = filename if survey.has(filename) else join(root, filename)
    if not survey.has(path):
        raise FileNotInRepo(survey.source.snapshot.repo_id, path)
    note_undeclared_file(survey, path, strict=True)


def _note_folder(survey: Survey, root: str) -> None:
    if survey.has(join(root, "model_index.json")):
        _note_pipeline(survey, root)
    elif survey.has(join(root, "config.json")):
        _note_model(survey, root)
    elif survey.has(join(root, "modules.json")):
        _note_sentence_transformer(survey, root)
    note_adapters(survey, root)
    note_undeclared_files(survey, root)
    note_not_examined(survey, root)
    note_redirects(survey, root)
    _note_missing_weights(survey)
    silent = not survey.encoders and not any(s.blocks_clearance for s in survey.skipped)
    if silent and survey.has(join(root, OPENCLIP_CONFIG)):
        survey.skip(
            root, "no-weights", f"an OpenCLIP model ({OPENCLIP_CONFIG}) without a weight file that can be read"
        )


# ---------------------------------------------------------------- declared encoders


def _note_pipeline(survey: Survey, root: str) -> None:
    path = join(root, "model_index.json")
    components = read_json_object(survey.source, path)
    require(
        len(components) <= MAX_COMPONENTS,
        path,
        f"it lists {len(components)} entries, more than the {MAX_COMPONENTS} that are looked at",
    )
    for name, entry in components.items():
        declared = isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)
        if name.startswith("_") or not declared:
            continue
        require(
            _COMPONENT_NAME.fullmatch(name) is not None,
            path,
            f"the component name '{name[:80]}' is not a plain folder name",
        )
        library, class_name = (part[:80] for part in entry)
        folder, text_encoder = join(root, name), "text_encoder" in name
        foreign = text_encoder and library not in ("transformers", "diffusers")  # code of the repository's own
        if library == "transformers" and class_name in TEXT_CLASSES:
            _note_model(survey, folder, class_name)
        elif foreign or class_name in TEXT_CLASSES or class_name in UNSUPPORTED:
            survey.skip(folder, "unsupported-architecture", f"{library}.{class_name} is not supported")
        elif text_encoder:
            survey.skip(folder, "not-clip-family", f"{class_name} is not CLIP-family, not scanned")


def _note_sentence_transformer(survey: Survey, root: str) -> None:
    path = join(root, "modules.json")
    modules = parse_json(survey.source.read_small(path, max_bytes=1 << 20), path)
    seen: set[str] = set()  # one folder named a thousand times is looked at once
    for module in modules if isinstance(modules, list) else []:
        name, kind = (module.get("path"), module.get("type")) if isinstance(module, Mapping) else (None, None)
        plain = isinstance(name, str) and _COMPONENT_NAME.fullmatch(name) is not None
        folder = join(root, str(name))
        if plain and isinstance(kind, str) and kind.endswith(".CLIPModel") and folder not in seen:
            seen.add(folder)
            _note_model(survey, folder)


def _note_model(survey: Survey, folder: str, declared_class: str | None = None) -> None:
    """The towers of one model folder, by its `config.json`; its path is the component's name."""
    path = join(folder, "config.json")
    if not survey.has(path):
        return survey.skip(folder, "unreadable", f"'{path}' is missing")
    data = read_json_object(survey.source, path)
    label, reason, why = classify_config(data, declared_class)
    if reason is not None:
        return survey.skip(folder, reason, why)
    survey.text_folders[folder] = label
    for weights in weight_sets(survey.source, folder, survey.refuse):
        survey.examined.update(file.path for file in weights.files)
        _note_declared(survey, folder, label, data, weights)
    return None


def _note_declared(survey: Survey, component: str, label: str, data: Mapping[str, Any], weights: WeightSet) -> None:
    towers = towers_in(weights)
    if not towers:
        survey.skip(
            component, "unsupported-architecture", f"no text tower in a known layout in '{weights.path}' ({label})"
        )
    for number, layout in enumerate(towers):
        if layout.key_layout == "openclip" and survey.has(join(component, OPENCLIP_CONFIG)):
            note_tower(survey, weights, layout)  # by the configuration of the loader that reads these names
            continue
        survey.add(
            weights,
            layout,
            declared_tower(data, label, weights, layout),
            part_name(weights.path, layout) if number else component,
            label,
        )
    if towers:
        note_left_over(survey, weights, towers)


def _note_missing_weights(survey: Survey) -> None:
    """Note folders that are configured as a text encoder and hold none."""
    seen = {folder_of(f.path) for e in survey.encoders for f in e.weight_files}
    for folder, label in survey.text_folders.items():
        if folder not in seen and not any(f"{s.component}/".startswith(join(folder, "")) for s in survey.skipped):
            survey.skip(folder, "no-weights", f"{label} without weight files")
