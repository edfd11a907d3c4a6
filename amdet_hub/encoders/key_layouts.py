"""How the tensors of a text tower are named and cut in a file, whatever saved it. Torch-free: names and shapes only.

Two layouts cover what is published. "transformers" stores every canonical tensor (see
`amdet_hub.encoders.canonical_names`) under a prefix, CLIP's projection beside `text_model.`. "openclip" stacks query,
key and value, has names of its own, and stores CLIP's projection transposed. A prefix may be anything that ends with a
dot: `cond_stage_model.transformer.text_model.` in a Stable Diffusion 1 checkpoint, `text.` in an OpenCLIP model of two
towers.

Each canonical tensor is a `Piece` of one stored tensor, and nothing else is needed: what to fetch, what to check, what
to load.

Source: open_clip 3.3 `transformer.py` (`ResidualAttentionBlock`, `TextTransformer`) on `torch.nn.MultiheadAttention`;
transformers 5.23 `models/clip/modeling_clip.py`; the key prefixes of diffusers 0.42 `loaders/single_file_utils.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from amdet_hub.encoders.canonical_names import (
    POSITION_EMBEDDING,
    POSITION_IDS,
    PROJECTION,
    TOKEN_EMBEDDING,
    tower_shapes,
)
from amdet_hub.records import KeyLayout, ResolvedEncoder, TowerConfig

Part = Literal["whole", "transposed", "query", "key", "value"]
"""What a canonical tensor is of the stored one; "query", "key" and "value" are the three equal parts of its rows, in this order."""

MAX_TOWERS = 8
"""Text towers in one file; Stable Diffusion 3 checkpoints hold two of this kind."""

_MODEL = "text_model."
_OPENCLIP_TOKENS, _OPENCLIP_POSITIONS = "token_embedding.weight", "positional_embedding"
_OPENCLIP_SIGNS = (_OPENCLIP_POSITIONS, "transformer.resblocks.0.ln_1.weight", "ln_final.weight")
_OPENCLIP_PROJECTION = "text_projection"
_OPENCLIP_ROOTS = ("token_embedding.", _OPENCLIP_POSITIONS, "transformer.", "ln_final.", _OPENCLIP_PROJECTION)
_OPENCLIP_OUTSIDE = ("logit_scale", "logit_bias")
"""The contrastive loss's two scalars, which OpenCLIP stores beside the text tower's tensors."""
_FLAT_ROOTS = ("embeddings.", "encoder.", "final_layer_norm.", "head.", "text_projection")
_OPENCLIP_LAYER: Mapping[str, str] = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_STACKED: Mapping[str, Part] = {"self_attn.q_proj": "query", "self_attn.k_proj": "key", "self_attn.v_proj": "value"}


@dataclass(frozen=True)
class FoundTower:
    """A text tower in a file's tensor names: how it is laid out, and what precedes its names."""

    key_layout: KeyLayout
    prefix: str

    @property
    def place(self) -> str:
        """Where in the file it lies, for people: `"conditioner.embedders.1.model"`; empty at the top, and where OpenCLIP always puts it."""
        return "" if self == FoundTower("openclip", "text.") else outer(self.prefix).rstrip(".")


@dataclass(frozen=True)
class Piece:
    """Where a canonical tensor lies: the stored tensor's name and whole shape, and which part of it is meant."""

    stored: str
    shape: tuple[int, ...]
    part: Part = "whole"


def outer(prefix: str) -> str:
    """What precedes a tower and its projection alike: the prefix without a final `text_model.`."""
    return prefix[: -len(_MODEL)] if prefix == _MODEL or prefix.endswith(f".{_MODEL}") else prefix


def find_towers(names: Iterable[str]) -> tuple[FoundTower, ...]:
    """Every text tower in a file's tensor names, the usual prefixes first."""
    present = set(names)
    found = set()
    for name in present:
        prefix = _before(name, TOKEN_EMBEDDING)
        if prefix is not None:
            found.add(FoundTower("transformers", prefix))
            continue
        prefix = _before(name, _OPENCLIP_TOKENS)
        if prefix is not None and all(prefix + sign in present for sign in _OPENCLIP_SIGNS):
            found.add(FoundTower("openclip", prefix))
    return tuple(
        sorted(
            found,
            key=lambda t: (t.prefix not in (_MODEL, ""), t.prefix != _MODEL, t.key_layout == "openclip", t.prefix),
        )
    )


