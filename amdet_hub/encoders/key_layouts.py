"""How the tensors of a text tower are named and cut in a file, whatever saved it. Torch-free: names and shapes only.

Two layouts cover what is published. "transformers" stores every canonical tensor (see
`amdet_hub.encoders.canonical_names`) under a prefix, CLIP's projection beside `text_model.`. "openclip" stacks query,
key and value, has names of its own, and stores CLIP's projection transposed. A prefix may be anything that ends with a
dot: `cond_stage_model.transformer.text_model.` in a Stable Diffusion 1 checkpoint, `text.` in an OpenCLIP model of two
towers.

Each canonical tensor is a `TensorSlice` of one stored tensor, and nothing else is needed: what to fetch, what to
check, what to load. One is not: LongCLIP's own checkpoints have OpenCLIP's names and two tables of positions, of which
its code takes the first 20 rows and the others ("longclip"). Loaders that do not know the second table take the first
whole ("openclip"): such a file holds two towers.

Source: Long-CLIP `model/model_longclip.py` (`mask1`, `mask2`); ComfyUI `utils.transformers_convert` for those that do
not know it; open_clip 3.3 `transformer.py` (`ResidualAttentionBlock`, `TextTransformer`) on
`torch.nn.MultiheadAttention`; transformers 5.23 `models/clip/modeling_clip.py`; the key prefixes of diffusers 0.42
`loaders/single_file_utils.py`.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Self

from amdet_hub.encoders.canonical_names import (
    POSITION_EMBEDDING,
    POSITION_IDS,
    PROJECTION,
    SECOND_POSITIONS,
    TOKEN_EMBEDDING,
    tower_shapes,
)
from amdet_hub.records import KeyLayout, ResolvedEncoder, TowerConfig

# The part of a stored tensor: "query", "key" and "value" are the three equal parts of its rows, in order.
Part = Literal["whole", "transposed", "query", "key", "value"]

# Text towers in one file; Stable Diffusion 3 checkpoints hold two of this kind.
MAX_TOWERS = 8

# Rows of LongCLIP's two tables of positions, and how many of the first are taken.
LONG_POSITIONS, LONG_KEPT = 248, 20

_MODEL = "text_model."
_OPENCLIP_SIGNS = (
    "token_embedding.weight",
    "positional_embedding",
    "transformer.resblocks.0.ln_1.weight",
    "ln_final.weight",
)
_SECOND = "positional_embedding_res"
# The tensors that tell a tower of a layout; what precedes the first is its prefix.
_SIGNS: Mapping[KeyLayout, tuple[str, ...]] = {
    "transformers": (TOKEN_EMBEDDING,),
    "longclip": (*_OPENCLIP_SIGNS, _SECOND),
    "openclip": _OPENCLIP_SIGNS,
}
_OPENCLIP_ROOTS = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection")
# The contrastive loss's two scalars, which OpenCLIP stores beside the text tower's tensors.
_OPENCLIP_OUTSIDE = ("logit_scale", "logit_bias")
_FLAT_ROOTS = ("embeddings.", "encoder.", "final_layer_norm.", "head.", "text_projection")
# Part of a canonical name, what OpenCLIP has in its place, and which part of that tensor is meant.
_OPENCLIP_NAMES: tuple[tuple[str, str, Part], ...] = (
    (TOKEN_EMBEDDING, "token_embedding.weight", "whole"),
    (POSITION_EMBEDDING, "positional_embedding", "whole"),
    (PROJECTION, "text_projection", "transposed"),
    (".layer_norm1.", ".ln_1.", "whole"),
    (".layer_norm2.", ".ln_2.", "whole"),
    (".self_attn.q_proj.", ".attn.in_proj_", "query"),
    (".self_attn.k_proj.", ".attn.in_proj_", "key"),
    (".self_attn.v_proj.", ".attn.in_proj_", "value"),
    (".self_attn.out_proj.", ".attn.out_proj.", "whole"),
    (".mlp.fc1.", ".mlp.c_fc.", "whole"),
    (".mlp.fc2.", ".mlp.c_proj.", "whole"),
    ("final_layer_norm.", "ln_final.", "whole"),
    ("head.", "text_projection.", "whole"),
)


@dataclass(frozen=True)
class TensorSlice:
    """Where a canonical tensor lies: the stored tensor's name and whole shape, and which part of it is meant."""

    stored: str
    shape: tuple[int, ...]
    part: Part = "whole"


