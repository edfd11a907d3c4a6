"""Weight files that no configuration declares: single files, adapters, pickles.

Reads safetensors headers and small JSON files; imports no torch.
"""

from __future__ import annotations

import dataclasses

from amdet_hub.encoders.architectures import ADAPTER_WEIGHTS
from amdet_hub.encoders.key_layouts import TowerLayout
from amdet_hub.encoders.lora_files import ADAPTER_CONFIG, find_lora_files
from amdet_hub.encoders.openclip import UnsupportedTower
from amdet_hub.encoders.resolve_tower import part_name, towers_in, undeclared_tower
from amdet_hub.encoders.survey import Survey
from amdet_hub.encoders.unsupported_files import describe_inversion, describe_text_parts, pickle_names
from amdet_hub.encoders.weight_files import (
    MAX_SHARDS,
    WeightSet,
    folder_of,
    join,
    names_in,
    paths_under,
    single_file,
)
from amdet_hub.errors import BadRepository

# Weight files outside the declared components whose headers are read; more of them block.
MAX_UNDECLARED_FILES = 32
_STANDARD_WEIGHTS = {"model.safetensors", "model.safetensors.index.json"}


def note_undeclared_files(survey: Survey, root: str) -> None:
    """Look at every safetensors file under `root` that is not accounted for.

    A config of another kind accounts for no file: transformers would load a text tower beside it all the same.
    """
    paths = [p for p in paths_under(survey.source, root) if p.endswith(".safetensors") and not _accounted(survey, p)]
    others = [path for path in paths if folder_of(path) in survey.other_folders]
    rest = [path for path in paths if folder_of(path) not in survey.other_folders]
    for path in survey.first(others, MAX_SHARDS, root) + survey.first(rest, MAX_UNDECLARED_FILES, root):
        note_undeclared_file(survey, path)


def _accounted(survey: Survey, path: str) -> bool:
    folder, _, name = path.rpartition("/")
    if path in survey.examined or name.startswith(ADAPTER_WEIGHTS):
        return True
    # beside the config of a text encoder, files of other names are looked at; in a pipeline's other components (U-Net,
    # VAE, T5) they are not
    scanned = any(e.weight_files[0].path.startswith(join(folder, "")) for e in survey.encoders)
    return folder in survey.examined - survey.other_folders and not scanned


def note_undeclared_file(survey: Survey, path: str, *, strict: bool = False) -> None:
    """Look at one weight file: the towers and the LoRAs in it, or the reason why there are none.

    `strict`: it was asked for by name, so that its defects are errors.
    """
    try:
        weights = single_file(survey.source, path)
        towers = towers_in(weights)
        for layout in towers:
            _note_tower(survey, weights, layout)
        if _note_loras(survey, weights, towers) or towers:
            return
    except BadRepository as error:
        if strict:
            raise
        return survey.skip(path, "unreadable", str(error))
    words, parts = describe_inversion(weights.tensors), describe_text_parts(weights.tensors)
    folder, _, name = path.rpartition("/")
    if words is not None:
        survey.skip(path, "textual-inversion", f"'{path}' holds {words}")
    elif name.startswith(ADAPTER_WEIGHTS):
        survey.skip(
            path,
            "unsupported-adapter" if parts or _beside_text(survey, folder) else "not-clip-family",
            f"an adapter that changes {parts or 'no text tower that is known here'}",
        )
    elif parts or strict:
        survey.skip(
            path,
            "unsupported-architecture" if parts else "not-clip-family",
            f"'{path}' holds {parts or 'no text encoder'}",
        )


def _note_tower(survey: Survey, weights: WeightSet, layout: TowerLayout) -> None:
    component = part_name(weights.path, layout)
    try:
        config, label = undeclared_tower(survey.source, weights, layout)
    except UnsupportedTower as why:
        return survey.skip(component, "unsupported-architecture", f"'{weights.path}' is not supported: {why}")
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
    weights = [p for p, name in names.items() if name.startswith(ADAPTER_WEIGHTS) and p.endswith(".safetensors")]
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


def note_pickles(survey: Survey, root: str) -> None:
    """Note pickles, which are never loaded: beside scanned safetensors they do not block, alone they do."""
    scanned = {folder_of(f.path) for e in survey.encoders for f in e.weight_files}
    for folder in sorted({root} | survey.text_folders | scanned):
        present = names_in(survey.source, folder)
        names = pickle_names(present)
        beside = folder in scanned or (folder == root and bool(scanned))
        if folder in survey.other_folders and not _STANDARD_WEIGHTS.isdisjoint(present):
            # transformers prefers the safetensors file of the same model, which was looked at
            beside = beside or all(name.startswith("pytorch_model") for name in names)
        if names:
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            survey.skip(
                folder, "pickle-only", f"pickles are not loaded: {', '.join(names[:4])}{more}", blocks=not beside
            )
