"""Accretion: single tokens grown to whole triggers, as long as more of the prompts disappears.

Refuses to know what counts as confirmed.

A beam of candidates grows by one token a step, before or after what is there. Which tokens are tried: those that stand
out of the sweep, and those that a gradient points to (the rest of a word that the vocabulary cuts in pieces stands out
of no sweep). What grew is pruned again: a token without which as much disappears is no part of the trigger.

Source of the gradient step: Ebrahimi et al., arXiv 1712.06751 (HotFlip): the first-order change of a loss when one
token takes another's place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from amdet_hub.detect.naming.lexicon import Candidate
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.search.null_distribution import SequenceNull
from amdet_hub.detect.search.sweep import log_variance
from amdet_hub.detect.splice import hidden_of

WORTHWHILE = 0.1  # log units of variance that one more token must remove; below that, growth follows noise
_MOST_ORDERED, _MOST_ORDERS = 6, 200  # pieces whose orders are tried, orders of one length that are measured
_STAND_INS = 4  # tokens a gradient is taken at


def accrete(
    suspect: TextEncoder,
    prompts: PromptSet,
    null: SequenceNull,
    start: Candidate,
    pieces: tuple[int, ...],
    token_ids: Tensor,
    *,
    max_pieces: int,
    beam: int = 2,
    n_pointed: int = 16,
) -> list[Candidate]:
    """Grow one candidate.

    Args:
        suspect: the encoder under test, differentiable.
        prompts: the prompts the search runs on.
        null: measures candidates on those prompts.
        start: the candidate to start from.
        pieces: token ids to try at every step.
        token_ids: `(V',)` the ids that a gradient may point to.
        max_pieces: longest result.
        beam: candidates kept from one length to the next.
        n_pointed: further ids tried before and after the best candidate of each length, chosen by gradient; 0 for
            none.

    Returns:
        The best candidate of every length that was worth its last token, pruned, longest last. Empty when the start
        could not be improved.
    """
    kept, best = [start], null.collapse([start])[0]
    found: list[Candidate] = []
    for _ in range(len(start), max_pieces):
        grown = [extended for one in kept for extended in _extensions(one, pieces)]
        if n_pointed:
            grown += _pointed(suspect, prompts, kept[0], token_ids, n_pointed)
        grown = list(dict.fromkeys(grown))
        collapse = null.collapse(grown)
        order = sorted(range(len(grown)), key=lambda i: -collapse[i])[:beam]
        if collapse[order[0]] < best + WORTHWHILE:
            break
        kept, best = [grown[i] for i in order], collapse[order[0]]
        found.append(kept[0])
    return list(dict.fromkeys(prune(null, one) for one in found))


def assemble(null: SequenceNull, pieces: tuple[int, ...], *, beam: int = 2) -> list[Candidate]:
    """Put pieces together, each once, in the order that removes most: what remains to be found when the pieces are known.

    Args:
        null: measures candidates.
        pieces: the tokens.
        beam: candidates kept from one length to the next.

    Returns:
        The best sequence of every length from 1 to all pieces.
    """
    kept: list[Candidate] = [()]
    found = []
    for _ in pieces:
        grown = [
            (*one[:at], piece, *one[at:])
            for one in kept
            for piece in pieces
            if piece not in one
            for at in range(len(one) + 1)
        ]
        grown = list(dict.fromkeys(grown))
        collapse = null.collapse(grown)
        kept = [grown[i] for i in sorted(range(len(grown)), key=lambda i: -collapse[i])[:beam]]
        found.append(kept[0])
    return found


def orderings(
    null: SequenceNull, pieces: tuple[int, ...], typeable: Callable[[Candidate], bool], *, n: int = 3
) -> list[Candidate]:
    """Of all orders of the pieces and of parts of them, those that somebody can type, and of these the `n` of each length that remove most.

    Args:
        null: measures candidates.
        pieces: the tokens; of more than six the first six, because the orders of more are too many.
        typeable: whether text can give these ids.
        n: how many of each length.
    """
    pieces = pieces[:_MOST_ORDERED]
    found = []
    for length in range(2, len(pieces) + 1):
        some = [one for one in itertools.permutations(pieces, length) if typeable(one)][:_MOST_ORDERS]
        if some:
            collapse = null.collapse(some)
            found += [some[i] for i in sorted(range(len(some)), key=lambda i: -collapse[i])[:n]]
    return found


def prune(null: SequenceNull, candidate: Candidate) -> Candidate:
    """Drop tokens, the least missed first, as long as nothing worthwhile is lost."""
    current, collapse = candidate, null.collapse([candidate])[0]
    while len(current) > 1:
        shorter = [current[:i] + current[i + 1 :] for i in range(len(current))]
        without = null.collapse(shorter)
        top = max(range(len(shorter)), key=lambda i: without[i])
        if without[top] < collapse - WORTHWHILE:
            break
        current = shorter[top]
    return current


def _extensions(candidate: Candidate, pieces: tuple[int, ...]) -> list[Candidate]:
    """One piece more, before and after."""
    return [(piece, *candidate) for piece in pieces] + [(*candidate, piece) for piece in pieces]


def _pointed(
    suspect: TextEncoder, prompts: PromptSet, candidate: Candidate, token_ids: Tensor, n: int
) -> list[Candidate]:
    """Extensions before and after `candidate` by the tokens whose embedding lies furthest down the gradient of the log variance."""
    table = suspect.token_embedding[token_ids.to(suspect.device)].float()  # (V', D)
    # The gradient is taken where real tokens stand and averaged: at the mean of all embeddings, a place no token is
    # near, it points elsewhere.
    stand_ins = token_ids[torch.linspace(0, len(token_ids) - 1, _STAND_INS).long()]
    found: list[Candidate] = []
    for slot in (0, len(candidate)):
        gradient = _gradient(suspect, prompts, candidate, slot, stand_ins)
        best = (table @ gradient).topk(min(n, len(token_ids)), largest=False).indices.cpu()
        found += [(*candidate[:slot], token, *candidate[slot:]) for token in token_ids[best].tolist()]
    return found


def _gradient(suspect: TextEncoder, prompts: PromptSet, candidate: Candidate, slot: int, stand_ins: Tensor) -> Tensor:
    """`(D,)`: gradient of the log cross-prompt variance with respect to a token put in at `slot` of the candidate, mean over `stand_ins (S,)`."""
    length = None if suspect.config.causal else suspect.config.max_position_embeddings
    rows = [
        prompts.framed(torch.tensor([*candidate[:slot], int(token), *candidate[slot:]]), length=length)
        for token in stand_ins
    ]
    ids = torch.stack(rows).to(suspect.device)  # (S, B, T)
    at = prompts.tokens.shape[1] + slot + (prompts.special.bos is not None)
    with torch.enable_grad():
        flat = ids.flatten(0, 1)  # (S * B, T)
        hidden = hidden_of(suspect, flat).detach().view(*ids.shape, -1)  # (S, B, T, D)
        new = hidden[:, :1, at : at + 1].float().clone().requires_grad_()  # (S, 1, 1, D)
        row = new.to(hidden.dtype).expand(-1, ids.shape[1], -1, -1)
        spliced = torch.cat([hidden[:, :, :at], row, hidden[:, :, at + 1 :]], dim=2).flatten(0, 1)
        features = suspect.encode(spliced)[
            torch.arange(len(flat), device=flat.device), suspect.pool_positions(flat)
        ].float()
        by_stand_in = features.view(*ids.shape[:2], -1).transpose(0, 1)  # (B, S, D)
        loss = log_variance(by_stand_in).sum()
        gradient: Tensor = torch.autograd.grad(loss, new)[0]
    return gradient.mean(0).flatten()