@dataclass(frozen=True)
class TowerLayout:
    """A text tower in a file's tensor names: how they are cut, and what precedes them."""

    key_layout: KeyLayout
    prefix: str

    @classmethod
    def of(cls, resolved: ResolvedEncoder) -> Self:
        """The layout of an encoder that was resolved."""
        return cls(resolved.key_layout, resolved.prefix)

    @property
    def root(self) -> str:
        """The prefix of a tower and its projection alike: without a final `text_model.`."""
        return self.prefix.removesuffix(_MODEL) if f".{self.prefix}".endswith(f".{_MODEL}") else self.prefix

    @property
    def place(self) -> str:
        """Where in the file it lies, for people: `"conditioner.embedders.1.model"`; empty in the usual places."""
        second = _SECOND if self.key_layout == "longclip" else ""
        return "" if self == TowerLayout("openclip", "text.") else f"{self.root}{second}".rstrip(".")

    @property
    def buffers(self) -> tuple[str, ...]:
        """The stored name of the counting buffer that transformers before 4.31 saved, where the layout has one."""
        return (self.prefix + POSITION_IDS,) if self.key_layout == "transformers" else ()

    def slices(self, config: TowerConfig) -> dict[str, TensorSlice]:
        """The slice that each canonical tensor of a tower is, and LongCLIP's second table of positions."""
        slices = {name: self._slice(name, shape) for name, shape in tower_shapes(config).items()}
        if self.key_layout == "longclip":
            table = (LONG_POSITIONS, config.hidden_size)
            slices[POSITION_EMBEDDING] = TensorSlice(slices[POSITION_EMBEDDING].stored, table)
            slices[SECOND_POSITIONS] = TensorSlice(self.prefix + _SECOND, table)
        return slices

    def _slice(self, name: str, shape: tuple[int, ...]) -> TensorSlice:
        if self.key_layout == "transformers":
            return TensorSlice((self.root if name == PROJECTION else self.prefix) + name, shape)
        canonical, stored, part = next(row for row in _OPENCLIP_NAMES if row[0] in name)
        whole = {"whole": shape, "transposed": shape[::-1]}.get(part, (3 * shape[0], *shape[1:]))
        renamed = name.replace("encoder.layers.", "transformer.resblocks.").replace(canonical, stored)
        return TensorSlice(self.prefix + renamed, whole, part)

    def claims(self, name: str) -> bool:
        """Whether a stored tensor says that it is a part of this tower, so that the config must describe it."""
        if self.key_layout != "transformers":
            under = name.removeprefix(self.prefix)
            known = self.prefix == "text." or under.startswith(_OPENCLIP_ROOTS)
            outside = (*_OPENCLIP_OUTSIDE, *([_SECOND] if self.key_layout == "openclip" else []))  # of another tower
            return name.startswith(self.prefix) and under not in outside and known
        if self.root != self.prefix and name.startswith(self.prefix):
            return True
        # transformers would load flat names over those beside `text_model.`: two towers in one place are refused
        return name.startswith(self.root) and name[len(self.root) :].startswith(_FLAT_ROOTS)


def find_towers(names: Iterable[str]) -> tuple[TowerLayout, ...]:
    """Every text tower in a file's tensor names, the usual prefixes first."""
    present = set(names)
    found = {
        TowerLayout(key_layout, name.removesuffix(tokens))
        for key_layout, (tokens, *others) in _SIGNS.items()
        for name in present
        if f".{name}".endswith(f".{tokens}") and all(name.removesuffix(tokens) + sign in present for sign in others)
    }
    return tuple(
        sorted(
            found,
            key=lambda t: (
                t.prefix not in (_MODEL, ""),
                t.prefix != _MODEL,
                list(_SIGNS).index(t.key_layout),
                t.prefix,
            ),
        )
    )


def wanted_names(resolved: ResolvedEncoder, stored_names: Collection[str]) -> frozenset[str]:
    """The stored tensors that the tower of `resolved` is made of: all that is fetched, and all that is loaded.

    The counting buffer `position_ids` is among them where there is one: its content is checked. Of a LoRA it is
    everything under its prefix.
    """
    if resolved.adapter is not None:
        return frozenset(name for name in stored_names if name.startswith(resolved.adapter.prefix))
    layout = TowerLayout.of(resolved)
    wanted = {piece.stored for piece in layout.slices(resolved.config).values()}.union(layout.buffers)
    return frozenset(wanted.intersection(stored_names))
