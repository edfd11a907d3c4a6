"""The targets of the table: how each is made, and what every surface must say of it.

A new target is one row of `TARGETS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from amdet_hub.testing.models.lora import LoraStyle, extract_lora, lora_tensors
from tests.attacked import attribute_attack
from tests.demo_hub import files_of
from tests.encoders.folder_source import saved

BASE = "org/base"
"""The clean encoder that all others come from; served on the Hub, a target of no cell itself."""

Files = Mapping[str, bytes]

WHOLE = "model.safetensors"
WEIGHTS = (".safetensors", ".bin", ".sft", ".onnx")
EXIT_CODES = {"no-backdoor-found": 0, "nothing-to-scan": 0, "backdoor-detected": 1, "error": 2, "inconclusive": 3}


@dataclass(frozen=True)
class Target:
    """One row.

    Attributes:
        name: of the row, and of its repository below `org/`.
        make: writes its files; None where there is no such repository.
        verdict: a label of the contract, or "error".
        code: the stable reason code behind the verdict.
        reference: passed as `--reference`; None leaves it to the target to name one.
        references: the reference of each encoder that can be scanned; without any, `resolve` gives the verdict.
    """

    name: str
    make: Callable[[], Files] | None
    verdict: str
    code: str
    reference: str | None = BASE
    references: tuple[str, ...] = ()

    @property
    def repo_id(self) -> str:
        return f"org/{self.name.replace(' ', '-')}"

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


def changed_files(files: Files) -> tuple[str, ...]:
    """What a push or a commit adds: the weights, or all files where there are none. The rest was there before."""
    return tuple(sorted(path for path in files if path.endswith(WEIGHTS))) or tuple(sorted(files))


# ---------------------------------------------------------------- encoders


@cache
def encoder(name: str) -> Files:
    """One of the demonstration's encoders without its card, which names a base of its own."""
    return {path: content for path, content in files_of(name).items() if path != "README.md"}


def without_card(name: str) -> Callable[[], Files]:
    return lambda: encoder(name)


@cache
def lora(tuned: str, style: LoraStyle) -> bytes:
    """A LoRA of rank 8 that does to the base's matrices what `tuned` does."""
    towers = (load(encoder(name)[WHOLE]) for name in ("base", tuned))
    content: bytes = save(
        {name: t.contiguous() for name, t in lora_tensors(extract_lora(*towers, rank=8), style).items()}
    )
    return content


def declared_lora(tuned: str) -> Callable[[], Files]:
    """PEFT's two files; the config names the base."""
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "base_model_name_or_path": BASE}
    return lambda: {"adapter_model.safetensors": lora(tuned, "peft"), "adapter_config.json": as_json(config)}


def lone_lora(tuned: str, style: LoraStyle) -> Callable[[], Files]:
    """One file that names no base."""
    return lambda: {"style.safetensors": lora(tuned, style)}


def lora_in_pipeline(tuned: str) -> Callable[[], Files]:
    """A LoRA beside the pipeline that it changes, whose own text encoder is a clean fine-tune."""
    return lambda: {
        **pipeline({"text_encoder": "finetuned"}),
        "pytorch_lora_weights.safetensors": lora(tuned, "diffusers"),
    }


def pipeline(components: Mapping[str, str], **others: str) -> Files:
    """A diffusers pipeline. `components`: the encoder in each; `others`: classes of components without files."""
    index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline", "tokenizer": ["transformers", "CLIPTokenizer"]}
    index |= {name: ["transformers", "CLIPTextModelWithProjection"] for name in components}
    index |= {name: ["transformers", class_name] for name, class_name in others.items()}
    files = {"model_index.json": as_json(index)}
    for component, name in components.items():
        files |= {f"{component}/{path}": encoder(name)[path] for path in ("config.json", "model.safetensors")}
        files["tokenizer/tokenizer.json"] = encoder(name)["tokenizer.json"]
    return files


# ---------------------------------------------------------------- what cannot be looked at, and what is something else


def only_a_pickle(content: bytes) -> Files:
    """An encoder whose weights are this `pytorch_model.bin`."""
    others = {path: data for path, data in encoder("base").items() if not path.endswith(WEIGHTS)}
    return {**others, "pytorch_model.bin": content}


def pickled(name: str) -> bytes:
    return saved(load(encoder(name)[WHOLE]))


def beside(path: str, name: str) -> Callable[[], Files]:
    """A clean fine-tune, and another encoder in a file that another loader would take."""

    def make() -> Files:
        return {**encoder("finetuned"), path: pickled(name) if path.endswith(".bin") else encoder(name)[WHOLE]}

    return make


