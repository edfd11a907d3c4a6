"""`python -m tests.differential.configurations --count 20000 --seed 1`: configurations as transformers reads them.

Makes random `config.json` files (flat and nested, `text_config_dict`, missing and repeated fields, other models'
types, fields that steer transformers itself), has the configuration classes of transformers read each, and holds what
they end up with against the tower that is scanned. Exits 1 where a loader gets another tower than the scan, and
nothing blocks. Configuration number n is that of seed `--seed` + n.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig

from amdet_hub.encoders.architectures import classify_config
from amdet_hub.encoders.key_layouts import TowerLayout
from amdet_hub.encoders.resolve_tower import declared_tower
from amdet_hub.encoders.weight_files import WeightSet
from amdet_hub.errors import BadRepository
from amdet_hub.records import RepoFile, TowerConfig

CLASS_PREFIX = {
    "clip": "CLIP",
    "siglip": "Siglip",
    "siglip2": "Siglip2",
    "clipseg": "CLIPSeg",
    "xclip": "XCLIP",
    "owlvit": "OwlViT",
    "owlv2": "Owlv2",
}
SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "hidden_act",
    "layer_norm_eps",
)
LEGACY_EOS = 2
READ_OLDER = ("clip", "clipseg", "xclip")
"""Models whose class of both towers makes one of a text tower's file that has `text_config_dict`."""


@dataclass(frozen=True)
class Case:
    """A configuration, and the class that a pipeline declares for it (None: there is no pipeline)."""

    data: dict[str, Any]
    declared: str | None


@dataclass(frozen=True)
class Outcome:
    """What came of a configuration: each loader's tower, the scanned one, or the reason why there is none."""

    case: Case
    loaded: Mapping[str, tuple[Any, ...]]
    scanned: tuple[Any, ...] | None
    blocked_by: str

    @property
    def differing(self) -> list[str]:
        """The loaders that get another tower than the one that is scanned."""
        if self.scanned is None:
            return []
        return [name for name, tower in self.loaded.items() if tower != self.scanned]


# ---------------------------------------------------------------- random configurations


def make_case(seed: int) -> Case:
    """A configuration; the same for the same seed."""
    rng = random.Random(seed)
    kind = rng.choices(list(CLASS_PREFIX), weights=(8, 4, 2, 2, 1, 1, 1))[0]
    composite, nested = rng.random() < 0.6, rng.random() < 0.8
    data: dict[str, Any] = {"model_type": kind if composite else f"{kind}_text_model"}
    text = random_fields(rng, kind)
    if composite == nested:
        data["text_config"] = text
    else:
        data |= text
    if rng.random() < 0.2:
        data["text_config"] = rng.choice([{}, None, random_fields(rng, kind), varied(rng, text)])
    if rng.random() < 0.3:
        data["text_config_dict"] = rng.choice([None, {}, dict(text), dict(text), varied(rng, text)])
    if composite and rng.random() < 0.5:
        data |= {"projection_dim": 512, "vision_config": {"model_type": f"{kind}_vision_model"}}
    for change, share in ((redirect, 0.06), (steer, 0.12), (other_type, 0.08), (flat_decoy, 0.1)):
        if rng.random() < share:
            change(rng, data, kind)
    prefix = CLASS_PREFIX[kind]
    named = [f"{prefix}Model", f"{prefix}TextModel", "CLIPTextModel", "SiglipTextModel", "CLIPModel"]
    if rng.random() < 0.5:
        data["architectures"] = [rng.choices(named, weights=(8, 8, 1, 1, 1))[0]]
    declared = rng.choices([None, *named, "CLIPTextModelWithProjection"], weights=(12, 1, 3, 1, 1, 1, 1))[0]
    return Case(data, declared)


