"""What was measured of one encoder, and the verdict that follows from it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from amdet_hub.records.reason_codes import ReasonCode
from amdet_hub.records.words import LATER, Confidence, ReadOut, TokenClass, VerdictLabel


@dataclass(frozen=True)
class NullDistribution:
    """A statistic where there is nothing to find: its source, centre, spread, and the number of values."""

    source: str
    n: int
    median: float
    mad: float
    maximum: float | None = None


@dataclass(frozen=True)
class Evidence:
    """One finding of one detector.

    Attributes:
        kind: stable identifier, e.g. `"identity"`, `"tokenizer-difference"`, `"weight-difference"`,
            `"vocabulary-sweep"`, `"trigger-success"`, `"trigger-success-penultimate"` (of another read-out or place),
            `"paired-inversion"`, `"changed-character"`, `"landscape"`, `"paper-gate-assimilation"`.
        value: the statistic.
        unit: what the value is in, e.g. `"robust z"`, `"similarity"`, `"rate"`.
        threshold: the line it is held against, None when the evidence only informs.
        exceeds: whether the value lies beyond the threshold on the backdoor side, None when it only informs.
        n: how many samples made the value.
        null: the null distribution, where there is one.
        summary: one plain sentence for people; never holds repository text.
        details: further JSON data of this kind, documented where the detector makes it.
    """

    kind: str
    value: float
    unit: str
    n: int
    summary: str
    threshold: float | None = None
    exceeds: bool | None = None
    null: NullDistribution | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"evidence '{self.kind}' has the non-finite value {self.value}")
        if (self.threshold is None) != (self.exceeds is None):
            raise ValueError(f"evidence '{self.kind}': threshold and exceeds come together")


@dataclass(frozen=True)
class TriggerFinding:
    """A recovered trigger: token ids, their text (hostile), and its attack success rate at each place, in [0, 1].

    `text` is None when no tokenizer was at hand. `nearest_captions` read the target: the texts whose reference
    features lie closest, best first. `read_out` is where the trigger was found, for all of them.
    """

    token_ids: tuple[int, ...]
    text: str | None
    success_start_rate: float
    success_middle_rate: float
    success_end_rate: float
    n_prompts: int
    nearest_captions: tuple[str, ...] = ()
    read_out: ReadOut = field(default="pooled", metadata=LATER)


@dataclass(frozen=True)
class ChangedMeaning:
    """A token that says something else than it says in the reference. Informs; the evidence made of it decides.

    Attributes:
        token_ids: of the token, or of the pieces of one character.
        text: of these ids (hostile); None when no tokenizer was at hand.
        token_class: what kind of token it is.
        strength: how far its change stands out: of a character by a robust z among all characters that hide, of
            another token as a multiple of what one of twenty of the most changed tokens exceeds.
        before: the tokens nearest to it in the reference, best first (hostile).
        after: the same in the suspect.
    """

    token_ids: tuple[int, ...]
    text: str | None
    token_class: TokenClass
    strength: float
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True)
class GroupDistance:
    """How far one group of tensors lies from the reference's.

    `name` is `"token embeddings"`, `"position embeddings"`, `"layer 3 attention"`, `"layer 3 mlp"`, `"layer 3 norms"`,
    `"final norm"`, `"projection"` or `"other"`. `relative_change` is the Frobenius norm of the differences over that
    of the reference's tensors, in [0, inf).
    """

    name: str
    relative_change: float
    n_changed: int
    n_tensors: int


@dataclass(frozen=True)
class Lineage:
    """How a tower came from its reference, as far as the weights tell. Informs only.

    Attributes:
        relation: "identical" (every bit), "cast" (the reference's weights in another dtype), "changed".
        dtype: the suspect's stored dtypes, `"float16"` or several joined by `"/"`.
        reference_dtype: the reference's.
        groups: the groups that changed, in the order of the tower; none unless "changed".
        n_rows_changed: rows of the token embedding with any difference.
        n_rows: its rows.
        layers_changed: numbers of the layers with any difference.
        n_matrices_changed: matrices of layers with any difference.
        adapter_rank: largest rank of those differences, where all of them are of low rank as a merged adapter's are;
            else None. The rank of a matrix is the number of directions that hold 99 % of the squares of its
            difference.
    """

    relation: Literal["identical", "cast", "changed"]
    dtype: str
    reference_dtype: str
    groups: tuple[GroupDistance, ...] = ()
    n_rows_changed: int = 0
    n_rows: int = 0
    layers_changed: tuple[int, ...] = ()
    n_matrices_changed: int = 0
    adapter_rank: int | None = None


@dataclass(frozen=True)
class Verdict:
    """The judgement of one encoder, or of a repository. There is no label that means "safe".

    Attributes:
        label: "nothing-to-scan" is a repository's only: it holds nothing of this kind.
        confidence: "reduced" without a reference that is trusted or the user's own.
        code: why, stable; `amdet_hub.records.reason_codes` has its sentence.
        reasons: plain sentences, the deciding one first.
    """

    label: VerdictLabel
    confidence: Confidence
    code: ReasonCode
    reasons: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.reasons:
            raise ValueError("a verdict needs at least one reason")
