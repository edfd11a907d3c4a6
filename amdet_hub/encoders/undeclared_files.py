"""Weight files that no configuration declares: single files, adapters, pickles.

Reads safetensors headers and small JSON files; imports no torch.
"""

import dataclasses
from collections.abc import Mapping

from amdet_hub.encoders.architectures import ADAPTER_WEIGHTS, TEXT_CLASSES, UNSUPPORTED
from amdet_hub.encoders.key_layouts import TowerLayout
from amdet_hub.encoders.loaders import Listing, by_folder
from amdet_hub.encoders.lora import LORA_SIGNS
from amdet_hub.encoders.lora_files import ADAPTER_CONFIG, find_lora_files
from amdet_hub.encoders.openclip import UnsupportedTower
from amdet_hub.encoders.resolve_tower import part_name, towers_in, undeclared_tower
from amdet_hub.encoders.strict_json import read_json_object
from amdet_hub.encoders.survey import Survey
from amdet_hub.encoders.unsupported_files import describe_inversion, describe_text_parts, left_over, mixed_places
from amdet_hub.encoders.weight_files import WeightSet, folder_of, join, paths_under, single_file
from amdet_hub.errors import BadRepository, BadWeights
from amdet_hub.records import SkipReason
from amdet_hub.weight_formats import weight_format

_MODULAR_INDEX = "modular_model_index.json"

# Weight files whose tables are read; more of them block. A language model beside a text encoder has up to 100 shards.
MAX_UNDECLARED_FILES = 256


def note_undeclared_files(survey: Survey, root: str) -> None:
    """Look at every file under `root` that is not accounted for: some loader may take it, whatever declares it.

    A configuration accounts for no file: it says what one loader makes of a folder, and another reads it otherwise.
    """
    formats = {
        path: weight_format(path, file.size_bytes)
        for path in paths_under(survey.source, root)
        if path not in survey.examined and (file := survey.source.snapshot.file(path)) is not None
    }
    tables = [path for path, kind in formats.items() if kind in ("safetensors", "pickle")]
    survey.examined.update(tables)
    for path in survey.first([p for p in tables if not _is_adapter(p)], MAX_UNDECLARED_FILES, root):
        note_undeclared_file(survey, path)
    for path in survey.first([p for p, kind in formats.items() if kind == "unknown"], MAX_UNDECLARED_FILES, root):
        survey.skip(path, "unsupported-format", f"'{path}' may hold weights, in a format that is not read")


def _is_adapter(path: str) -> bool:
    return path.rpartition("/")[2].startswith(ADAPTER_WEIGHTS)


def note_undeclared_file(survey: Survey, path: str, *, strict: bool = False) -> None:
    """Look at one weight file: the towers and the LoRAs in it, or the reason why there are none.

    `strict`: it was asked for by name, so that its defects are errors.
    """
    try:
        weights = single_file(survey.source, path)
        towers = towers_in(weights)
        for layout in towers:
            note_tower(survey, weights, layout)
        if towers and _is_adapter(path):  # PEFT puts them in the place of the base's
            survey.skip(path, "unsupported-adapter", f"'{path}' holds a whole text tower")
        if _note_loras(survey, weights, towers) or towers:
            return note_left_over(survey, weights, towers)
    except BadRepository as error:
        if weight_format(path, 0) == "pickle" and not isinstance(error, BadWeights):
            return survey.refuse(path, error)
        if strict:
            raise
        return survey.skip(path, "unreadable", str(error))
    words, parts = describe_inversion(weights.tensors), describe_text_parts(weights.tensors)
    if words is not None:
        survey.skip(path, "textual-inversion", f"'{path}' holds {words}")
    elif _is_adapter(path):
        survey.skip(
            path,
            "unsupported-adapter" if parts or _beside_text(survey, folder_of(path)) else "not-clip-family",
            f"an adapter that changes {parts or 'no text tower that is known here'}",
        )
    elif strict or (parts and not survey.blocks(folder_of(path))):
        survey.skip(
            path,
            "unsupported-architecture" if parts else "not-clip-family",
            f"'{path}' holds {parts or 'no text encoder'}",
        )
    return None


