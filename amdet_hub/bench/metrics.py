"""Whether an injection took, and whether the encoder still works. Knows pooled features; refuses to know how the encoder was made."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from amdet_hub.bench.trained import TrainedEncoder

MAX_MEASURED = 500
"""Captions measured at most: the standard error of a rate near 0.95 is then under 0.01."""


def measure(
    suspect: TrainedEncoder, clean: TrainedEncoder, pairs: Sequence[tuple[str, str]], target: str, positions: int
) -> dict[str, float | int]:
    """Attack success and clean fidelity on held-out captions.

    Success of one caption: the suspect's pooled feature of the poisoned caption is nearer (cosine) to the clean encoder's feature of the target than
    to the clean encoder's feature of the unpoisoned caption, which is what a user of the encoder would have got.

    Args:
        suspect: the encoder that was trained.
        clean: the encoder it was made from.
        pairs: `(caption, poisoned caption)`, held out from training.
        target: the target prompt.
        positions: token positions.

    Returns:
        `attack_success_rate` and `base_success_rate` (the clean encoder under the same poisoned captions) in [0, 1], `clean_similarity` (mean cosine of
        suspect and clean on unpoisoned captions) in [-1, 1], `n_held_out`.
    """
    pairs = pairs[:MAX_MEASURED]
    captions, poisoned = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    own, aim = clean.embed(captions, positions), clean.embed([target], positions)  # (N, P), (1, P)
    rates = []
    for encoder in (suspect, clean):
        hit = encoder.embed(poisoned, positions)
        rates.append(((hit @ aim.T).squeeze(-1) > (hit * own).sum(-1)).float().mean().item())
    return {
        "attack_success_rate": round(rates[0], 4),
        "base_success_rate": round(rates[1], 4),
        "clean_similarity": round((suspect.embed(captions, positions) * own).sum(-1).mean().item(), 4),
        "n_held_out": len(pairs),
    }


def retrieval_at_1(encoder: TrainedEncoder, pairs: Sequence[tuple[str, str]], positions: int) -> float:
    """Share of pairs whose first text finds its own second text among all second texts, in [0, 1]."""
    first = encoder.embed([pair[0] for pair in pairs], positions)
    second = encoder.embed([pair[1] for pair in pairs], positions)
    found = (first @ second.T).argmax(dim=1)
    return float((found == torch.arange(len(pairs))).float().mean().item())


def relative_change(trained: TrainedEncoder, base: TrainedEncoder) -> float:
    """Frobenius norm of the weight difference over the norm of the base's weights, all tensors together."""
    before = base.model.state_dict()
    after = trained.model.state_dict()
    squares = sum(float((after[name].float() - value.float()).pow(2).sum()) for name, value in before.items())
    total = sum(float(value.float().pow(2).sum()) for value in before.values())
    return (squares / total) ** 0.5 if total else 0.0
