"""From a set of weights to the text towers in it: the config of each, and the encoder that the scan is given.

Knows where configs lie beside weights, and how Stable Diffusion reads what it stores. Refuses to know kinds of
repositories (see `amdet_hub.encoders.discovery`). Reads small JSON files and headers; imports no torch.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from amdet_hub.encoders.architectures import TYPE_OF_CLASS, classify_config
from amdet_hub.encoders.file_identity import brings_no_tokenizer
from amdet_hub.encoders.key_layouts import MAX_TOWERS, TowerLayout, find_towers, wanted_names
from amdet_hub.encoders.openclip import OPENCLIP_CONFIG, UnsupportedTower, openclip_tower
from amdet_hub.encoders.strict_json import read_json_object, require
from amdet_hub.encoders.tokenizer_files import tokenizer_files
from amdet_hub.encoders.tower_config import (
    FAMILY_OF_MODEL_TYPE,
    inferred_config,
    projection_size,
    same_if_pooled_alike,
    tower_config,
)
from amdet_hub.encoders.weight_files import WeightSet, check_tower, folder_of, join
from amdet_hub.records import RepoSource, ResolvedEncoder, SkippedScan, TowerConfig

# Prefixes of the towers of a single-file checkpoint: a config beside such a file describes something else.
CONTAINERS = ("cond_stage_model.", "conditioner.embedders.", "text_encoders.")
# Where Stable Diffusion 2 stores OpenCLIP's whole tower. It reads the layer before the last, through the final norm;
# diffusers keeps no more than that. Source: `FrozenOpenCLIPEmbedder(layer="penultimate")` of
# Stability-AI/stablediffusion; diffusers 0.42 `convert_open_clip_checkpoint`.
SD2_PREFIX = "cond_stage_model.model."


def towers_in(weights: WeightSet) -> tuple[TowerLayout, ...]:
    """Every text tower in a set of weights, the usual places first.

    Raises:
        BadRepository: there are more than any real file holds.
    """
    towers = find_towers(weights.tensors)
    require(
        len(towers) <= MAX_TOWERS,
        weights.path,
        f"it holds {len(towers)} text towers, more than the {MAX_TOWERS} that are looked at",
    )
    return towers


def declared_tower(data: Mapping[str, Any], label: str, weights: WeightSet, layout: TowerLayout) -> TowerConfig:
    """The tower that the transformers `config.json` beside its weights describes. Raises: BadRepository."""
    path = join(folder_of(weights.path), "config.json")
    data = {"model_type": TYPE_OF_CLASS[label], **data}
    model_type = str(data["model_type"])
    require(model_type in FAMILY_OF_MODEL_TYPE, path, "its 'model_type' is not the name of one")
    return tower_config(
        data, path, FAMILY_OF_MODEL_TYPE[model_type], projection_dim=projection_size(weights.tensors, layout)
    )


def undeclared_tower(source: RepoSource, weights: WeightSet, layout: TowerLayout) -> tuple[TowerConfig, str]:
    """The config of a tower in a file of its own, from the config beside it, else from its tensors; and its name.

    Raises:
        UnsupportedTower: the config beside it asks for something that is not supported.
        BadRepository: a config, or the tensors, are broken.
    """
    contained, openclip = layout.prefix.startswith(CONTAINERS), layout.key_layout != "transformers"
    beside = join(folder_of(weights.path), OPENCLIP_CONFIG)
    if openclip and not contained and source.snapshot.file(beside) is not None:
        config = openclip_tower(read_json_object(source, beside), beside, weights.tensors, layout)
        return config, _openclip_name(config)
    beside = join(folder_of(weights.path), "config.json")
    if not contained and source.snapshot.file(beside) is not None:
        data = read_json_object(source, beside)
        label, reason, why = classify_config(data, None)
        if reason is None:
            return declared_tower(data, label, weights, layout), label
        if reason == "unsupported-architecture":
            raise UnsupportedTower(why)
    config = inferred_config(weights.tensors, layout, weights.path)
    clip_name = "CLIPTextModelWithProjection" if config.projection_dim else "CLIPTextModel"
    name = "SiglipTextModel" if config.family == "siglip" else clip_name
    assumed = f"no config.json, {config.num_attention_heads} heads and {config.hidden_act} assumed"
    return config, f"{_openclip_name(config) if openclip else name} ({assumed})"


def _openclip_name(config: TowerConfig) -> str:
    return f"OpenCLIP {'SigLIP' if config.family == 'siglip' else 'CLIP'} text tower"


def resolve_tower(
    source: RepoSource, weights: WeightSet, layout: TowerLayout, config: TowerConfig, *, component: str, label: str
) -> ResolvedEncoder:
    """The encoder that a tower in a set of weights is, checked tensor by tensor against its config.

    Raises:
        BadWeights: the tensors are not exactly that tower.
        BadRepository: a SigLIP tower lies where loaders read CLIP's.
    """
    check_tower(config, layout, weights)
    misplaced = config.family == "siglip" and layout.prefix.startswith(CONTAINERS)
    require(not misplaced, weights.path, "it holds a SigLIP tower where loaders read a CLIP tower")
    if layout == TowerLayout("openclip", SD2_PREFIX) and config.num_hidden_layers > 1:
        stored = config.num_hidden_layers
        config = dataclasses.replace(config, num_hidden_layers=stored - 1, projection_dim=None)
        label = f"{label}, without its last layer of {stored}, which Stable Diffusion 2 does not read"
    resolved = ResolvedEncoder(
        repo_id=source.snapshot.repo_id,
        commit_sha=source.snapshot.commit_sha,
        component=component,
        architecture=label,
        config=config,
        weight_files=weights.files,
        variant=weights.variant,
        prefix=layout.prefix,
        key_layout=layout.key_layout,
    )
    wanted = wanted_names(resolved, weights.tensors.keys())
    files = weights.holding(wanted)
    parts = [weights.tensors[name] for name in wanted]
    return dataclasses.replace(
        resolved,
        weight_files=files,
        tokenizer_files=tokenizer_files(source, folder_of(files[0].path)),
        tower_bytes=sum(info.size_bytes for info in parts),
        dtypes=tuple(sorted({info.dtype for info in parts if info.dtype != "I64"})),  # I64: the position_ids buffer
    )


def part_name(path: str, layout: TowerLayout) -> str:
    """The component name of one of several towers in a file."""
    return f"{path}:{layout.place}" if layout.place else path


def without_duplicates(
    encoders: list[ResolvedEncoder], source: RepoSource
) -> tuple[list[ResolvedEncoder], list[SkippedScan]]:
    """One encoder for files of the same sha256, the same config and the same tokenizer; the later ones are duplicates.

    Raises: HubError where tokenizers have to be read to compare them, and cannot be.
    """
    distinct: dict[Any, list[ResolvedEncoder]] = {}
    kept: list[ResolvedEncoder] = []
    duplicates: list[SkippedScan] = []
    for encoder in encoders:
        digests = tuple(f.sha256 for f in encoder.weight_files)
        config = same_if_pooled_alike(encoder.config)
        key: Any = (digests, config, encoder.key_layout, encoder.prefix) if all(digests) else object()
        alike = distinct.setdefault(key, [])
        if first := next((e for e in alike if brings_no_tokenizer(encoder, e, source)), None):
            detail = f"'{encoder.weight_files[0].path}' has the same bytes as '{first.weight_files[0].path}'"
            duplicates.append(SkippedScan(encoder.repo_id, encoder.component, "duplicate", detail, False))
        else:
            alike.append(encoder)
            kept.append(encoder)
    return kept, duplicates
