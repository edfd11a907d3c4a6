"""Is this tower one that was already scanned, under another name or in lower precision?

A repository holds the same tower many times: variants, a copy for ComfyUI, the single-file checkpoint. Each is loaded
and compared tensor by tensor, since a name proves nothing: a clean float32 file must not hide another tower in the
float16 one beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from amdet_hub.encoders.file_identity import brings_no_tokenizer
from amdet_hub.encoders.tower_config import same_if_pooled_alike
from amdet_hub.families import TowerShape
from amdet_hub.records import RepoSource, ResolvedEncoder, SkippedScan, TowerConfig

if TYPE_CHECKING:
    from torch import Tensor

    from amdet_hub.encoders.load import LoadedTower


class TowerDeduplicator:
    """The towers of a scan so far. A tower is held only while another of its shape is still to come."""

    def __init__(self) -> None:
        self._seen: list[tuple[ResolvedEncoder, Mapping[str, Tensor]]] = []

    def duplicate_of(self, encoder: ResolvedEncoder, tower: LoadedTower, source: RepoSource) -> SkippedScan | None:
        """The skip of an encoder that is a scanned tower, or a cast of it; None where it is neither."""
        from amdet_hub.encoders.digest import same_tower

        for earlier, tensors in self._seen:
            if reads_alike(encoder, earlier, source) and same_tower(tower.tensors, tensors):
                return skip_duplicate(encoder, earlier, tower.digest)
        return None

    def add(self, encoder: ResolvedEncoder, tower: LoadedTower, to_come: Iterable[ResolvedEncoder]) -> None:
        """Hold a scanned tower as long as one of `to_come` may repeat it, and let go of those that none can."""
        shapes = {TowerShape.of(e.config) for e in to_come}
        self._seen = [(e, t) for e, t in (*self._seen, (encoder, tower.tensors)) if TowerShape.of(e.config) in shapes]


def skip_duplicate(encoder: ResolvedEncoder, earlier: ResolvedEncoder, digest: str) -> SkippedScan:
    """The outcome of an encoder that is the tower of an earlier one, or a cast of it."""
    what = f"the {'/'.join(encoder.dtypes)} cast of" if encoder.dtypes != earlier.dtypes else "the same tower as"
    return SkippedScan(
        encoder.repo_id,
        encoder.label,
        "duplicate",
        f"{what} '{earlier.label}', which was scanned; tower digest {digest[:12]}",
        blocks_clearance=False,
    )


def reads_alike(encoder: ResolvedEncoder, earlier: ResolvedEncoder, source: RepoSource) -> bool:
    """Whether the same weights mean the same in both: configs alike, but for what only frames prompts; one tokenizer.

    Raises: HubError where tokenizers have to be read to compare them, and cannot be.
    """
    return _reading(encoder.config) == _reading(earlier.config) and brings_no_tokenizer(encoder, earlier, source)


def _reading(config: TowerConfig) -> TowerConfig:
    return dataclasses.replace(same_if_pooled_alike(config), projection_dim=None)
