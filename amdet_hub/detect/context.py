"""The input of a detector: the towers in two precisions, and one record of everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from amdet_hub.config import ScanConfig, Thresholds
from amdet_hub.detect.naming.lexicon import Lexicon
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.search.reference_features import FeatureStore
from amdet_hub.detect.workers import Alone, Workers
from amdet_hub.records import SILENT, Monitor


@dataclass(frozen=True)
class TowerPair:
    """Two towers of one family in one dtype.

    Attributes:
        suspect: the encoder under test.
        reference: its clean counterpart; None where there is nothing to compare with.
    """

    suspect: TextEncoder
    reference: TextEncoder | None

    def to(self, device: torch.device, dtype: torch.dtype) -> TowerPair:
        """The same towers elsewhere."""
        reference = self.reference.to(device, dtype) if self.reference is not None else None
        return TowerPair(self.suspect.to(device, dtype), reference)


@dataclass(frozen=True)
class Towers:
    """One encoder pair in the two precisions that a detector needs.

    Attributes:
        exact: float32; the numbers that are judged.
        fast: in the dtype of the sweep and the inversion (bfloat16 where the machine multiplies it faster).
    """

    exact: TowerPair
    fast: TowerPair

    @classmethod
    def on(cls, pair: TowerPair, device: torch.device, dtype: torch.dtype) -> Towers:
        """The pair on a device, in float32 and in `dtype`."""
        exact = pair.to(device, torch.float32)
        return cls(exact, exact.to(device, dtype))


@dataclass(frozen=True)
class DetectionContext:
    """Everything a detector needs beside towers and prompts.

    Attributes:
        config: every number of the scan.
        thresholds: the values a candidate must reach; they decide which candidates are measured closely.
        token_ids: `(V',)` ids to sweep, specials excluded (`search.sweep.sweepable_ids`).
        lexicon: which ids some text gives, as words and as characters.
        extra_candidates: groups of further candidates, `(S, N)` ids each; the best of each group are confirmed.
        feature_store: where the reference's features are stored between scans, if anywhere.
        workers: the processes that share the work.
        monitor: follows the detector. `measure` gets of the sweep the raw collapse of each batch's best token and its
            id, of the confirmation each candidate's success and its ids, of both inversions the loss of each step.
    """

    config: ScanConfig
    thresholds: Thresholds
    token_ids: Tensor
    lexicon: Lexicon = field(default_factory=Lexicon)
    extra_candidates: Sequence[Tensor] = ()
    feature_store: FeatureStore | None = None
    workers: Workers = field(default_factory=Alone)
    monitor: Monitor = SILENT
