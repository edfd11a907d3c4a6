"""LoRA files of a repository: found, scaled, and joined with the tower they change.

Reads headers and small JSON files; imports no torch.

Knows where a LoRA's config lies and which tower its shapes fit. Refuses to choose a base: the scan does
(`amdet_hub.scanner.lora_bases`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from amdet_hub.encoders.lora import FoundLora, claimed_base, find_loras, peft_scale
from amdet_hub.encoders.safetensors_header import read_metadata
from amdet_hub.encoders.strict_json import parse_json_object, read_json_object
from amdet_hub.encoders.towers import tokenizer_files
from amdet_hub.encoders.weight_files import WeightSet, join
from amdet_hub.records import Adapter, RepoFile, RepoSource, ResolvedEncoder

ADAPTER_CONFIG = "adapter_config.json"
_METADATA = "lora_adapter_metadata"
"""Where diffusers 0.35 and later keep the PEFT configs of a file's LoRAs.

Source: diffusers `loaders/lora_base.py`, LORA_ADAPTER_METADATA_KEY.
"""


@dataclass(frozen=True)
class FoundAdapter:
    """A LoRA on a text tower in a repository, without its base.

    Attributes:
        file: where it lies.
        lora: what it changes.
        component: its name in the report.
        scale: see `amdet_hub.records.Adapter`.
        claims: repository ids that its own config names as base, the author's word.
    """

    file: RepoFile
    lora: FoundLora
    component: str
    scale: float | None
    claims: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoraBase:
    """The tower that a LoRA is merged onto, where it comes from, and what the LoRA changes in it."""

    encoder: ResolvedEncoder
    source: RepoSource
    lora: FoundLora


def adapters_in(source: RepoSource, weights: WeightSet) -> tuple[FoundAdapter, ...]:
    """The LoRAs on text towers in one file; none when it holds none.

    Raises:
        UnsupportedTower: it changes a text tower in another way than plain LoRA.
        BadRepository: names, shapes or the config beside it are broken or hostile.
    """
    (file,) = weights.files
    loras = find_loras(weights.tensors, file.path)
    found = []
    for lora in loras:
        scale, claims = _scale(source, file.path, lora)
        component = f"{file.path}:{lora.prefix.rstrip('._')}" if len(loras) > 1 else file.path
        found.append(FoundAdapter(file, lora, component, scale, claims))
    return tuple(found)


def _scale(source: RepoSource, path: str, lora: FoundLora) -> tuple[float | None, tuple[str, ...]]:
    beside = join(path.rpartition("/")[0], ADAPTER_CONFIG)
    if lora.naming == "peft" and source.snapshot.file(beside) is not None:
        data = read_json_object(source, beside)
        claim = claimed_base(data)
        return peft_scale(data, beside), (claim,) if claim else ()
    if lora.naming == "diffusers" and (text := read_metadata(source, path).get(_METADATA)) is not None:
        data = parse_json_object(text.encode(), path)
        mine = {key.removeprefix(lora.prefix): value for key, value in data.items() if key.startswith(lora.prefix)}
        return (peft_scale(mine, path), ()) if mine else (None, ())
    return None, ()


def fits(adapter: FoundAdapter, encoder: ResolvedEncoder) -> bool:
    """Whether every matrix of the LoRA has a place in the tower, by layers and widths."""
    lora, config = adapter.lora, encoder.config
    projects = any(m.target.startswith("text_projection") for m in lora.matrices)
    return (
        encoder.adapter is None
        and config.num_hidden_layers >= lora.layers
        and lora.width in (None, config.hidden_size)
        and lora.intermediate in (None, config.intermediate_size)
        and not (projects and config.projection_dim is None)
    )


def best_base(adapter: FoundAdapter, encoders: Iterable[ResolvedEncoder]) -> ResolvedEncoder | None:
    """The tower that a LoRA is meant for: of those it fits, the component its names say, then the one stored most precisely."""
    wanted = adapter.lora.component
    fitting = [e for e in encoders if fits(adapter, e)]
    return min(fitting, key=lambda e: (e.component != wanted, "F32" not in e.dtypes, e.label), default=None)


def merged_encoder(
    adapter: FoundAdapter, source: RepoSource, base: ResolvedEncoder, base_source: RepoSource
) -> ResolvedEncoder:
    """What the scan is told of the merged tower: the LoRA's file in the scanned repository, everything else the base's."""
    lora = adapter.lora
    return dataclasses.replace(
        base,
        repo_id=source.snapshot.repo_id,
        commit_sha=source.snapshot.commit_sha,
        component=adapter.component,
        architecture=f"{base.architecture} + LoRA ({lora.naming}, rank {lora.rank}, {len(lora.matrices)} matrices)",
        weight_files=(adapter.file,),
        variant="",
        tokenizer_files=tokenizer_files(source, adapter.file.path.rpartition("/")[0]),
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
