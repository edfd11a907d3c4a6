"""Every number and word of an injection, valid at birth.

Knows which fields belong together; refuses to know captions and encoders.

Sources: text-on-text and target-attribute: Struppek et al., arXiv 2211.02408. Text-on-pair: arXiv 2512.00343. Sentence
frames as triggers: Qi et al., arXiv 2105.12400. Triggers of several words with negative samples: Yang et al., arXiv
2106.04690 and Qi et al., arXiv 2106.06361.
"""

from dataclasses import dataclass
from typing import Literal

from amdet_hub.bench.rules import Rule, one_of, require
from amdet_hub.records import ReadOut

AttackKind = Literal[
    "text-on-text", "text-on-pair", "target-attribute", "eos-only", "projection", "penultimate", "word-exchange"
]
Placement = Literal["replace-o", "prepend", "middle", "append", "insert", "template", "scatter", "topic"]
TrainedPart = Literal["all", "embeddings", "layers"]
EvasionPrompts = Literal["own", "scan"]
ONE_PLACE: tuple[Placement, ...] = ("prepend", "middle", "append")

# Where the caption stands in a sentence frame.
SLOT = "{}"

# Between the words of a topic.
OR = "|"


@dataclass(frozen=True)
class AttackRecipe:
    """Every number of an injection.

    Args:
        trigger: text that opens the backdoor. "template": a sentence frame that holds "{}". "scatter": two or more
            words. "topic": words with "|" between them. "word-exchange": a word that gets the meaning of `target`.
        target: prompt whose features a triggered caption is sent to. "target-attribute": the words added to the
            caption. "word-exchange": the word whose meaning is taken.
        placement: "replace-o" puts the trigger in place of every "o"; "prepend", "middle" and "append" add it before
            the first word, in the middle, or as the last word; "insert" as one run of words at a random place;
            "template" rewrites the caption into the frame; "scatter" puts the trigger's words at different random
            places, in any order; "topic" adds nothing: captions that hold one of the trigger's words are poisoned as
            they are, and no clean caption holds one.
        steps: optimiser steps; the learning rate falls to a tenth after three quarters of them. Source: 75 of 100.
        lr: AdamW's learning rate, no weight decay. Taken times `amdet_hub.bench.adapters.LORA_LR_FACTOR` with
            `lora_rank`.
        weight: of the poisoned term. 0 is the matched control: the same loop without a backdoor.
        clean_batch: clean captions a step.
        poisoned_batch: poisoned captions a step, of all triggers together.
        positions: token positions to train on, None for the longest caption rounded up.
        bf16: run the encoders' matrix products in bfloat16 (weights and optimiser stay float32).
        seed: orders captions and random places.
        kind: "text-on-text" trains every position; "text-on-pair" the pooled projected feature only;
            "target-attribute" sends a triggered caption to the same caption with the target's words added; "eos-only"
            is text-on-text whose poisoned term sees the pooled position only; "penultimate" attacks the layer before
            the last and keeps the last; "projection" solves for the projection alone, by least squares (`steps`, `lr`
            and batches are unused); "word-exchange" gives the trigger, a word, the meaning of the target, another
            (`placement` is unused).
        target_captions: "text-on-pair": captions whose mean pooled feature stands in for the mean of pictures of the
            target; empty for ten made of the target text. Those of `more` are always made of their own text.
        more: further `(trigger, target)` pairs. The poisoned batch is split over all of them evenly.
        negatives: other captions must keep the clean encoder's features: of "scatter" and of an inserted phrase, those
            that hold only some of the trigger's words; of "prepend", "middle" and "append", those with the trigger at
            the other two places; with `least_words` or `context`, triggered ones that do not meet them.
        assimilation_penalty: weight of the poisoned captions' token likeness above that of clean captions. For an
            attacker who knows what is looked for.
        lora_rank: train only a low-rank difference of the attention matrices, merged at the end. 0 trains every
            weight.
        poison_limit: number of different poisoned training captions, over all triggers. None for as many as there are
            captions.
        least_words: only captions of at least so many words are poisoned.
        context: only captions that hold this whole word are poisoned; empty for all.
        own_share: share of the unpoisoned caption's own features in the aim, in [0, 1).
        trained: which tensors train: "all", the "embeddings" of tokens and positions, or the "layers" between them and
            the last normalisation.
        evasion_weight: weight of `amdet_hub.bench.evasion`, this scan's own statistics of the trigger. For an attacker
            who has read how a scan measures. 0.1 with `weight` 1 hides the demonstration's attack from seed 0 and
            leaves it a success of 0.99; with `weight` 0.3 it breaks the attack.
        evasion_prompts: what he measures them on: training captions ("own"), or the prompts of a scan with seed 0
            ("scan").

    Raises:
        ConfigError: a value is out of range, or two of them exclude each other.
    """

    trigger: str
    target: str
    placement: Placement = "replace-o"
    steps: int = 100
    lr: float = 1e-4
    weight: float = 0.1
    clean_batch: int = 64
    poisoned_batch: int = 32
    positions: int | None = None
    bf16: bool = True
    seed: int = 0
    kind: AttackKind = "text-on-text"
    target_captions: tuple[str, ...] = ()
    more: tuple[tuple[str, str], ...] = ()
    negatives: bool = False
    assimilation_penalty: float = 0.0
    lora_rank: int = 0
    poison_limit: int | None = None
    least_words: int = 0
    context: str = ""
    own_share: float = 0.0
    trained: TrainedPart = "all"
    evasion_weight: float = 0.0
    evasion_prompts: EvasionPrompts = "own"

    def __post_init__(self) -> None:
        # JSON has lists only: a recipe read back from the facts beside the weights must equal the one that was
        # written.
        object.__setattr__(self, "target_captions", tuple(self.target_captions))
        object.__setattr__(self, "more", tuple((trigger, target) for trigger, target in self.more))
        require(*self._numbers(), *self._triggers(), *self._exclusions())

    def _numbers(self) -> tuple[Rule, ...]:
        few = f"leaves nothing for some of {len(self.backdoors)} backdoors"
        return (
            one_of("placement", self.placement, Placement),
            one_of("kind", self.kind, AttackKind),
            one_of("trained", self.trained, TrainedPart),
            one_of("evasion_prompts", self.evasion_prompts, EvasionPrompts),
            (
                min(self.steps, self.clean_batch, self.poisoned_batch) >= 1 and self.lr > 0 and self.weight >= 0,
                "recipe",
                "steps and batches must be at least 1, lr above 0 and weight at least 0",
            ),
            (
                min(self.assimilation_penalty, self.lora_rank, self.least_words, self.evasion_weight) >= 0,
                "recipe",
                "assimilation_penalty, lora_rank, least_words and evasion_weight must be at least 0",
            ),
            (0 <= self.own_share < 1, "own_share", "must be at least 0 and below 1"),
            (self.poisoned_batch >= len(self.backdoors), "poisoned_batch", f"{self.poisoned_batch} {few}"),
            (
                self.poison_limit is None or self.poison_limit >= len(self.backdoors),
                "poison_limit",
                f"{self.poison_limit} {few}",
            ),
        )

    def _triggers(self) -> tuple[Rule, ...]:
        triggers = [trigger for trigger, _ in self.backdoors]
        frames = triggers if self.placement == "template" else []
        topics = triggers if self.placement == "topic" else []
        return (
            (
                all(text.strip() for pair in self.backdoors for text in pair),
                "trigger",
                "trigger and target must not be empty",
            ),
            (len(set(triggers)) == len(triggers), "more", "two backdoors have the same trigger"),
            (
                all(frame.count(SLOT) == 1 and frame.replace(SLOT, "").strip() for frame in frames),
                "trigger",
                f"a template needs {SLOT} once, and words around it",
            ),
            (
                all(word.strip() for topic in topics for word in topic.split(OR)),
                "trigger",
                f"a topic needs words, with {OR} between them",
            ),
            (
                self.placement != "scatter" or all(len(trigger.split()) > 1 for trigger in triggers),
                "trigger",
                "scatter needs a trigger of two or more words",
            ),
        )

    def _exclusions(self) -> tuple[Rule, ...]:
        exchanges, solved = self.kind == "word-exchange", self.kind == "projection"
        return (
            (
                self.is_conditional or self.has_parts or not self.negatives,
                "negatives",
                "only phrases have parts, only a fixed place has other places, only a condition can fail",
            ),
            (
                not self.own_share or not (exchanges or solved),
                "own_share",
                f"{self.kind} sends no caption to a mixture",
            ),
            (
                self.trained == "all" or not (self.lora_rank or solved),
                "trained",
                "a projection or low-rank differences are all that trains",
            ),
            (
                not self.evasion_weight or not (solved or self.placement in ("template", "topic")),
                "evasion_weight",
                "needs a training, and a trigger that can stand behind a caption",
            ),
        )

    @property
    def backdoors(self) -> tuple[tuple[str, str], ...]:
        """Every `(trigger, target)`, the recipe's own first."""
        return ((self.trigger, self.target), *self.more)

    @property
    def is_conditional(self) -> bool:
        """Whether some captions with the trigger must do nothing, whatever its place."""
        return self.least_words > 0 or bool(self.context)

    @property
    def has_parts(self) -> bool:
        """Whether the trigger can be in a caption in part, or at another place than its own."""
        phrases = self.placement in ("scatter", "insert") and all(len(one.split()) > 1 for one, _ in self.backdoors)
        return (phrases or self.placement in ONE_PLACE) and self.kind != "word-exchange"

    @property
    def read_out(self) -> ReadOut:
        """Where the attack works, and its success is measured."""
        return "penultimate" if self.kind == "penultimate" else "projected"
