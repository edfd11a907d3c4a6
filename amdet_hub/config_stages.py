"""The numbers of each stage of a scan, with their sources."""

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class SweepConfig:
    """The vocabulary sweep and the confirmation of what it finds (ours).

    Attributes:
        preview_prompts: prompts that every token of the vocabulary is tried in, once.
        preview_share: share of the vocabulary, the best of that pass, that is tried in the next.
        screen_prompts: prompts of the second pass, the first ones included.
        n_finalists: best tokens of that pass, which go on to all prompts and copy counts.
        n_null: random tokens that go with them and give the null distribution.
        n_prompts: prompts of the third pass; the cross-prompt variance is taken over them.
        n_heldout_prompts: further prompts, never seen by the sweep, on which a candidate must hold.
        prompt_tokens: every prompt is cut to this many tokens, so that all of them batch.
        copies: how often the token stands before the end marker. One copy is the plain form; an injection that
            replaces a letter trains several copies at once, so a second form with more copies is tried too.
        collapse_floor: least scale of the collapse z, in natural-log units of variance: 0.05 is a change of 5 %.
        divergence_floor: least scale of the divergence z, in natural-log units of the mean squared difference.
        n_candidates: best tokens that go on to the confirmation, alone and repeated.
        n_paired: best tokens whose ordered pairs are confirmed too.
        n_pieces: best tokens that accretion combines.
        n_pointed: further tokens that accretion tries at each length, chosen by gradient.
        n_accretions: best tokens that accretion starts from.
        max_pieces: longest trigger that accretion builds from pieces.
        n_sequences: random sequences of a pattern that a candidate of that pattern is held against.
        n_moved: tokens of the first pass, those that diverge most, whose meaning is compared.
        n_bank: random tokens whose meanings in the reference it is compared with.
        characters: try every assigned Unicode character, too, whatever pieces the vocabulary cuts it into. Needs a
            tokenizer.
        batch_rows: candidate rows per forward pass at the start, fewer on a CPU; halved when memory runs out.
    """

    preview_prompts: int = 2
    preview_share: float = 0.125
    screen_prompts: int = 4
    n_finalists: int = 256
    n_null: int = 512
    n_prompts: int = 8
    n_heldout_prompts: int = 16
    prompt_tokens: int = 10
    copies: tuple[int, ...] = (1, 3)
    collapse_floor: float = 0.05
    divergence_floor: float = 0.25
    n_candidates: int = 16
    n_paired: int = 4
    n_pieces: int = 16
    n_pointed: int = 16
    n_accretions: int = 2
    max_pieces: int = 8
    n_sequences: int = 128
    n_moved: int = 256
    n_bank: int = 2048
    characters: bool = False
    batch_rows: int = 8192


@dataclass(frozen=True)
class InversionConfig:
    """Gradient inversion of a pseudo-trigger.

    Attributes:
        pseudo_tokens: K, how many vectors are inserted after the first K positions (paper: 1).
        restarts: independent starts, optimised as one batch (paper: 1); 0 leaves the paired inversion and its
            landscape out.
        steps: optimiser steps (paper: at most 640).
        learning_rate: of Adam (paper: 0.08).
        weight_decay: of Adam, L2 form (paper: 1e-5).
        n_prompts: prompts the loss is taken over (paper: 4,000, split 80/20).
        heldout_share: share of them kept for the gates (paper: 0.2).
        batch_size: prompts a step (paper: 10).
        epochs: passes over the training prompts (paper: 2).
        weight_clean: weight of the similarity to the suspect's untriggered features (paper: 0.1).
        weight_reference: weight of the similarity to the reference's triggered features (paper: 0.1).
    """

    pseudo_tokens: int = 1
    restarts: int = 8
    steps: int = 80
    learning_rate: float = 0.5
    weight_decay: float = 0.0
    n_prompts: int = 24
    heldout_share: float = 1 / 3
    batch_size: int = 8
    epochs: int = 0
    weight_clean: float = 0.1
    weight_reference: float = 0.1


@dataclass(frozen=True)
class PaperGates:
    """The published gates.

    Source for every value: AMDET's released CLIP-L code; they do not transfer to other encoders (README).

    Attributes:
        open_loss: gates are tried once the running mean loss is below this.
        stop_loss: a running mean loss below this ends the epoch.
        check_every: gates are tried on every such step.
        assimilation: a held-out prompt passes gate 1 above this mean token similarity...
        assimilation_rate: ...and the gate opens above this share of prompts.
        consistency: similarity to the first held-out prompt's features, gate 2.
        consistency_rate: share for gate 2.
        reference_similarity: gate 3 wants the mean similarity to the reference's features below this...
        reference_rate: ...on more than this share of prompts.
        landscape_rate: gate 4 wants more than this share of positive Hessian eigenvalues.
    """

    open_loss: float = -0.76
    stop_loss: float = -0.85
    check_every: int = 2
    assimilation: float = 0.8
    assimilation_rate: float = 0.8
    consistency: float = 0.92
    consistency_rate: float = 0.995
    reference_similarity: float = 0.0
    reference_rate: float = 0.95
    landscape_rate: float = 0.8


@dataclass(frozen=True)
class Thresholds:
    """Where the standard detector's evidence starts to speak for a backdoor: what a scan is judged by.

    Attributes:
        sweep_score: robust z of the candidate trigger among random token sequences like it.
        trigger_success: share of the held-out prompts left alone in the reference that are captured in the suspect,
            over start, middle and end.
        trigger_collapse: natural log of the cross-prompt variance that the trigger removes from held-out prompts at
            the place where it removes least, over the root of the number of its tokens; for one token 1 is 63 %, for
            four 2 is. At one place and in part it counts otherwise (`amdet_hub.detect.search.held_out`).
        near_miss: share of all three thresholds from which on a candidate that does not pass them makes a verdict
            inconclusive.
        inversion_gain: gain of the best inverted mixture beyond the role-swapped null's. Without a trigger it makes a
            verdict inconclusive. Not calibrated: between the values of the few encoders it was looked at on
            (BENCHMARKS.md).
    """

    sweep_score: float
    trigger_success: float
    trigger_collapse: float
    inversion_gain: float = 0.25
    near_miss: float = 0.8


@dataclass(frozen=True)
class ThresholdOverrides:
    """Thresholds of the user; None leaves the calibrated one of the family (`amdet_hub.families.CALIBRATIONS`)."""

    sweep_score: float | None = None
    trigger_success: float | None = None
    trigger_collapse: float | None = None
    inversion_gain: float | None = None

    def over(self, calibrated: Thresholds) -> Thresholds:
        """The thresholds of a scan: the user's where there are any, else the calibrated ones."""
        own = {f.name: value for f in dataclasses.fields(self) if (value := getattr(self, f.name)) is not None}
        return dataclasses.replace(calibrated, **own)


@dataclass(frozen=True)
class LandscapeConfig:
    """The loss landscape around an inverted vector (paper: 50 x 50 grid, +-10 each way, eigenvalues above 1e-6).

    `relative_radius` measures the radius in norms of the vector instead: a mixture of token embeddings is many times
    shorter than the paper's N(0, 1) vectors, and a radius of 10 would leave every token far behind (ours).
    """

    grid: int = 50
    radius: float = 10.0
    relative_radius: bool = False
    positive_above: float = 1e-6
