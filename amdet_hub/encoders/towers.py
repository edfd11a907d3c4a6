"""From a set of weights that was found to the text towers in it: which config belongs to each, and what the scan is told of them.

Knows where configs lie beside weights, and how Stable Diffusion reads what it stores. Refuses to know kinds of
repositories (see `layouts`). Reads small JSON files and headers; imports no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from amdet_hub.encoders import architectures as known
from amdet_hub.encoders.key_layouts import MAX_TOWERS, FoundTower, find_towers, wanted_names
from amdet_hub.encoders.openclip import OPENCLIP_CONFIG, UnsupportedTower, openclip_tower
from amdet_hub.encoders.strict_json import read_json_object
from amdet_hub.encoders.tower_config import (
    FAMILY_OF_MODEL_TYPE,
    LEGACY_EOS,
    assumptions,
    inferred_config,
    projection_size,
    tower_config,
)
from amdet_hub.encoders.weight_files import WeightSet, check_tower, join
from amdet_hub.errors import BadRepository
from amdet_hub.records import Family, RepoSource, ResolvedEncoder, SkippedScan, TowerConfig

CONTAINERS = ("cond_stage_model.", "conditioner.embedders.", "text_encoders.")
"""What the towers of a single-file checkpoint lie under: a config beside such a file describes something else."""
SD2_PREFIX = "cond_stage_model.model."
"""Stable Diffusion 2 stores OpenCLIP's whole tower and reads the layer before the last, through the final norm; diffusers keeps no more than that.
Source: `FrozenOpenCLIPEmbedder(layer="penultimate")` of Stability-AI/stablediffusion; diffusers 0.42
`convert_open_clip_checkpoint`."""


def towers_in(weights: WeightSet) -> tuple[FoundTower, ...]:
    """Every text tower in a set of weights, the usual places first.

    Raises:
        BadRepository: there are more than any real file holds.
    """
    towers = find_towers(weights.tensors)
    if len(towers) > MAX_TOWERS:
        raise BadRepository(
            weights.files[0].path, f"it holds {len(towers)} text towers, more than the {MAX_TOWERS} that are looked at"
        )
    return towers


def declared_tower(
    data: Mapping[str, Any], path: str, label: str, weights: WeightSet, tower: FoundTower
) -> TowerConfig:
    """The tower that a transformers `config.json` describes. Raises: BadRepository."""
    return tower_config(data, path, _family(data, label), projection_dim=projection_size(weights.tensors, tower))


def undeclared_tower(source: RepoSource, weights: WeightSet, tower: FoundTower) -> tuple[TowerConfig, str]:
    """The config and a name for people of a tower in a file of its own: from the config beside it, else from the tensors alone.

    Raises:
        UnsupportedTower: the config beside it asks for something that is not supported.
        BadRepository: a config, or the tensors, are broken.
    """
    path = weights.files[0].path
    folder = path.rpartition("/")[0]
    contained = tower.prefix.startswith(CONTAINERS)
    beside = join(folder, OPENCLIP_CONFIG)
    if tower.key_layout == "openclip" and not contained and source.snapshot.file(beside) is not None:
        config = openclip_tower(read_json_object(source, beside), beside, weights.tensors, tower)
        return config, f"OpenCLIP {'SigLIP' if config.family == 'siglip' else 'CLIP'} text tower"
    beside = join(folder, "config.json")
    if not contained and source.snapshot.file(beside) is not None:
        data = read_json_object(source, beside)
        label, verdict, why = known.judge_config(data, None)
        if verdict == "supported":
            return declared_tower(data, beside, label, weights, tower), label
        if verdict == "unsupported":
            raise UnsupportedTower(why)
    config = inferred_config(weights.tensors, tower, path)
    if tower.key_layout == "openclip":
        return (
            config,
            f"OpenCLIP {'SigLIP' if config.family == 'siglip' else 'CLIP'} text tower ({assumptions(config)})",
        )
    name = (
        "SiglipTextModel"
        if config.family == "siglip"
        else "CLIPTextModel" + ("WithProjection" if config.projection_dim else "")
    )
    return config, f"{name} ({assumptions(config)})"


def resolve_tower(
    source: RepoSource, weights: WeightSet, tower: FoundTower, config: TowerConfig, *, component: str, label: str
) -> ResolvedEncoder:
    """The encoder that a tower in a set of weights is, checked tensor by tensor against its config.

    Raises:
        BadWeights: the tensors are not exactly that tower.
    """
    check_tower(config, tower.key_layout, tower.prefix, weights.tensors, weights.file_of, weights.files[0].path)
    if tower == FoundTower("openclip", SD2_PREFIX) and config.num_hidden_layers > 1:
        stored = config.num_hidden_layers
        config = dataclasses.replace(config, num_hidden_layers=stored - 1, projection_dim=None)
        label = f"{label}, without its last layer of {stored}, which Stable Diffusion 2 does not read"
    snapshot = source.snapshot
    resolved = ResolvedEncoder(
        repo_id=snapshot.repo_id,
        commit_sha=snapshot.commit_sha,
        component=component,
        architecture=label,
        config=config,
        weight_files=weights.files,
        variant=weights.variant,
        prefix=tower.prefix,
        key_layout=tower.key_layout,
    )
    wanted = wanted_names(resolved, weights.tensors.keys())
    files = weights.holding(wanted)
    parts = [weights.tensors[name] for name in wanted]
    return dataclasses.replace(
        resolved,
        weight_files=files,
        tokenizer_files=tokenizer_files(source, files[0].path.rpartition("/")[0]),
        tower_bytes=sum(info.size_bytes for info in parts),
        dtypes=tuple(sorted({info.dtype for info in parts if info.dtype != "I64"})),  # I64: the position_ids buffer
    )


def part_name(path: str, tower: FoundTower) -> str:
    """The component name of one of several towers in a file."""
    return f"{path}:{tower.place}" if tower.place else path


def tokenizer_files(source: RepoSource, folder: str) -> tuple[str, ...]:
    """The tokenizer beside the weights, or in a pipeline's `tokenizer_2` for `text_encoder_2`."""
    parent, _, name = folder.rpartition("/")
    places = [folder]
    if "text_encoder" in name:
        places.append(join(parent, name.replace("text_encoder", "tokenizer")))
    for place in places:
        for group in (("tokenizer.json",), ("vocab.json", "merges.txt")):
            paths = tuple(join(place, file) for file in group)
            if all(source.snapshot.file(path) is not None for path in paths):
                return paths
    return ()