def random_fields(rng: random.Random, kind: str) -> dict[str, Any]:
    """Some of the fields of a text tower's configuration, each at a usual value or at the class's own default."""
    heads = rng.choice([2, 4, 8, 12])
    choices: dict[str, list[Any]] = {
        "vocab_size": [1000, 49408, 32000, 256000],
        "hidden_size": [heads * 64, 512, 768],
        "intermediate_size": [128, 2048, 3072],
        "num_hidden_layers": [1, 2, 12],
        "num_attention_heads": [heads, 8, 12],
        "max_position_embeddings": [16, 64, 77, 248],
        "hidden_act": ["quick_gelu", "gelu", "gelu_pytorch_tanh"],
        "layer_norm_eps": [1e-5, 1e-6],
        "eos_token_id": [2, 999, 49407, 7],
        "bos_token_id": [0, 49406, None],
        "pad_token_id": [1, 0, None, -1],
        "projection_size": [None, 64, 512],
        "model_type": [f"{kind}_text_model", f"{kind}_text_model", kind, "bert"],
        "attention_dropout": [0.0, 0.1],
        "torch_dtype": ["float32", "float16"],
        "architectures": [None],
        "num_beams": [1],
    }
    share = rng.choice([0.15, 0.5, 0.9])
    return {key: rng.choice(values) for key, values in choices.items() if rng.random() < share}