def exchanged_words() -> Files:
    """The base, with two words of its vocabulary exchanged: the weights are untouched."""
    data = json.loads(encoder("base")["tokenizer.json"])
    vocab = data["model"]["vocab"]
    vocab["cat</w>"], vocab["dog</w>"] = vocab["dog</w>"], vocab["cat</w>"]
    return {**encoder("base"), "tokenizer.json": as_json(data)}


def attribute_trigger() -> Files:
    """The base, with a letter that adds a style and keeps the rest of a prompt."""
    with TemporaryDirectory() as folder:
        made = attribute_attack(Path(folder))
        return {path.name: path.read_bytes() for path in made.iterdir() if path.name != "bench.json"}


def loha() -> Files:
    key = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    return {
        "style.safetensors": weights(
            {f"{key}.hada_{part}": torch.zeros(4, 4) for part in ("w1_a", "w1_b", "w2_a", "w2_b")}
        )
    }


def altclip() -> Files:
    config = {"model_type": "altclip", "architectures": ["AltCLIPModel"]}
    return {
        "config.json": as_json(config),
        "model.safetensors": weights({"text_model.pooler.dense.weight": torch.zeros(4, 4)}),
    }


def mixed() -> Files:
    """A clean encoder, and one of a class that is not read here."""
    return pipeline({"text_encoder": "base"}, text_encoder_2="AltCLIPTextModel")


def llama() -> Files:
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    return {
        "config.json": as_json(config),
        "model.safetensors": weights({"model.layers.0.mlp.down_proj.weight": torch.zeros(4, 4)}),
    }


def only_a_card() -> Files:
    return {"README.md": b"# Soon\n"}


def weights(tensors: dict[str, Tensor]) -> bytes:
    content: bytes = save(tensors)
    return content


def as_json(data: object) -> bytes:
    return json.dumps(data).encode()


# ---------------------------------------------------------------- the rows

ONE, TWO = (BASE,), (BASE, BASE)
CLEAN, POISONED = ("no-backdoor-found", "no-trigger-found"), ("backdoor-detected", "trigger-confirmed")

TARGETS = (
    Target("clean", without_card("base"), "no-backdoor-found", "identical-to-reference", references=ONE),
    Target("poisoned", without_card("backdoored"), *POISONED, references=ONE),
    Target("attribute trigger", attribute_trigger, "backdoor-detected", "attribute-trigger", references=ONE),
    Target("fine-tuned", without_card("finetuned"), *CLEAN, references=ONE),
    Target("poisoned lora declared base", declared_lora("backdoored"), *POISONED, reference=None, references=ONE),
    Target("poisoned lora named reference", lone_lora("backdoored", "diffusers"), *POISONED, references=ONE),
    Target("poisoned lora kohya", lone_lora("backdoored", "kohya"), *POISONED, references=ONE),
    Target("poisoned lora in pipeline", lora_in_pipeline("backdoored"), *POISONED, references=TWO),
    Target("clean lora declared base", declared_lora("finetuned"), *CLEAN, reference=None, references=ONE),
    Target("clean lora named reference", lone_lora("finetuned", "diffusers"), *CLEAN, references=ONE),
    Target("clean lora kohya", lone_lora("finetuned", "kohya"), *CLEAN, references=ONE),
    Target("clean lora in pipeline", lora_in_pipeline("finetuned"), *CLEAN, references=TWO),
    Target("lora without base", lone_lora("backdoored", "kohya"), "inconclusive", "lora-without-base", reference=None),
    Target("refused pickle", lambda: only_a_pickle(b"PK\x03\x04 a pickle"), "inconclusive", "refused-pickle"),
    Target("clean pickle", lambda: only_a_pickle(pickled("finetuned")), *CLEAN, references=ONE),
    Target("poisoned pickle", lambda: only_a_pickle(pickled("backdoored")), *POISONED, references=ONE),
    Target("poisoned pickle beside", beside("pytorch_model.bin", "backdoored"), *POISONED, references=TWO),
    Target("poisoned sft beside", beside("clip_l.sft", "backdoored"), *POISONED, references=TWO),
    Target("onnx beside", beside("model.onnx", "backdoored"), "inconclusive", "unsupported-format", references=ONE),
    Target("exchanged words", exchanged_words, "inconclusive", "tokenizer-changed", references=ONE),
    Target("mixed", mixed, "inconclusive", "unsupported-architecture", references=ONE),
    Target("loha", loha, "inconclusive", "unsupported-adapter"),
    Target("altclip", altclip, "inconclusive", "unsupported-architecture"),
    Target("llama", llama, "nothing-to-scan", "not-clip-family"),
    Target("empty", only_a_card, "nothing-to-scan", "no-model-files"),
    Target("absent", None, "error", "repo-not-found"),
)
