"""The text towers in a model that some library loaded, by canonical names and digest.

Everything is compared in float32, which holds every stored dtype exactly: how a loader casts is no difference of
weights. A tower with a tensor that the repository did not fill (random leftovers) is none of the repository's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from amdet_hub.encoders.digest import projection_digest, tower_digest

MISSING = "names_not_in_the_files"
"""Attribute of a loaded transformers model: the names that its files left to chance."""

_TOKENS = "embeddings.token_embedding.weight"
_PROJECTION = "text_projection.weight"
_OPENCLIP = (
    ("transformer.resblocks.", "encoder.layers."),
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".attn.out_proj.", ".self_attn.out_proj."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
    ("ln_final.", "final_layer_norm."),
    ("token_embedding.", "embeddings.token_embedding."),
)


@dataclass(frozen=True)
class Identity:
    """A tower by its weights: its digest, and its projection's where there is one."""

    digest: str
    projection: str | None

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Identity:
        """The identity of canonical tensors of any float dtype."""
        exact = {name: tensor.detach().float() for name, tensor in tensors.items()}
        return cls(tower_digest(exact), projection_digest(exact))

    def same_as(self, scanned: Identity) -> bool:
        """Whether a scan of the other tower was a scan of this one: nothing here is left out there."""
        return self.digest == scanned.digest and self.projection in (None, scanned.projection)


@dataclass(frozen=True)
class LoadedTower:
    """A tower that a library loaded; `loader` says how."""

    loader: str
    identity: Identity


def towers_of(model: torch.nn.Module) -> list[Identity]:
    """The text towers of transformers' kind in a model, adapters merged into them."""
    found = []
    for part in model.modules():
        if MISSING in vars(part):
            missing = frozenset(name for name in getattr(part, MISSING) if ".lora_" not in name)
            found += _towers_in(_merged_state(part), missing)
    return found


def tower_without_report(model: torch.nn.Module) -> list[Identity]:
    """The towers of a model on the meta device that a loader filled, where it filled all of one.

    diffusers fills in the identity where SD3's first text encoder has no projection: that is none of the file's.
    """
    state = model.state_dict()
    projection = state.get(_PROJECTION)
    made_up = {name for name, tensor in state.items() if tensor.is_meta}
    if projection is not None and not projection.is_meta and torch.equal(projection, torch.eye(len(projection))):
        made_up.add(_PROJECTION)
    return _towers_in(state, frozenset(made_up))


def openclip_tower_of(model: torch.nn.Module) -> Identity:
    """The text tower of an OpenCLIP model, which is loaded whole or not at all."""
    state = getattr(model, "text", model).state_dict()
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith(("visual.", "logit_")) or name in ("attn_mask", "cls_emb"):
            continue
        for old, new in _OPENCLIP:
            name = name.replace(old, new)
        if ".attn.in_proj_" in name:
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                tensors[name.replace(".attn.in_proj_", f".self_attn.{part}_proj.")] = rows
        elif name == "text_projection":
            tensors[_PROJECTION] = tensor.T
        else:
            tensors[name.replace("positional_embedding", "embeddings.position_embedding.weight")] = tensor
    return Identity.of(tensors)


def _towers_in(state: Mapping[str, Tensor], missing: frozenset[str]) -> list[Identity]:
    return [
        Identity.of(tensors)
        for name in state
        if name.endswith(_TOKENS) and (tensors := _tower(state, name.removesuffix(_TOKENS), missing)) is not None
    ]


def _tower(state: Mapping[str, Tensor], prefix: str, missing: frozenset[str]) -> dict[str, Tensor] | None:
    roots = ("embeddings.", "encoder.", "final_layer_norm.", "head.")
    names = {name: name.removeprefix(prefix) for name in state if name.startswith(tuple(prefix + r for r in roots))}
    names = {name: canonical for name, canonical in names.items() if not canonical.endswith("position_ids")}
    if missing & names.keys():
        return None
    projection = prefix.removesuffix("text_model.") + _PROJECTION
    if projection in state and projection not in missing:
        names[projection] = _PROJECTION
    return {canonical: state[name] for name, canonical in names.items()}


def _merged_state(model: torch.nn.Module) -> dict[str, Tensor]:
    for part in model.modules():
        if isinstance(part, BaseTunerLayer) and not part.merged:
            part.merge()
    state = model.state_dict()
    return {name.replace(".base_layer.", "."): tensor for name, tensor in state.items() if ".lora_" not in name}


def note_missing(model: torch.nn.Module, names: Iterable[Any]) -> None:
    """Remember which names of a model its files did not hold."""
    setattr(model, MISSING, frozenset(map(str, names)) | getattr(model, MISSING, frozenset()))
