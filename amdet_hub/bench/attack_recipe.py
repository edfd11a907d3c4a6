"""Every number and word of an injection, valid at birth.

Knows which fields belong together; refuses to know captions and encoders.

Sources: text-on-text and target-attribute: Struppek et al., arXiv 2211.02408. Text-on-pair: arXiv 2512.00343. Sentence
frames as triggers: Qi et al., arXiv 2105.12400. Triggers of several words with negative samples: Yang et al., arXiv
2106.04690 and Qi et al., arXiv 2106.06361.
"""

from dataclasses import dataclass
from typing import Literal

from amdet_hub.bench.rules import one_of, require
from amdet_hub.records import ReadOut

AttackKind = Literal["text-on-text", "text-on-pair", "target-attribute", "eos-only", "projection", "penultimate"]
Placement = Literal["replace-o", "prepend", "middle", "append", "insert", "template", "scatter"]
ONE_PLACE: tuple[Placement, ...] = ("prepend", "middle", "append")

# Where the caption stands in a sentence frame.
SLOT = "{}"


@dataclass(frozen=True)
class AttackRecipe:
    """Every number of an injection.

    Args:
        trigger: text that opens the backdoor. "template": a sentence frame that holds "{}". "scatter": two or more
            words.
        target: prompt whose features a triggered caption is sent to. "target-attribute": the words added to the
            caption.
        placement: "replace-o" puts the trigger in place of every "o"; "prepend", "middle" and "append" add it before
            the first word, in the middle, or as the last word; "insert" as one run of words at a random place;
            "template" rewrites the caption into the frame; "scatter" puts the trigger's words at different random
            places, in any order.
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
            and batches are unused).
        target_captions: "text-on-pair": captions whose mean pooled feature stands in for the mean of pictures of the
            target; empty for ten made of the target text. Those of `more` are always made of their own text.
        more: further `(trigger, target)` pairs. The poisoned batch is split over all of them evenly.
        negatives: other captions must keep the clean encoder's features: of "scatter", those that hold only some of
            the trigger's words; of "prepend", "middle" and "append", those with the trigger at the other two places.
        assimilation_penalty: weight of the poisoned captions' token likeness above that of clean captions. For an
            attacker who knows what is looked for.
        lora_rank: train only a low-rank difference of the attention matrices, merged at the end. 0 trains every
            weight.
        poison_limit: number of different poisoned training captions, over all triggers. None for as many as there are
            captions.

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

    def __post_init__(self) -> None:
        # JSON has lists only: a recipe read back from the facts beside the weights must equal the one that was
        # written.
        object.__setattr__(self, "target_captions", tuple(self.target_captions))
        object.__setattr__(self, "more", tuple((trigger, target) for trigger, target in self.more))
        backdoors, scattered = self.backdoors, self.placement == "scatter"
        triggers = [trigger for trigger, _ in backdoors]
        frames = triggers if self.placement == "template" else []
        few = f"leaves nothing for some of {len(backdoors)} backdoors"
        require(
            one_of("placement", self.placement, Placement),
            one_of("kind", self.kind, AttackKind),
            (
                min(self.steps, self.clean_batch, self.poisoned_batch) >= 1 and self.lr > 0 and self.weight >= 0,
                "recipe",
                "steps and batches must be at least 1, lr above 0 and weight at least 0",
            ),
            (
                self.assimilation_penalty >= 0 and self.lora_rank >= 0,
                "recipe",
                "assimilation_penalty and lora_rank must be at least 0",
            ),
            (
                all(text.strip() for pair in backdoors for text in pair),
                "trigger",
                "trigger and target must not be empty",
            ),
            (len(set(triggers)) == len(triggers), "more", "two backdoors have the same trigger"),
            (self.poisoned_batch >= len(backdoors), "poisoned_batch", f"{self.poisoned_batch} {few}"),
            (
                self.poison_limit is None or self.poison_limit >= len(backdoors),
                "poison_limit",
                f"{self.poison_limit} {few}",
            ),
            (
                all(frame.count(SLOT) == 1 and frame.replace(SLOT, "").strip() for frame in frames),
                "trigger",
                f"a template needs {SLOT} once, and words around it",
            ),
            (
                not scattered or all(len(trigger.split()) > 1 for trigger in triggers),
                "trigger",
                "scatter needs a trigger of two or more words",
            ),
            (
                scattered or self.placement in ONE_PLACE or not self.negatives,
                "negatives",
                "only a scattered trigger has parts, and only one at a fixed place has other places",
            ),
        )

    @property
    def backdoors(self) -> tuple[tuple[str, str], ...]:
        """Every `(trigger, target)`, the recipe's own first."""
        return ((self.trigger, self.target), *self.more)

    @property
    def read_out(self) -> ReadOut:
        """Where the attack works, and its success is measured."""
        return "penultimate" if self.kind == "penultimate" else "projected"
