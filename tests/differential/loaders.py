"""Every way in which the real libraries may load a text tower from a repository.

As users load: from the Hub's cache by id and from a folder, without code of the repository, pickles by
`weights_only`. A way that fails loads nothing; its error is kept, so that a loader that never works is seen.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.differential.environment import publish  # isort: skip # before the libraries

import diffusers
import peft
import sentence_transformers
import torch
import transformers
from diffusers.loaders.single_file_utils import (
    CHECKPOINT_KEY_NAMES,
    create_diffusers_clip_model_from_ldm,
    load_single_file_checkpoint,
)
from torch import Tensor

from tests.differential.loaded import Identity, LoadedTower, openclip_tower_of, tower_without_report, towers_of
from tests.differential.towers import PROJECTED

NOT_TRIED = () if importlib.util.find_spec("open_clip") else ("open_clip",)
"""Libraries that are not installed here. Only open_clip may be absent: see the extra `openclip` in pyproject.toml."""

# How something is loaded, and the load itself.
Way = tuple[str, Callable[[], list[Identity]]]
_CLIP = ("AutoModel", "CLIPTextModel", "CLIPTextModelWithProjection", "CLIPModel")
_SIGLIP = ("AutoModel", "SiglipTextModel", "SiglipModel")
_CLIP_KEYS = [key for name, key in CHECKPOINT_KEY_NAMES.items() if "clip" in name and "playground" not in name]
_WEIGHTS = (".safetensors", ".ckpt", ".bin", ".pt", ".pth")


def ways_to_load(folder: Path, repo_id: str) -> Iterator[Way]:
    """Every way that could load something from the repository in `folder`, published as `repo_id`."""
    publish(folder, repo_id)
    yield from _transformers(folder, repo_id)
    yield from _pipelines(folder)
    yield from _single_files(folder)
    yield from _sentence_transformers(folder)
    yield from _openclip(folder, repo_id)


def load_all(folder: Path, repo_id: str) -> tuple[list[LoadedTower], dict[str, str]]:
    """The towers that are loaded, and the errors of the ways that failed."""
    loaded, errors = [], {}
    for name, load in ways_to_load(folder, repo_id):
        try:
            found = load()
        except Exception as error:  # noqa: BLE001 - any failure of a library is a load that did not happen
            errors[name] = f"{type(error).__name__}: {str(error).strip()[:300]}"
        else:
            loaded += [LoadedTower(name, identity) for identity in dict.fromkeys(found)]
    return loaded, errors


# ---------------------------------------------------------------- transformers and peft


def _transformers(folder: Path, repo_id: str) -> Iterator[Way]:
    configs = {p.parent for name in ("config.json", "adapter_config.json") for p in folder.rglob(name)}
    for model in sorted(configs):
        subfolder = model.relative_to(folder).as_posix().removeprefix(".")
        config = model / "config.json"
        stated = config.read_text() if config.is_file() else ""
        siglip = "siglip" in stated.lower()  # a class that the configuration does not name is not tried
        adapted = (model / "adapter_config.json").is_file()
        names = [path.name for path in model.iterdir()]
        options: list[dict[str, Any]] = [{"variant": "fp16"}] if any(".fp16." in name for name in names) else []
        options += [{"use_safetensors": False}] if any(name.endswith(".bin") for name in names) else []
        for class_name in _SIGLIP if siglip else _CLIP:
            if adapted or _sized(class_name, stated):
                # the class decides which tensors are taken, an option which file: two classes try every option
                for option in [{}, *(options if class_name in ("AutoModel", "CLIPTextModel", "SiglipModel") else ())]:
                    yield _from_hub(class_name, repo_id, subfolder, option)
        if adapted:
            if not stated or _sized("AutoModel", stated):  # a folder with a configuration is its own base
                yield f"transformers AutoModel, folder '{subfolder}'", _loader("AutoModel", str(model), {})
            yield f"peft AutoPeftModel, folder '{subfolder}'", _peft(str(model))


def _sized(class_name: str, config: str) -> bool:
    """Whether a configuration states sizes for a class: no tower here has the default ones, which are large."""
    if class_name in ("CLIPModel", "SiglipModel"):
        return "text_config" in config
    if class_name == "AutoModel" and '"siglip_text_model"' in config and "text_config" not in config:
        return False  # it has no class for that configuration, and imports every model to say so
    return "hidden_size" in config


def _from_hub(class_name: str, repo_id: str, subfolder: str, option: dict[str, Any]) -> Way:
    said = "".join(f", {key}={value}" for key, value in option.items())
    return f"transformers {class_name} '{subfolder}'{said}", _loader(
        class_name, repo_id, {**option, "subfolder": subfolder}
    )


def _loader(class_name: str, name: str, options: dict[str, Any]) -> Callable[[], list[Identity]]:
    def load() -> list[Identity]:
        cls = getattr(transformers, class_name)
        return towers_of(cls.from_pretrained(name, local_files_only=True, dtype=torch.float32, **options))

    return load


def _peft(folder: str) -> Callable[[], list[Identity]]:
    def load() -> list[Identity]:
        return towers_of(peft.AutoPeftModelForFeatureExtraction.from_pretrained(folder, dtype=torch.float32))

    return load


# ---------------------------------------------------------------- diffusers


def _pipelines(folder: Path) -> Iterator[Way]:
    index = folder / "model_index.json"
    if not index.is_file():
        return
    for variant in ("", "fp16") if any(folder.rglob("*.fp16.*")) else ("",):
        yield f"diffusers pipeline{variant and ', variant=fp16'}", functools.partial(_pipeline, folder, index, variant)


def _pipeline(folder: Path, index: Path, variant: str) -> list[Identity]:
    """The real pipeline, without the parts that are no text encoders."""
    entries = json.loads(index.read_text())
    absent = {name for name, entry in entries.items() if isinstance(entry, list) and entry[0] == "diffusers"}
    absent |= {name for name in entries if name.startswith("tokenizer")} | {"vae", "unet"}
    absent -= {name for name, entry in entries.items() if isinstance(entry, list) and "CLIP" in str(entry[1])}
    optional = {name: None for name in ("safety_checker", "feature_extractor") if name not in entries}
    pipeline = diffusers.DiffusionPipeline.from_pretrained(
        folder,
        local_files_only=True,
        torch_dtype=torch.float32,
        **dict.fromkeys(absent),
        **(optional if "XL" not in entries["_class_name"] else {}),
        **({"variant": variant} if variant else {}),
    )
    modules = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return [identity for module in modules for identity in towers_of(module)]


def _single_files(folder: Path) -> Iterator[Way]:
    for path in sorted(p for p in folder.rglob("*") if p.suffix in _WEIGHTS):
        name = path.relative_to(folder).as_posix()
        yield f"diffusers single file '{name}'", functools.partial(_single_file, path)


def _single_file(path: Path) -> list[Identity]:
    """Each text encoder of a checkpoint, with a configuration of its sizes instead of the real model's."""
    checkpoint = load_single_file_checkpoint(str(path), local_files_only=True)
    found = []
    for key in _CLIP_KEYS:
        if key in checkpoint and checkpoint[key].ndim == 2:
            with tempfile.TemporaryDirectory() as config:
                (Path(config) / "config.json").write_text(json.dumps(_sizes(checkpoint, key)))
                for cls in (transformers.CLIPTextModel, transformers.CLIPTextModelWithProjection):
                    found += tower_without_report(
                        create_diffusers_clip_model_from_ldm(
                            cls, checkpoint, config=config, torch_dtype=torch.float32, local_files_only=True
                        )
                    )
    return found


