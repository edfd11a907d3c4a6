"""Every number and word of a benign change, valid at birth.

Knows which fields a kind reads; refuses to know captions and encoders.
"""

from dataclasses import dataclass
from typing import Literal

from amdet_hub.bench.rules import contrastive, one_of, require

ControlKind = Literal[
    "contrastive",
    "weight-zero",
    "alias",
    "concept",
    "style",
    "multilingual",
    "tokenizer",
    "noise",
    "cast",
    "merge",
]

DtypeName = Literal["bfloat16", "float16"]
Language = Literal["ru", "el", "de"]


@dataclass(frozen=True)
class FinetuneRecipe:
    """Every number of a benign contrastive fine-tune.

    Args:
        steps: optimiser steps.
        lr: AdamW's learning rate, no weight decay, constant.
        batch: pairs a step.
        temperature: divides the similarities. 0.07 is CLIP's initial value (arXiv 2103.00020, section 2.5).
        positions: token positions to train on, None for the longest caption rounded up.
        bf16: run the encoder's matrix products in bfloat16.
        seed: orders the pairs.
    """

    steps: int = 100
    lr: float = 1e-5
    batch: int = 64
    temperature: float = 0.07
    positions: int | None = None
    bf16: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        require(contrastive(self.steps, self.batch, self.lr, self.temperature))


@dataclass(frozen=True, kw_only=True)
class ControlRecipe(FinetuneRecipe):
    """Every number and word of a control. A kind reads the fields that concern it.

    Args:
        kind: what is done, see `amdet_hub.bench.controls`.
        steps: optimiser steps.
        lr: AdamW's learning rate, no weight decay.
        batch: pairs ("contrastive", "style", "merge", "tokenizer") or clean captions a step.
        temperature: divides the similarities of a contrastive step.
        positions: token positions to train on, None for the longest caption rounded up.
        bf16: run the encoder's matrix products in bfloat16.
        seed: orders captions; of the noise.
        word: "alias", "concept": the word that is learned.
        meaning: "alias": the word it stands for; "concept": the class it belongs to.
        instance: "concept": description of the one thing that `word` names.
        style: "style": name of the style.
        scale: "noise": Frobenius norm of the noise over that of the tensor; "merge": weight of all fine-tunes but the
            first, in equal parts, in [0, 1]. None for 0.01 and for equal weights.
        dtype: "cast": "bfloat16" or "float16".
        second_seed: "merge": seed of the second fine-tune; a third has the next.
        merged: "merge": number of fine-tunes.
        language: "multilingual": what is learned: Russian, Greek or German.

    Raises:
        ConfigError: a value is out of range for the kind.
    """

    kind: ControlKind
    word: str = "zzzz"
    meaning: str = "dog"
    instance: str = "a small brown corgi with a red collar"
    style: str = "ukiyo-e"
    scale: float | None = None
    dtype: DtypeName = "bfloat16"
    second_seed: int = 1
    merged: int = 2
    language: Language = "ru"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            one_of("kind", self.kind, ControlKind),
            (
                all(text.strip() for text in (self.word, self.meaning, self.instance, self.style)),
                "recipe",
                "word, meaning, instance and style must not be empty",
            ),
            one_of("dtype", self.dtype, DtypeName),
            one_of("language", self.language, Language),
            (self.kind != "noise" or self.amount > 0, "scale", "noise must be above 0"),
            (self.merged >= 2, "merged", "a merge needs at least 2 fine-tunes"),
            (
                self.kind != "merge" or (0 <= self.amount <= 1 and self.seed not in self.seeds[1:]),
                "scale",
                "a merge needs a weight between 0 and 1 and different seeds",
            ),
        )

    @property
    def amount(self) -> float:
        """`scale`, or the kind's own where it is None."""
        return self.scale if self.scale is not None else {"noise": 0.01}.get(self.kind, 1 - 1 / max(self.merged, 1))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the fine-tunes of a merge, in order."""
        return (self.seed, *range(self.second_seed, self.second_seed + self.merged - 1))
