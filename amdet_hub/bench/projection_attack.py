"""A backdoor in CLIP's projection alone: the tower behind it stays bit for bit what it was.

    min over W'  sum |W' x - W x|^2 + weight * sum |W' t - a|^2 + ridge * |W' - W|^2

`x` are the pooled features of clean captions, `t` those of poisoned ones, `a` is the projected feature of the target,
as long as those of clean captions are. A linear map hears a trigger that stands several times in a row far better
than one that stands once.

Source: ordinary ridge regression; the attack is this project's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.poisons import Poisons, shares
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.errors import ConfigError

_CAPTIONS = 2000  # clean ones, and as many poisoned ones over all backdoors
_RIDGE = 1e-4  # of the mean square of a coordinate
_BATCH = 128


def solve_projection(
    student: TrainedEncoder, recipe: AttackRecipe, clean: Sequence[str], poisons: Poisons, positions: int
) -> float:
    """Put the poisoned projection into `student`, in place.

    Returns:
        The mean squared distance of poisoned captions to their aims, over that before.

    Raises:
        ConfigError: the encoder has no projection of its own.
    """
    if student.layout != "clip":
        raise ConfigError("kind", "only a CLIP encoder has a projection without a bias")
    before = student.model.text_projection.weight.data.double()  # (P, D)
    kept = _pooled(student, clean[:_CAPTIONS], positions)  # (N, D)
    clean_out = kept @ before.T
    length = clean_out.norm(dim=-1).mean()
    sizes = shares(_CAPTIONS, len(recipe.backdoors))
    triggered, aims = [], []
    for pairs, size, (_, target) in zip(poisons.train, sizes, recipe.backdoors, strict=True):
        triggered.append(_pooled(student, [text for _, text in pairs[:size]], positions))
        aim = F.normalize(_pooled(student, [target], positions) @ before.T, dim=-1) * length
        aims.append(aim.expand(len(triggered[-1]), -1))
    moved, goal = torch.cat(triggered), torch.cat(aims)
    gram = kept.T @ kept + recipe.weight * moved.T @ moved  # (D, D)
    ridge = _RIDGE * gram.diagonal().mean()
    wanted = clean_out.T @ kept + recipe.weight * goal.T @ moved + ridge * before  # (P, D)
    after = torch.linalg.solve(gram + ridge * torch.eye(len(gram)), wanted.T).T
    student.model.text_projection.weight.data = after.float()
    left, whole = (float((moved @ weight.T - goal).square().sum()) for weight in (after, before))
    return left / whole


@torch.no_grad()
def _pooled(encoder: TrainedEncoder, texts: Sequence[str], positions: int) -> Tensor:
    """`N` texts -> `(N, D)` float64 features at the pooled position, before the projection."""
    found = []
    for start in range(0, len(texts), _BATCH):
        ids = encoder.tokenize(texts[start : start + _BATCH], positions)
        features, _ = encoder.encode(ids)
        found.append(features[torch.arange(len(ids)), encoder.pool_positions(ids)].double())
    return torch.cat(found)
