"""What the loaders that people use take from a repository: a table, from the listing and small JSON files alone.

`all_takes` lists the calls that load something, `loaded_by` those of them that load one tower. Each loader that goes
by folders has a module of its own; loaders that take any file by its name are rows of `BY_NAME`. `PLACES` and
`ADAPTERS` say under which tensor names a loader reads a tower. The differential test holds all of it against the real
libraries; those of ComfyUI and A1111, which are no libraries, were not run.

Source: transformers 5.23 `modeling_utils.py`, diffusers 0.42 `pipelines/` and `loaders/`, PEFT 0.21,
sentence-transformers 6.2 `base/model.py`, open_clip 3.3 `factory.py`; ComfyUI `comfy/sd.py`; A1111 `sd_models.py`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from amdet_hub.encoders.loaders.diffusers_files import pipelines
from amdet_hub.encoders.loaders.listing import Listing, Loader, Take
from amdet_hub.encoders.loaders.open_clip_files import open_clip_models
from amdet_hub.encoders.loaders.sentence_transformers_files import sentence_transformers_models
from amdet_hub.encoders.loaders.transformers_files import transformers_models
from amdet_hub.records import AdapterNaming, KeyLayout, RepoSource, ResolvedEncoder

_ANY = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".pkl")
# Loaders that are given a file, with the endings that they look for, in any case of their letters.
BY_NAME: tuple[tuple[Loader, str, tuple[str, ...]], ...] = (
    ("diffusers from_single_file", "", _ANY),
    ("diffusers load_lora_weights", "", (".safetensors", ".bin")),
    ("open_clip", "pretrained=FILE", _ANY),
    ("ComfyUI", "", _ANY),
    ("A1111", "", (".safetensors", ".ckpt", ".pt")),
)

# transformers strips a base model's prefix, with whatever character is behind it, and `text_model.`.
_FOLDER: Mapping[KeyLayout, str] = {
    "transformers": r"(?:(?:clip|siglip2?|owlv(?:it|2)|x_clip|text_model).)?(?:text_model\.)?",
}
_PLACES_IN_CHECKPOINTS = r"(?:cond_stage_model|conditioner\.embedders\.\d|text_encoders\.\w+)\."
_CHECKPOINT: Mapping[KeyLayout, str] = {
    "transformers": rf"{_PLACES_IN_CHECKPOINTS}(?:transformer\.)?(?:text_model\.)?",
    "openclip": rf"{_PLACES_IN_CHECKPOINTS}model\.",
}
# The prefixes under which a loader reads a tower, by the layout of its names.
PLACES: Mapping[Loader, Mapping[KeyLayout, str]] = {
    "transformers": _FOLDER,
    "sentence-transformers": _FOLDER,
    "diffusers": _FOLDER,
    "diffusers from_single_file": _CHECKPOINT,
    "open_clip": {"openclip": r"(?:module\.)?(?:text\.)?"},
    "ComfyUI": {
        "transformers": rf"(?:{_CHECKPOINT['transformers']})|text_model\.",
        "openclip": rf"(?:{_CHECKPOINT['openclip']})?",
    },
    "A1111": _CHECKPOINT,
}
# The ways to name a LoRA's tensors that a loader knows.
ADAPTERS: Mapping[Loader, tuple[AdapterNaming, ...]] = {
    "transformers": ("peft",),
    "sentence-transformers": ("peft",),
    "diffusers": ("peft",),
    "diffusers load_lora_weights": ("kohya", "diffusers"),
    "ComfyUI": ("kohya", "diffusers"),
    "A1111": ("kohya",),
}


def all_takes(source: RepoSource, root: str = "") -> tuple[Take, ...]:
    """Every call that loads something from a repository, or from the folder `root` of it."""
    listing = Listing(source, root)
    return (*by_folder(listing), *_by_name(listing))


def by_folder(listing: Listing) -> Iterator[Take]:
    """The calls that are given a folder, and choose the files themselves; none where reading them would take long."""
    if listing.too_large:
        return
    for calls in (transformers_models, pipelines, sentence_transformers_models, open_clip_models):
        yield from (take for take in calls(listing) if take.files)


def _by_name(listing: Listing) -> Iterator[Take]:
    for loader, how, endings in BY_NAME:
        for path in listing.paths:
            if path.lower().endswith(endings):
                yield Take(loader, how, (path,))


def loaded_by(encoder: ResolvedEncoder, takes: Iterable[Take]) -> tuple[Take, ...]:
    """Those of the calls that load this tower, or this LoRA; none where no loader that is known here does."""
    files = {file.path for file in encoder.weight_files}
    return tuple(take for take in takes if files <= set(take.files) and _reads(take.loader, encoder))


def _reads(loader: Loader, encoder: ResolvedEncoder) -> bool:
    if encoder.adapter is not None:
        return encoder.adapter.naming in ADAPTERS.get(loader, ())
    prefix = PLACES.get(loader, {}).get(encoder.key_layout)
    return prefix is not None and re.fullmatch(prefix, encoder.prefix, re.DOTALL) is not None


__all__ = ["Listing", "Loader", "Take", "all_takes", "by_folder", "loaded_by"]
