"""LoRA files of a repository: found, scaled, and joined with the tower they change.

Reads headers, `adapter_config.json` and its like; imports no torch.

Knows where a LoRA's config lies and which tower its shapes fit. Refuses to choose a base: the scan does
(`amdet_hub.scanner.lora_bases`).
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from amdet_hub.encoders.lora import MAX_ALPHA, MAX_RANK, Lora, find_loras
from amdet_hub.encoders.openclip import UnsupportedTower
from amdet_hub.encoders.safetensors_header import read_metadata
from amdet_hub.encoders.strict_json import parse_json_object, read_json_object, real_number, whole_number
from amdet_hub.encoders.tokenizer_files import tokenizer_files
from amdet_hub.encoders.weight_files import WeightSet, folder_of, join
from amdet_hub.records import Adapter, RepoFile, RepoSource, ResolvedEncoder

ADAPTER_CONFIG = "adapter_config.json"
# Where diffusers 0.35 and later keep the PEFT configs of a file's LoRAs. Source: diffusers `loaders/lora_base.py`,
# LORA_ADAPTER_METADATA_KEY.
_METADATA = "lora_adapter_metadata"


@dataclass(frozen=True)
class LoraFile:
    """A LoRA on a text tower in a repository, without its base.

    Attributes:
        file: where it lies.
        lora: what it changes.
        component: its name in the report.
        scale: see `amdet_hub.records.Adapter`.
        claims: repository ids that its own config names as base; its author controls them.
    """

    file: RepoFile
    lora: Lora
    component: str
    scale: float | None
    claims: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoraBase:
    """The tower that a LoRA is merged onto, its repository, and the LoRA."""

    encoder: ResolvedEncoder
    source: RepoSource
    lora: Lora


def find_lora_files(source: RepoSource, weights: WeightSet) -> tuple[LoraFile, ...]:
    """The LoRAs on text towers in one file; none when it holds none.

    Raises:
        UnsupportedTower: it changes a text tower in another way than plain LoRA.
        BadRepository: names, shapes or the config beside it are broken or hostile.
    """
    (file,) = weights.files
    loras = find_loras(weights.tensors, file.path)
    return tuple(
        LoraFile(
            file,
            lora,
            f"{file.path}:{lora.prefix.rstrip('._')}" if len(loras) > 1 else file.path,
            *_scale(source, file.path, lora),
        )
        for lora in loras
    )


def _scale(source: RepoSource, path: str, lora: Lora) -> tuple[float | None, tuple[str, ...]]:
    """The scale and the claimed bases of a LoRA's config, where it has one."""
    beside = join(folder_of(path), ADAPTER_CONFIG)
    if lora.naming == "peft" and source.snapshot.file(beside) is not None:
        data = read_json_object(source, beside)
        claim = claimed_base(data)
        return peft_scale(data, beside), (claim,) if claim else ()
    text = read_metadata(source, path).get(_METADATA, "{}") if lora.naming == "diffusers" else "{}"
    data = parse_json_object(text.encode(), path)
    own = {key.removeprefix(lora.prefix): value for key, value in data.items() if key.startswith(lora.prefix)}
    return peft_scale(own, path) if own else None, ()


# Switches of PEFT's LoRA config that must be off (or left out) for the plain product to be what PEFT computes.
_PLAIN_LORA = {"use_dora": False, "lora_bias": False, "bias": "none", "fan_in_fan_out": False, "use_qalora": False}
_EMPTY_LORA = (
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "corda_config",
)


def peft_scale(data: Mapping[str, Any], path: str) -> float:
    """PEFT's factor of every product, by an `adapter_config.json`: `lora_alpha / r`; with rsLoRA, `/ sqrt(r)`.

    Raises:
        UnsupportedTower: the adapter is not plain LoRA.
        BadRepository: a value has the wrong type or is out of range.
    """
    kind = data.get("peft_type", "LORA")
    other = [
        *([f"a PEFT adapter of type {str(kind)[:40]!r}"] if kind != "LORA" else []),
        *(
            f"LoRA with {key} {str(data[key])[:40]!r}"
            for key, plain in _PLAIN_LORA.items()
            if data.get(key, plain) not in (None, plain)
        ),
        *(f"LoRA with {key}" for key in _EMPTY_LORA if data.get(key)),
    ]
    if other:
        raise UnsupportedTower(f"{other[0]} on a text encoder ({path}), which is not merged here; only plain LoRA is")
    rank = whole_number(data.get("r", 8), "r", 1, MAX_RANK, path)
    alpha = real_number(data.get("lora_alpha", 8), "lora_alpha", -MAX_ALPHA, MAX_ALPHA, path)
    return alpha / (math.sqrt(rank) if data.get("use_rslora") else rank)


def claimed_base(data: Mapping[str, Any]) -> str | None:
    """The base model that an `adapter_config.json` names: a repository id, or None.

    A local path of its author's machine is none.
    """
    base = data.get("base_model_name_or_path")
    plain = isinstance(base, str) and re.fullmatch(r"[\w.-]{1,96}(?:/[\w.-]{1,96})?", base) and ".." not in base
    return str(base) if plain else None


def fits(adapter: LoraFile, encoder: ResolvedEncoder) -> bool:
    """Whether every matrix of the LoRA has a place in the tower, by layers and widths."""
    lora, config = adapter.lora, encoder.config
    return (
        encoder.adapter is None
        and config.num_hidden_layers >= lora.layers
        and lora.width in (None, config.hidden_size)
        and lora.intermediate in (None, config.intermediate_size)
        and not (config.projection_dim is None and any("text_projection" in m.target for m in lora.matrices))
    )


def best_base(adapter: LoraFile, encoders: Iterable[ResolvedEncoder]) -> ResolvedEncoder | None:
    """The tower that a LoRA is meant for, of those it fits: first by component, then by precision."""
    return min(
        (e for e in encoders if fits(adapter, e)),
        key=lambda e: (e.component != adapter.lora.component, "F32" not in e.dtypes, e.label),
        default=None,
    )


def merged_encoder(
    adapter: LoraFile, source: RepoSource, base: ResolvedEncoder, base_source: RepoSource
) -> ResolvedEncoder:
    """The merged tower as the scan sees it: the LoRA's file in the scanned repository, everything else the base's."""
    lora = adapter.lora
    return dataclasses.replace(
        base,
        repo_id=source.snapshot.repo_id,
        commit_sha=source.snapshot.commit_sha,
        component=adapter.component,
        architecture=f"{base.architecture} + LoRA ({lora.naming}, rank {lora.rank}, {len(lora.matrices)} matrices)",
        weight_files=(adapter.file,),
        variant="",
        tokenizer_files=tokenizer_files(source, folder_of(adapter.file.path)),
        adapter=Adapter(
            naming=lora.naming,
            prefix=lora.prefix,
            rank=lora.rank,
            n_matrices=len(lora.matrices),
            scale=adapter.scale,
            base_repo_id=base.repo_id,
            base_commit_sha=base_source.snapshot.commit_sha,
            base_component=base.component,
        ),
    )