def _before(name: str, ending: str) -> str | None:
    prefix = name[: -len(ending)] if name.endswith(ending) else None
    return prefix if prefix is not None and (not prefix or prefix.endswith(".")) else None


def pieces(config: TowerConfig, key_layout: KeyLayout, prefix: str) -> dict[str, Piece]:
    """The piece that each canonical tensor of a tower is."""
    make = _openclip_piece if key_layout == "openclip" else _transformers_piece
    return {name: make(name, shape, prefix, config) for name, shape in tower_shapes(config).items()}


def _transformers_piece(name: str, shape: tuple[int, ...], prefix: str, config: TowerConfig) -> Piece:
    return Piece((outer(prefix) if name == PROJECTION else prefix) + name, shape)


def _openclip_piece(name: str, shape: tuple[int, ...], prefix: str, config: TowerConfig) -> Piece:
    if name.startswith("encoder.layers."):
        _, _, number, rest = name.split(".", 3)
        module, _, kind = rest.rpartition(".")
        block = f"{prefix}transformer.resblocks.{number}."
        if module in _STACKED:
            return Piece(f"{block}attn.in_proj_{kind}", (3 * shape[0], *shape[1:]), _STACKED[module])
        return Piece(f"{block}{_OPENCLIP_LAYER[module]}.{kind}", shape)
    if name == PROJECTION:
        return Piece(prefix + _OPENCLIP_PROJECTION, (shape[1], shape[0]), "transposed")
    renamed = {TOKEN_EMBEDDING: _OPENCLIP_TOKENS, POSITION_EMBEDDING: _OPENCLIP_POSITIONS}
    if name in renamed:
        return Piece(prefix + renamed[name], shape)
    for ours, theirs in (("final_layer_norm", "ln_final"), ("head", _OPENCLIP_PROJECTION)):
        if name.startswith(f"{ours}."):
            return Piece(prefix + theirs + name.removeprefix(ours), shape)
    raise AssertionError(f"'{name}' is no canonical name")


def position_ids_name(key_layout: KeyLayout, prefix: str) -> str | None:
    """The stored name of the counting buffer that transformers before 4.31 saved, None where the layout has none."""
    return prefix + POSITION_IDS if key_layout == "transformers" else None


def wanted_names(resolved: ResolvedEncoder, stored_names: Collection[str]) -> frozenset[str]:
    """Of the tensors that a weight file stores, those that the tower of `resolved` is made of: all that has to be fetched, and all that is loaded.

    The counting buffer `position_ids` is among them where there is one: its content is checked. Of a LoRA it is
    everything under its prefix.
    """
    if resolved.adapter is not None:
        return frozenset(name for name in stored_names if name.startswith(resolved.adapter.prefix))
    wanted = {piece.stored for piece in pieces(resolved.config, resolved.key_layout, resolved.prefix).values()}
    if (buffer := position_ids_name(resolved.key_layout, resolved.prefix)) is not None:
        wanted.add(buffer)
    return frozenset(wanted.intersection(stored_names))


def belongs(name: str, key_layout: KeyLayout, prefix: str) -> bool:
    """Whether a stored tensor claims to be a part of this tower, so that it must be one that the config describes."""
    if key_layout == "openclip":
        under = name.removeprefix(prefix) if name.startswith(prefix) else None
        return (
            under is not None
            and under not in _OPENCLIP_OUTSIDE
            and (prefix == "text." or under.startswith(_OPENCLIP_ROOTS))
        )
    root = outer(prefix)
    if root != prefix and name.startswith(prefix):
        return True
    # beside `text_model.`, flat names would be loaded over the others by transformers, so that two towers in one place
    # are refused
    return name.startswith(root) and name[len(root) :].startswith(_FLAT_ROOTS)
