"""Tricks: files and settings that make some loader take another tower than the one that is easy to see.

Each changes a repository that an ordinary layout began. What it hides is a tower of its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.differential.draft import CLASSES, PICKLES, Draft, inside
from tests.differential.ordinary import BASE_REPO, checkpoint, lora_files, model, model_files
from tests.differential.towers import POSITIONS, Tower

PREFIXES = (
    "clip.",
    "text.",
    "module.",
    "model.",
    "text_encoder.",
    "base_model.model.",
    "conditioner.embedders.0.transformer.",
    "cond_stage_model.transformer.",
    "text_model.",
    "clip_",
    "text_model_",
    "visual.",
    "",
)
UNLOADED_NAMES = (
    "model.fp32.safetensors",
    "notes.safetensors",
    "model.SAFETENSORS",
    "model.sft",
    "weights.safetensors",
)
OTHER_FILES = (
    *("pytorch_model.bin", "pytorch_model.fp16.bin", "model.fp16.safetensors", "model.safetensors", "model.pth"),
    *("open_clip_pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors"),
    *("clip_l.safetensors", "nested/deep/model.ckpt", "text_encoders/clip_l.sft", "adapter_model.bin"),
    *("a.safetensors", "a.bin", "pytorch_model.pth", "model.non_ema.safetensors"),
)
MODEL_TYPES = (
    "bert",
    "clip_vision_model",
    "vit",
    "clip",
    "clip_text_model",
    "siglip",
    "clipseg",
    "t5",
    "chinese_clip",
)


def folders(draft: Draft) -> list[str]:
    """The root and every folder with a `config.json`."""
    found = {p.parent.relative_to(draft.folder).as_posix() for p in draft.folder.rglob("config.json")}
    return sorted({"", *(folder for folder in found if folder != ".")})


def files(draft: Draft, pattern: str) -> list[Path]:
    """Files by a glob pattern, sorted."""
    return sorted(draft.folder.rglob(pattern))


def like(draft: Draft, folder: str) -> Tower:
    """A new tower of the sizes that a folder's configuration states, where it states some."""
    path = draft.folder / folder / "config.json"
    config = json.loads(path.read_text()) if path.is_file() else {}
    text = config.get("text_config", config)
    family = "siglip" if "siglip" in str(config.get("model_type")) else "clip"
    layers = text.get("num_hidden_layers", 1)
    return draft.tower(layers=layers if isinstance(layers, int) else 1, family=family)


def style(draft: Draft) -> str:
    """A way to name the tensors of a tower."""
    return draft.draw.choice(["text", "text", "dual", "flat", "openclip", "openclip text"])


def other_file(draft: Draft) -> None:
    """Another tower in a file of some name, beside what is there."""
    folder = draft.draw.choice(folders(draft))
    name = draft.draw.choice(OTHER_FILES)
    draft.weights(inside(folder, name), like(draft, folder).named(style(draft)))


def other_shards(draft: Draft) -> None:
    """Another tower in shards with an index, beside what is there."""
    folder, pickled = draft.draw.choice(folders(draft)), draft.draw.random() < 0.5
    variant = draft.draw.choice(["", "", "fp16"])
    draft.shards(folder, like(draft, folder).named(style(draft)), variant=variant, pickled=pickled)


def moved_aside(draft: Draft) -> None:
    """The clean weights under a name that no loader takes, another tower under one that loaders take."""
    singles = files(draft, "model.safetensors")
    if not singles:
        return other_file(draft)
    path = draft.draw.choice(singles)
    folder = path.parent.relative_to(draft.folder).as_posix().removeprefix(".")
    path.rename(path.with_name(draft.draw.choice(UNLOADED_NAMES)))
    draft.weights(inside(folder, "pytorch_model.bin"), like(draft, folder).named("text"))
    return None


def second_tower(draft: Draft) -> None:
    """A second tower in one file, or a part of one, under another prefix or in another layout."""
    from safetensors.torch import load_file

    found = files(draft, "*.safetensors")
    if not found:
        return other_file(draft)
    path = draft.draw.choice(found)
    folder = path.parent.relative_to(draft.folder).as_posix().removeprefix(".")
    tower = like(draft, folder) if draft.draw.random() < 0.7 else draft.tower(layers=1)
    prefix, named = draft.draw.choice(PREFIXES), tower.named(draft.draw.choice(["text", "flat", "openclip"]))
    if draft.draw.random() < 0.2:
        named = {name: t for name, t in named.items() if "layers." in name or "resblocks." in name or "proj" in name}
    tensors = load_file(path) | {prefix + name: t for name, t in named.items()}
    draft.weights(path.relative_to(draft.folder).as_posix(), tensors)
    return None


def renamed_tower(draft: Draft) -> None:
    """All tensors of one file under another prefix."""
    from safetensors.torch import load_file

    found = files(draft, "*.safetensors")
    if not found:
        return other_file(draft)
    path, prefix = draft.draw.choice(found), draft.draw.choice(PREFIXES)
    tensors = {prefix + name: t for name, t in load_file(path).items()}
    draft.weights(path.relative_to(draft.folder).as_posix(), tensors)
    return None


def openclip_beside(draft: Draft) -> None:
    """An OpenCLIP model in the root, beside what is there."""
    tower, custom_text = draft.tower(), draft.draw.random() < 0.5
    text = draft.draw.choice([{}, {}, {}, {"context_length": POSITIONS - 4}, {"layers": 1}])
    draft.openclip_config(tower, custom_text=custom_text, **text)
    prefix = draft.draw.choice(["", "", "module."])
    name = draft.draw.choice([n for n in OTHER_FILES if "/" not in n and not n.startswith(("adapter", "clip_l"))])
    tensors = tower.named("openclip text" if custom_text and draft.draw.random() < 0.5 else "openclip")
    draft.weights(name, {prefix + key: t for key, t in tensors.items()})


