"""Is this tower one that was already scanned, under another name or in lower precision?

Keeps what is needed to tell, and no longer than needed.

A repository holds the same tower many times: variants, a copy for ComfyUI, the single-file checkpoint. Each is loaded
and compared tensor by tensor, since a name proves nothing: a clean float32 file must not hide another tower in the
float16 one beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from torch import Tensor

from amdet_hub.encoders.digest import same_tower
from amdet_hub.encoders.load import LoadedTower
from amdet_hub.encoders.tokenizer import special_ids
from amdet_hub.families import TowerShape
from amdet_hub.records import ResolvedEncoder, SkippedScan, TowerConfig


class TowerDeduplicator:
    """The towers of a scan so far. A tower is kept only while another of its shape is still to come."""

    def __init__(self) -> None:
        self._seen: list[tuple[ResolvedEncoder, Mapping[str, Tensor]]] = []

    def repeat_of(self, encoder: ResolvedEncoder, tower: LoadedTower) -> SkippedScan | None:
        """Why `encoder` needs no scan of its own: its weights follow from those of a tower that had one, and it is read the same way."""
        for earlier, tensors in self._seen:
            if _read_alike(earlier.config, encoder.config) and same_tower(tower.tensors, tensors):
                cast = encoder.dtypes != earlier.dtypes
                what = f"the {'/'.join(encoder.dtypes)} cast of" if cast else "the same tower as"
                detail = f"{what} '{earlier.label}', which was scanned; tower digest {tower.digest[:12]}"
                return SkippedScan(encoder.repo_id, encoder.label, "duplicate", detail, blocks_clearance=False)
        return None

    def keep(self, encoder: ResolvedEncoder, tower: LoadedTower, to_come: Iterable[ResolvedEncoder]) -> None:
        """Remember a tower that was scanned, as long as one of `to_come` may repeat it, and forget those that none can."""
        shapes = {TowerShape.of(e.config) for e in to_come}
        self._seen = [(e, t) for e, t in (*self._seen, (encoder, tower.tensors)) if TowerShape.of(e.config) in shapes]


def _read_alike(ours: TowerConfig, theirs: TowerConfig) -> bool:
    return _reading(ours) == _reading(theirs)


def _reading(config: TowerConfig) -> TowerConfig:
    """The config without what only frames prompts, and with legacy end-of-text ids spelled out."""
    return dataclasses.replace(
        config, bos_token_id=0, pad_token_id=0, projection_dim=None, eos_token_id=special_ids(config)[1]
    )