def without_duplicates(encoders: list[ResolvedEncoder]) -> tuple[list[ResolvedEncoder], list[SkippedScan]]:
    """Files with the same sha256 and the same config are one encoder; the later ones are said to be copies."""
    kept: dict[Any, ResolvedEncoder] = {}
    copies: list[SkippedScan] = []
    for encoder in encoders:
        digests = tuple(f.sha256 for f in encoder.weight_files)
        # ids that only frame prompts do not make another encoder; the pooling rule (eos) does, but the largest id is
        # the vocabulary's last
        eos = (
            encoder.config.vocab_size - 1 if encoder.config.eos_token_id == LEGACY_EOS else encoder.config.eos_token_id
        )
        config = dataclasses.replace(encoder.config, bos_token_id=0, pad_token_id=0, eos_token_id=eos)
        key: Any = (digests, config, encoder.key_layout, encoder.prefix) if all(digests) else object()
        first = kept.setdefault(key, encoder)
        if first is not encoder:
            detail = f"'{encoder.weight_files[0].path}' has the same bytes as '{first.weight_files[0].path}'"
            copies.append(SkippedScan(encoder.repo_id, encoder.component, "duplicate", detail, False))
    return list(kept.values()), copies


def _family(data: Mapping[str, Any], label: str) -> Family:
    model_type = data.get("model_type")
    if isinstance(model_type, str) and model_type in FAMILY_OF_MODEL_TYPE:
        return FAMILY_OF_MODEL_TYPE[model_type]
    return "siglip" if label.startswith("Siglip") else "clip"