def adapter_beside(draft: Draft) -> None:
    """An adapter beside what is there, whose base is another repository or this one."""
    folder = draft.draw.choice(folders(draft))
    lora_files(draft, folder, draft.draw.choice([BASE_REPO, BASE_REPO, draft.repo_id]))
    weights = draft.folder / folder / "adapter_model.safetensors"
    how = draft.draw.choice(["plain", "plain", "no weights", "flat names"])
    if how == "no weights":
        weights.unlink()
    if how == "flat names":
        from safetensors.torch import load_file

        tensors = {name.replace("text_model.", ""): t for name, t in load_file(weights).items()}
        draft.weights(inside(folder, weights.name), tensors)


def hidden_component(draft: Draft) -> None:
    """A pipeline component of a kind that has no text tower; its folder holds one."""
    index = draft.folder / "model_index.json"
    entries = json.loads(index.read_text()) if index.is_file() else {"_class_name": "StableDiffusionPipeline"}
    name = draft.draw.choice(["vae", "unet", "text_encoder_3", "image_encoder", "safety_checker", "text_encoder"])
    declared = draft.draw.choice(
        [["diffusers", "AutoencoderKL"], ["transformers", "T5EncoderModel"], ["transformers", CLASSES[1]], None]
    )
    shutil.rmtree(draft.folder / name, ignore_errors=True)
    if draft.draw.random() < 0.8:  # else diffusers takes the root folder
        model(draft, name, draft.draw.choice(CLASSES))
    draft.json("model_index.json", entries | ({name: declared} if declared else {}))


def subfolder(draft: Draft) -> None:
    """A model in a folder that nothing declares."""
    name = draft.draw.choice(["sub", "0_CLIPModel", "text_encoder", "clip/inner", "checkpoint-500", "onnx"])
    if not (draft.folder / name).exists():
        model(draft, name, draft.draw.choice(CLASSES))


def other_modules(draft: Draft) -> None:
    """A sentence-transformers list of modules that leads elsewhere."""
    name = draft.draw.choice(["", "0_CLIPModel", "a/b", "1_Other"])
    if name and not (draft.folder / name).exists():
        tower = draft.tower()
        draft.config(name, tower, "CLIPModel")
        draft.weights(f"{name}/{draft.draw.choice(['pytorch_model.bin', 'model.safetensors'])}", tower.named("dual"))
        draft.processor(name)
    kind = draft.draw.choice(
        [
            "sentence_transformers.models.CLIPModel",
            "sentence_transformers.models.Transformer",
            "sentence_transformers.base.modules.transformer.Transformer",
        ]
    )
    draft.json("modules.json", [{"idx": 0, "name": "0", "path": name, "type": kind}])


def other_config(draft: Draft) -> None:
    """A setting of a `config.json` changed."""
    found = files(draft, "config.json")
    if not found:
        return subfolder(draft)
    path = draft.draw.choice(found)
    config = json.loads(path.read_text())
    text = config.get("text_config", config)
    changes = {
        "model_type": lambda: config.update(model_type=draft.draw.choice(MODEL_TYPES)),
        "no model_type": lambda: config.pop("model_type", None),
        "layers": lambda: text.update(num_hidden_layers=1),
        "layers text": lambda: text.update(num_hidden_layers="1"),
        "nested too": lambda: config.update(text_config={**text, "num_hidden_layers": 1}),
        "text_config_dict": lambda: config.update(text_config_dict={**text, "num_hidden_layers": 1}),
        "positions": lambda: text.update(max_position_embeddings=POSITIONS - 2),
        "no architectures": lambda: config.pop("architectures", None),
        "other architecture": lambda: config.update(architectures=["BertModel"]),
        "auto_map": lambda: config.update(auto_map={"AutoModel": "code.Model"}),
        "other weights": lambda: config.update(transformers_weights="weights.safetensors"),
    }
    what = draft.draw.choice(list(changes))
    changes[what]()
    path.write_text(json.dumps(config))
    folder = path.parent.relative_to(draft.folder).as_posix().removeprefix(".")
    if what == "other weights":
        draft.weights(inside(folder, "weights.safetensors"), like(draft, folder).named("text"))
    draft.notes.append(f"{inside(folder, 'config.json')}: {what}")
    return None


def other_checkpoint(draft: Draft) -> None:
    """A single-file checkpoint with towers of its own, as a pickle or not, somewhere."""
    name = draft.draw.choice(["v1.safetensors", "v1.ckpt", "v1.pt", "sub/v1.ckpt", "model.bin", "V1.SAFETENSORS"])
    draft.weights(name, checkpoint(draft))


def second_formats(draft: Draft) -> None:
    """The formats of one model, each with a tower of its own."""
    folder = draft.draw.choice(folders(draft))
    tower = like(draft, folder)
    model_files(draft, folder, tower, draft.draw.choice(CLASSES))
    for path in files(draft, "*"):
        if path.suffix in PICKLES and draft.draw.random() < 0.3:
            draft.weights(path.relative_to(draft.folder).as_posix(), like(draft, folder).named("text"))


TRICKS: tuple[Callable[[Draft], None], ...] = (
    other_file,
    other_file,
    other_shards,
    moved_aside,
    second_tower,
    second_tower,
    renamed_tower,
    openclip_beside,
    adapter_beside,
    hidden_component,
    subfolder,
    other_modules,
    other_config,
    other_config,
    other_checkpoint,
    second_formats,
)