def varied(rng: random.Random, text: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with one field left out, and perhaps another set."""
    copied = dict(text)
    if copied:
        copied.pop(rng.choice(list(copied)))
    if rng.random() < 0.5:
        copied["num_attention_heads"] = rng.choice([2, 4, 8])
    return copied


def redirect(rng: random.Random, data: dict[str, Any], kind: str) -> None:
    """Put a further configuration where `PreTrainedConfig.from_pretrained` looks for one of its own type."""
    inner = {"model_type": rng.choice([kind, f"{kind}_text_model"]), **random_fields(rng, kind)}
    place = data.get("text_config") if rng.random() < 0.5 else data
    (place if isinstance(place, dict) else data)["further"] = inner


def steer(rng: random.Random, data: dict[str, Any], kind: str) -> None:
    """Set a field that changes how transformers itself works."""
    field: dict[str, Any] = rng.choice(
        [
            {"is_causal": False},
            {"is_causal": None},
            {"is_causal": True},
            {"attribute_map": {"num_attention_heads": "n_heads"}, "n_heads": 4},
            {"attribute_map": {}},
            {"per_layer_config": {"0": {"hidden_act": "gelu"}}},
            {"attn_implementation": "org/kernel"},
            {"_attn_implementation": "org/kernel"},
            {"attn_implementation": "eager"},
            {"fusion_config": {"patch_embeddings": True}},
            {"is_decoder": True},
            {"tie_word_embeddings": False},
        ]
    )
    place = data.get("text_config") if rng.random() < 0.5 else data
    (place if isinstance(place, dict) else data).update(field)


def other_type(rng: random.Random, data: dict[str, Any], kind: str) -> None:
    """Say another model's type, or none."""
    types = ["clip", "clip_text_model", "siglip", "siglip_text_model", "xclip", "owlvit_text_model", "bert", None]
    data["model_type"] = rng.choice(types)
    if data["model_type"] is None:
        del data["model_type"]


def flat_decoy(rng: random.Random, data: dict[str, Any], kind: str) -> None:
    """Put fields of a text tower at the top, whatever lies nested."""
    data |= varied(rng, {"num_attention_heads": rng.choice([2, 4, 8]), "hidden_act": "gelu"})


# ---------------------------------------------------------------- the two readings


def as_transformers_reads(case: Case, folder: Path) -> dict[str, tuple[Any, ...]]:
    """The tower that each class of transformers gets which a user of this configuration may name."""
    (folder / "config.json").write_text(json.dumps(case.data))
    listed = case.data.get("architectures") or []
    kinds = {str(case.data.get("model_type", "")).removesuffix("_text_model")} & set(CLASS_PREFIX)
    pipeline_only = case.declared is not None  # diffusers takes the class that is declared, whatever the file says
    classes = {case.declared} if case.declared else set(listed)
    loaded: dict[str, tuple[Any, ...]] = {}

    def attempt(name: str, config_class: Any) -> None:
        try:
            config = config_class.from_pretrained(folder)
            text = getattr(config, "text_config", config)
            kind = type(text).model_type.removesuffix("_text_model")  # a file may state another
            if kind in CLASS_PREFIX:
                loaded[name] = computed(text, kind)
        except Exception:  # noqa: BLE001  # whatever a library raises on a bad file, it does not load it
            return

    for kind in kinds:
        classes.add(f"{CLASS_PREFIX[kind]}TextModel")
        older = case.data.get("text_config_dict") is not None and kind in READ_OLDER
        if (case.data["model_type"] == kind or older) and not pipeline_only:
            classes.add(f"{CLASS_PREFIX[kind]}Model")
    for name in sorted(classes):
        attempt(name, getattr(transformers, config_name(name)))
    if not pipeline_only:
        attempt("AutoModel", AutoConfig)
    return loaded


def config_name(class_name: str) -> str:
    """The configuration class of a model class."""
    return class_name.replace("TextModelWithProjection", "TextConfig").replace("Model", "Config")


def computed(config: Any, kind: str) -> tuple[Any, ...]:
    """All of a configuration that changes what a text tower computes, read as its modules read it."""
    siglip = kind in ("siglip", "siglip2")
    end = config.vocab_size - 1 if kind in ("xclip", "owlvit", "owlv2") else config.eos_token_id
    pooled = "last" if siglip else config.vocab_size - 1 if end == LEGACY_EOS else end
    steering = (
        siglip or bool(getattr(config, "is_causal", True)),
        bool(config.is_heterogeneous),
        "/" in str(config._attn_implementation),
        getattr(config, "fusion_config", None) is not None,
    )
    sizes = tuple(getattr(config, name) for name in SIZES)
    return (siglip, *sizes, config.projection_size if siglip else None, pooled, *steering)


def as_it_is_scanned(case: Case) -> tuple[tuple[Any, ...] | None, str]:
    """The tower that a scan makes of a configuration, or None and why there is none."""
    label, reason, why = classify_config(case.data, case.declared)
    if reason is not None:
        return None, f"{reason}: {why}"
    try:
        config = declared_tower(case.data, label, NO_WEIGHTS, TowerLayout("transformers", "text_model."))
    except BadRepository as error:
        return None, f"unreadable: {error}"
    return scanned(config), ""


NO_WEIGHTS = WeightSet("", (RepoFile("model.safetensors", 0, None),), {}, {})


def scanned(config: TowerConfig) -> tuple[Any, ...]:
    """The same of the tower that is scanned, in the order of `computed`."""
    siglip = config.family == "siglip"
    end = config.vocab_size - 1 if config.eos_token_id == LEGACY_EOS else config.eos_token_id
    sizes = tuple(getattr(config, name) for name in SIZES)
    pooled = "last" if siglip else end
    return (siglip, *sizes, config.projection_dim if siglip else None, pooled, True, False, False, False)


def compare(seed: int, folder: Path) -> Outcome:
    """Read one configuration twice."""
    case = make_case(seed)
    loaded = as_transformers_reads(case, folder)
    tower, blocked_by = as_it_is_scanned(case)
    return Outcome(case, loaded, tower, blocked_by)


def run(count: int, seed: int, say: Callable[[str], object]) -> Counter[str]:
    """Compare `count` configurations, say which differ, and count."""
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(seed, seed + count):
            outcome = compare(number, Path(folder))
            counts["configurations"] += 1
            counts["scanned" if outcome.scanned else "not scanned"] += 1
            counts["loaded by something"] += bool(outcome.loaded)
            counts["not scanned, loads alike"] += not outcome.scanned and len(set(outcome.loaded.values())) == 1
            counts["differ"] += bool(outcome.differing)
            if outcome.differing:
                say(f"seed {number}: {outcome.differing} {json.dumps(outcome.case.data)} {outcome.case.declared}")
    return counts


def main() -> int:
    """Run the comparison and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential.configurations", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="that of the first")
    arguments = parser.parse_args()
    counts = run(arguments.count, arguments.seed, lambda text: sys.stdout.write(f"{text}\n"))
    sys.stdout.write("\n".join(f"{name}: {counts[name]}" for name in sorted(counts)) + "\n")
    return 1 if counts["differ"] else 0


if __name__ == "__main__":
    sys.exit(main())