def _sizes(checkpoint: dict[str, Tensor], key: str) -> dict[str, Any]:
    openclip = ".model." in key
    prefix = key.rpartition("model.")[0] + "model."
    prefix += "" if openclip else "embeddings."
    tokens = checkpoint[f"{prefix}token_embedding.weight"]
    positions = checkpoint[f"{prefix}positional_embedding" if openclip else f"{prefix}position_embedding.weight"]
    block = f"{prefix}transformer.resblocks." if openclip else f"{prefix.removesuffix('embeddings.')}encoder.layers."
    layers = {name.removeprefix(block).partition(".")[0] for name in checkpoint if name.startswith(block)}
    inner = "0.mlp.c_fc.weight" if openclip else "0.mlp.fc1.weight"
    return {
        "model_type": "clip_text_model",
        "vocab_size": tokens.shape[0],
        "hidden_size": tokens.shape[1],
        "num_attention_heads": tokens.shape[1] // 64,
        "num_hidden_layers": len(layers),
        "intermediate_size": checkpoint[block + inner].shape[0],
        "max_position_embeddings": positions.shape[0],
        "projection_dim": tokens.shape[1] if key.startswith("text_encoders.clip_l") else PROJECTED,
    }


# ---------------------------------------------------------------- sentence-transformers and open_clip


def _sentence_transformers(folder: Path) -> Iterator[Way]:
    if (folder / "modules.json").is_file():
        yield "sentence-transformers", functools.partial(_sentence_transformer, folder)


def _sentence_transformer(folder: Path) -> list[Identity]:
    options = {"dtype": torch.float32}
    model = sentence_transformers.SentenceTransformer(
        str(folder), device="cpu", local_files_only=True, model_kwargs=options
    )
    return towers_of(model)


def _openclip(folder: Path, repo_id: str) -> Iterator[Way]:
    if (folder / "open_clip_config.json").is_file() and not NOT_TRIED:
        for name in (f"local-dir:{folder}", f"hf-hub:{repo_id}"):
            yield f"open_clip {name.partition(':')[0]}", functools.partial(_openclip_model, name)


def _openclip_model(name: str) -> list[Identity]:
    import open_clip  # optional, see NOT_TRIED

    return [openclip_tower_of(open_clip.create_model(name, require_pretrained=True))]
