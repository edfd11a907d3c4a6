"""The input of a detector: the towers in two precisions, and one record of everything else.

The interfaces in it are implemented by `amdet_hub.scanner`: a tokenizer answers as `Lexicon`, accelerate's processes
work as `Workers`, a cache on disk is a `FeatureStore`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from amdet_hub.config import ScanConfig
from amdet_hub.config_stages import Thresholds
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import ReadableTextEncoder, TextEncoder
from amdet_hub.detect.splice import PLACES, VIEWS, Place, View
from amdet_hub.records import SILENT, Monitor, ReadOut

T = TypeVar("T")
Item = TypeVar("Item")

# The words of a prompt that a search at the start keeps: all behind the trigger must run anew for each token. The
# first is left out: most captions begin with one of few articles.
_BEHIND_START = (1, 4)

# Token ids of a possible trigger, in their order.
Candidate = tuple[int, ...]


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
        return TowerPair(
            self.suspect.to(device, dtype), self.reference.to(device, dtype) if self.reference is not None else None
        )

    def reading(self, read_out: ReadOut) -> TowerPair:
        """The same towers, read elsewhere.

        Projected, the suspect tower stands on both sides, once behind its own projection and once behind the
        reference's: what the tower itself does shows in the pooled feature.
        """
        suspect, reference = self.suspect, self.reference
        if read_out == "pooled" or read_out in VIEWS:
            return self
        assert isinstance(suspect, ReadableTextEncoder)
        if read_out == "projected":
            return TowerPair(
                suspect.projected_by(suspect), suspect.projected_by(reference) if reference is not None else None
            )
        assert reference is None or isinstance(reference, ReadableTextEncoder)
        return TowerPair(suspect.penultimate(), reference.penultimate() if reference is not None else None)


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

    def reading(self, read_out: ReadOut) -> Towers:
        """The same towers, read elsewhere."""
        return Towers(self.exact.reading(read_out), self.fast.reading(read_out))


@dataclass(frozen=True)
class Lexicon:
    """Answers about token ids as text; the defaults are those of an unknown tokenizer.

    Attributes:
        typeable: whether some text gives these ids.
        as_word: the ids of a text without a space that is made of these pieces and the tokenizer's own additions;
            None where there is none.
        characters: the ids of all characters that have one of these tokens as a piece, those that share most first.
        likelihood: log10 of how often people write this text, up to a constant; equal for all texts of an unknown
            language.
    """

    typeable: Callable[[Candidate], bool] = lambda ids: True
    as_word: Callable[[Candidate], Candidate | None] = lambda ids: None
    characters: Callable[[Sequence[int]], list[Candidate]] = lambda ids: []
    likelihood: Callable[[Candidate], float] = lambda ids: 0.0


class Workers(Protocol):
    """The processes that share a detector's work.

    A detector cuts its work into numbered chunks whose bounds do not depend on the number of processes, so that one
    process and several compute the same numbers.
    """

    @property
    def size(self) -> int:
        """How many there are."""

    def share(self, stage: str, batch: int, n_chunks: Callable[[int], int], work: Callable[[int, int], T]) -> list[T]:
        """Every chunk's result, in chunk order, on every process.

        Args:
            stage: name under which the batch size that fitted is recorded.
            batch: batch size to try first; shrunk on all processes together when one of them runs out of memory.
            n_chunks: batch size -> number of chunks.
            work: (batch size, chunk number) -> the chunk's result, CPU data only.
        """


class Alone:
    """One process that does not retry: for a library caller and the tests."""

    size = 1

    def share(self, stage: str, batch: int, n_chunks: Callable[[int], int], work: Callable[[int, int], T]) -> list[T]:
        """See `Workers.share`."""
        return [work(batch, chunk) for chunk in range(n_chunks(batch))]


class FeatureStore(Protocol):
    """Stores features of one reference between scans."""

    def load(self, key: str) -> Tensor | None:
        """The features stored under `key`, `(S, B, V', D)` float16 on the CPU, or None."""

    def save(self, key: str, features: Tensor) -> None:
        """Store features; a store that cannot, does nothing and raises nothing."""


@dataclass(frozen=True)
class DetectionContext:
    """Everything a detector needs beside towers and prompts.

    Attributes:
        config: every number of the scan.
        thresholds: the values a candidate must reach; they decide which candidates are measured closely.
        read_outs: the read-outs looked at beside the pooled feature, and the thresholds of each.
        token_ids: `(V',)` ids to sweep, specials excluded (`search.sweep.sweepable_ids`).
        lexicon: which ids some text gives, as words and as characters.
        characters: look-alike and invisible characters, whose meaning is compared: their ids, in the forms they take.
        extra_candidates: groups of further candidates, `(S, N)` ids each; the best of each group are confirmed.
        view: how success and collapse count, everywhere if None. At a place, sweep and null distribution insert there;
            else at the end.
        feature_store: where the reference's features are stored between scans, if anywhere.
        workers: the processes that share the work.
        monitor: follows the detector. `measure` gets of the sweep the raw collapse of each batch's best token and its
            id, of the confirmation each candidate's success and its ids, of both inversions the loss of each step.
    """

    config: ScanConfig
    thresholds: Thresholds
    token_ids: Tensor
    lexicon: Lexicon = field(default_factory=Lexicon)
    characters: Sequence[Candidate] = ()
    extra_candidates: Sequence[Tensor] = ()
    read_outs: Mapping[ReadOut, Thresholds] = field(default_factory=dict)
    view: View | None = None
    feature_store: FeatureStore | None = None
    workers: Workers = field(default_factory=Alone)
    monitor: Monitor = SILENT

    def thresholds_in(self, read_out: ReadOut) -> Thresholds:
        """The thresholds of a read-out."""
        return self.read_outs.get(read_out, self.thresholds)

    def reading(self, read_out: ReadOut) -> DetectionContext:
        """The same for another read-out: its thresholds, and a quarter of the candidates, which keeps a scan short."""
        sweep = self.config.sweep
        few = replace(
            sweep, n_candidates=-(-sweep.n_candidates // 4), n_paired=-(-sweep.n_paired // 2), n_accretions=1
        )
        view = next((one for one in VIEWS if one == read_out), None)
        if view == "start":
            few = replace(few, copies=(1,), preview_share=few.preview_share / 8)
        return replace(
            self,
            config=replace(self.config, sweep=few),
            thresholds=self.thresholds_in(read_out),
            read_outs={},
            view=view,
        )

    def searched(self, prompts: PromptSet) -> PromptSet:
        """The prompts that a search runs on: a few words of each, where it inserts before them."""
        return prompts.shortened(*_BEHIND_START) if self.view == "start" else prompts

    @property
    def inserts_at(self) -> Place:
        """Where sweep and null distribution insert."""
        return next((place for place in PLACES if place == self.view), "end")

    def share(self, stage: str, items: Sequence[Item], work: Callable[[Item], T]) -> list[T]:
        """The result of every item, in their order, on every process; each item is one chunk of work."""
        return self.workers.share(stage, 1, lambda size: len(items), lambda size, number: work(items[number]))
