"""A repository in the making: random choices from one seed, towers of its own, files in every format.

`Draft.notes` says in words what was put where: a mismatch prints it.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from amdet_hub.testing.models.tokenizers import clip_tokenizer, write_tokenizer_json
from tests.differential.towers import (
    OPENCLIP_VISION,
    POSITIONS,
    PROJECTED,
    VISION,
    VOCABULARY,
    WIDTH,
    Tower,
    random_tower,
)

CLASSES = ("CLIPTextModel", "CLIPTextModelWithProjection", "CLIPModel")
STYLES = {"CLIPModel": "dual", "SiglipTextModel": "text"}
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
PREPROCESSOR = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 8}, "crop_size": 8}


class Draft:
    """One random repository in `folder`; `draw` makes every choice, `repo_id` is what it is published as."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.draw = random.Random(seed)
        self.notes: list[str] = []
        self.repo_id = f"org/r{seed}"
        self._seed = seed
        self._towers = 0

    def tower(self, *, projection: bool = True, family: str = "clip", layers: int = 0, width: int = WIDTH) -> Tower:
        """A tower that is nowhere else."""
        self._towers += 1
        dtype = self.draw.choices(["float32", "float16", "bfloat16"], [4, 1, 1])[0]
        seed = 1_000 * self._seed + self._towers
        size = layers or self.draw.choice([1, 2])
        return random_tower(seed, layers=size, width=width, projection=projection, family=family, dtype=dtype)

    def json(self, path: str, data: object) -> None:
        """Write a JSON file."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(data))

    def weights(self, path: str, tensors: Mapping[str, Tensor]) -> None:
        """Write a weight file: a pickle where its name says so, else safetensors."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix in PICKLES:
            tensors = dict(
                self.draw.sample(list(tensors.items()), len(tensors))
            )  # the order in which loaders see them
            wrapped = target.suffix in (".ckpt", ".pt") or (self._seed % 2 == 1 and self.draw.random() < 0.1)
            torch.save({"state_dict": dict(tensors)} if wrapped else dict(tensors), target)
        else:
            save_file({name: t.contiguous() for name, t in tensors.items()}, target, metadata={"format": "pt"})
        self.notes.append(f"{path}: {len(tensors)} tensors, {min(tensors)} ...")

    def shards(self, folder: str, tensors: Mapping[str, Tensor], *, variant: str = "", pickled: bool = False) -> None:
        """Write two shards and their index."""
        stem, suffix = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
        names, middle = sorted(tensors), f".{variant}" if variant else ""
        weight_map: dict[str, str] = {}
        for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), start=1):
            file = f"{stem}{middle}-{number:05d}-of-00002.{suffix}"
            self.weights(inside(folder, file), {name: tensors[name] for name in part})
            weight_map |= dict.fromkeys(part, file)
        index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
        self.json(inside(folder, f"{stem}.{suffix}.index{middle}.json"), index)

    def config(self, folder: str, tower: Tower, architecture: str) -> None:
        """Write the `config.json` of a transformers model."""
        text = tower.config()
        config = {"architectures": [architecture], **text}
        if architecture in ("CLIPModel", "SiglipModel"):
            vision = {"model_type": f"{tower.family}_vision_model", **VISION}
            config = {"architectures": [architecture], "model_type": tower.family, "projection_dim": PROJECTED}
            config |= {"text_config": text, "vision_config": vision, "torch_dtype": tower.dtype}
        self.json(inside(folder, "config.json"), config)

    def processor(self, folder: str) -> None:
        """Write what a CLIPProcessor is made of."""
        write_tokenizer_json(tokenizer(), self.folder / folder)
        self.json(inside(folder, "tokenizer_config.json"), {"tokenizer_class": "CLIPTokenizer"})
        self.json(inside(folder, "preprocessor_config.json"), PREPROCESSOR)

    def openclip_config(self, tower: Tower, *, custom_text: bool, **text: Any) -> None:
        """Write the `open_clip_config.json` of a tower."""
        sizes = {"context_length": POSITIONS, "vocab_size": VOCABULARY, "width": tower.width, "heads": 1}
        model = {"embed_dim": PROJECTED, "vision_cfg": OPENCLIP_VISION, "custom_text": custom_text}
        text_cfg = {**sizes, "layers": tower.layers, "mlp_ratio": 1.0, **text}
        self.json("open_clip_config.json", {"model_cfg": model | {"text_cfg": text_cfg}, "preprocess_cfg": {}})


@functools.cache
def tokenizer() -> Any:
    """CLIP's tokenizer with a tiny vocabulary."""
    return clip_tokenizer(VOCABULARY)


def inside(folder: str, name: str) -> str:
    """The path of a file in a folder, "" for the root."""
    return f"{folder}/{name}" if folder else name