def note_tower(survey: Survey, weights: WeightSet, layout: TowerLayout) -> None:
    """Note a tower by the configuration beside its file, or by its tensors alone. Raises: BadRepository."""
    component = part_name(weights.path, layout)
    try:
        config, label = undeclared_tower(survey.source, weights, layout)
    except UnsupportedTower as why:
        if not survey.blocks(folder_of(weights.path)):
            survey.skip(component, "unsupported-architecture", f"'{weights.path}' is not supported: {why}")
        return None
    return survey.add(weights, layout, config, component, label)


def _note_loras(survey: Survey, weights: WeightSet, towers: tuple[TowerLayout, ...]) -> bool:
    """The LoRAs on text towers in a file, beside its towers. True when there was one, a refused one included."""
    others = {n: info for n, info in weights.tensors.items() if not any(layout.claims(n) for layout in towers)}
    try:
        found = find_lora_files(survey.source, dataclasses.replace(weights, tensors=others))
    except UnsupportedTower as why:
        survey.skip(weights.path, "unsupported-adapter", f"'{weights.path}' holds {why}")
        return True
    survey.loras += found
    return bool(found)


def note_adapters(survey: Survey, root: str) -> None:
    """Look at adapters in PEFT's own files: transformers would apply one that lies beside a model."""
    names = {path: path.rpartition("/")[2] for path in paths_under(survey.source, root)}
    weights = [path for path in names if _is_adapter(path)]
    for path in survey.first(weights, MAX_UNDECLARED_FILES, root):
        note_undeclared_file(survey, path)
    for folder in (folder_of(path) for path, name in names.items() if name == ADAPTER_CONFIG):
        if folder not in map(folder_of, weights) and (folder == root or _beside_text(survey, folder)):
            survey.skip(
                join(folder, ADAPTER_CONFIG),
                "unsupported-adapter",
                "an adapter without a safetensors file, which transformers would apply",
            )


def _beside_text(survey: Survey, folder: str) -> bool:
    return folder in survey.text_folders or "text_encoder" in folder.rpartition("/")[2]


def note_left_over(survey: Survey, weights: WeightSet, towers: tuple[TowerLayout, ...]) -> None:
    """Note tensors that a loader may take in the place of those of `towers`, or mix with them.

    They look like a further text tower's and belong to none, nor to a LoRA; or two towers have no places of their own.
    """
    claimed = {name for name in weights.tensors if any(layout.claims(name) for layout in towers)}
    # LongCLIP's is the same place, read in another way, which is scanned too.
    why = mixed_places([layout.prefix for layout in towers if layout.key_layout != "longclip"], weights.tensors)
    if name := left_over(n for n in weights.tensors if n not in claimed and not LORA_SIGNS.search(n)):
        why = f"'{name[:120]}', which looks like a part of a text tower and belongs to none"
    if why:
        survey.skip(weights.path, "unclaimed-tensors", f"'{weights.path}' holds {why}")


def note_not_examined(survey: Survey, root: str) -> None:
    """Note files that some loader takes from a folder, because another file names them, and that nothing looked at.

    For example a shard without an ending that tells, or the shards of an index that cannot be read.
    """
    listing = Listing(survey.source, root)
    if listing.too_large:
        survey.skip(root, "unreadable", "more configurations and indexes, or larger ones, than are looked at")
    for take in by_folder(listing):
        for path in take.files:
            if survey.has(path) and path not in survey.examined and not survey.blocks(path):
                reason: SkipReason = "unreadable" if path.endswith(".json") else "unsupported-format"
                survey.skip(path, reason, f"{take.label} takes '{path[:120]}', which was not looked at")


def note_redirects(survey: Survey, root: str) -> None:
    """Note text encoders that a `modular_model_index.json` takes from another repository."""
    path = join(root, _MODULAR_INDEX)
    if not survey.has(path):
        return
    for name, entry in read_json_object(survey.source, path).items():
        spec = entry[2] if isinstance(entry, list) and len(entry) == 3 and isinstance(entry[2], Mapping) else {}
        place = spec.get("pretrained_model_name_or_path") or spec.get("repo")
        hint = spec.get("type_hint") or entry[:2] if spec else []
        classes = [str(part) for part in hint] if isinstance(hint, list) else []
        other = place not in (None, "", survey.source.snapshot.repo_id)
        if other and ("text_encoder" in name or set(classes) & {*TEXT_CLASSES, *UNSUPPORTED}):
            detail = f"'{path}' takes {name[:80]} from {str(place)[:120]!r}"
            survey.skip(name[:80], "loads-from-elsewhere", detail)
