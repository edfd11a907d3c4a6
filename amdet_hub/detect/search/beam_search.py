"""Beam search from single tokens to whole triggers, for as long as more of the prompts disappears.

A beam of candidates grows by one token a step, before or after what is there. The tokens tried are those that stand
out of the sweep, and those that a gradient points to: the rest of a word that the vocabulary cuts in pieces stands out
of no sweep. A grown candidate is pruned: a token without which as much disappears is no part of the trigger.
Refuses to know what counts as confirmed.

Source of the gradient step: Ebrahimi et al., arXiv 1712.06751 (HotFlip): the first-order change of a loss when one
token takes another's place.
"""

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor

from amdet_hub.detect.context import Candidate, DetectionContext
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.search.null_distribution import SequenceNull, log_variance
from amdet_hub.detect.splice import hidden_of, place_index, pooled_features

WORTHWHILE = 0.1  # log units of variance that one more token must remove; below that, growth follows noise
_BEAM = 2  # candidates that go on from one length to the next
_MOST_ORDERED, _MOST_ORDERS = 6, 200  # pieces whose orders are tried, orders of one length that are measured
_STAND_INS = 4  # tokens a gradient is taken at


class BeamSearch:
    """Grows, assembles, orders and prunes candidates.

    Args:
        suspect: the encoder under test, differentiable.
        prompts: the prompts the search runs on.
        null: measures candidates on those prompts.
        context: the ids that a gradient may point to, how many tokens it adds, the longest candidate, and the lexicon.
    """

    def __init__(
        self, suspect: TextEncoder, prompts: PromptSet, null: SequenceNull, context: DetectionContext
    ) -> None:
        self._suspect, self._prompts, self._null = suspect, prompts, null
        self._token_ids, self._config = context.token_ids, context.config.sweep
        self._typeable, self._at = context.lexicon.typeable, place_index(prompts, context.inserts_at)

    def grow(self, start: Candidate, pieces: tuple[int, ...]) -> list[Candidate]:
        """Grow one candidate by `pieces` and by tokens that a gradient points to.

        Returns:
            The best candidate of every length that was worth its last token, pruned, longest last. Empty when the
            start could not be improved.
        """
        beam, removed = [start], self._null.collapse([start])[0]
        found: list[Candidate] = []
        for _ in range(len(start), self._config.max_pieces):
            grown = [_inserted(one, slot, piece) for one in beam for slot in (0, len(one)) for piece in pieces]
            if self._config.n_pointed:
                grown += self._pointed(beam[0])
            ranked = self._ranked(dict.fromkeys(grown))[:_BEAM]
            if ranked[0][1] < removed + WORTHWHILE:
                break
            beam, removed = [one for one, _ in ranked], ranked[0][1]
            found.append(beam[0])
        return list(dict.fromkeys(self.prune(one) for one in found))

    def assemble(self, pieces: tuple[int, ...]) -> list[Candidate]:
        """The best sequence of every length from 1 to all `pieces`, each used once, in the order that removes most."""
        beam: list[Candidate] = [()]
        found = []
        for _ in pieces:
            grown = [
                _inserted(one, slot, piece)
                for one in beam
                for piece in pieces
                if piece not in one
                for slot in range(len(one) + 1)
            ]
            beam = [one for one, _ in self._ranked(dict.fromkeys(grown))[:_BEAM]]
            found.append(beam[0])
        return found

    def orderings(self, pieces: tuple[int, ...], *, n: int = 3, longest: int = _MOST_ORDERED) -> list[Candidate]:
        """The best `n` orders of each length, of the pieces and of parts of them, among those that text can give.

        Args:
            pieces: the tokens; of more than six the first six, because the orders of more are too many.
            n: how many of each length.
            longest: tokens of the longest order.
        """
        pieces = pieces[:_MOST_ORDERED]
        found: list[Candidate] = []
        for length in range(2, min(len(pieces), longest) + 1):
            some = [one for one in itertools.permutations(pieces, length) if self._typeable(one)][:_MOST_ORDERS]
            found += [one for one, _ in self._ranked(some)[:n]]
        return found

    def prune(self, candidate: Candidate) -> Candidate:
        """Drop tokens, the least missed first, as long as nothing worthwhile is lost."""
        removed = self._null.collapse([candidate])[0]
        while len(candidate) > 1:
            shorter, without = self._ranked([candidate[:i] + candidate[i + 1 :] for i in range(len(candidate))])[0]
            if without < removed - WORTHWHILE:
                break
            candidate = shorter
        return candidate

    def _ranked(self, candidates: Iterable[Candidate]) -> list[tuple[Candidate, float]]:
        """Candidates with their collapse, the largest first."""
        some = list(candidates)
        return sorted(zip(some, self._null.collapse(some), strict=True), key=lambda pair: -pair[1])

    def _pointed(self, candidate: Candidate) -> list[Candidate]:
        """Extensions before and after by the tokens that lie furthest down the gradient of the log variance."""
        suspect, token_ids = self._suspect, self._token_ids
        table = suspect.token_embedding[token_ids.to(suspect.device)].float()  # (V', D)
        # The gradient is taken where real tokens stand and averaged: at the mean of all embeddings, a place no token
        # is near, it points elsewhere.
        stand_ins = token_ids[torch.linspace(0, len(token_ids) - 1, _STAND_INS).long()]
        found: list[Candidate] = []
        for slot in (0, len(candidate)):
            gradient = self._gradient(candidate, slot, stand_ins)
            best = (table @ gradient).topk(min(self._config.n_pointed, len(token_ids)), largest=False).indices.cpu()
            found += [_inserted(candidate, slot, token) for token in token_ids[best].tolist()]
        return found

    def _gradient(self, candidate: Candidate, slot: int, stand_ins: Tensor) -> Tensor:
        """`(D,)`: gradient of the log cross-prompt variance by a token at `slot`, mean over `stand_ins (S,)`."""
        suspect, prompts = self._suspect, self._prompts
        length = None if suspect.config.causal else suspect.config.max_position_embeddings
        rows = [
            prompts.framed(torch.tensor(_inserted(candidate, slot, token)), self._at, length=length)
            for token in stand_ins.tolist()
        ]
        ids = torch.stack(rows).to(suspect.device)  # (S, B, T)
        at = self._at + slot + (prompts.special.bos is not None)
        with torch.enable_grad():
            flat = ids.flatten(0, 1)  # (S * B, T)
            hidden = hidden_of(suspect, flat).detach().view(*ids.shape, -1)  # (S, B, T, D)
            new = hidden[:, :1, at : at + 1].float().clone().requires_grad_()  # (S, 1, 1, D)
            row = new.to(hidden.dtype).expand(-1, ids.shape[1], -1, -1)
            spliced = torch.cat([hidden[:, :, :at], row, hidden[:, :, at + 1 :]], dim=2).flatten(0, 1)
            features = pooled_features(suspect, suspect.encode(spliced), flat).view(*ids.shape[:2], -1)
            loss = log_variance(features.transpose(0, 1)).sum()  # over (B, S, D)
        return torch.autograd.grad(loss, new)[0].mean(0).flatten()


def _inserted(candidate: Candidate, slot: int, token: int) -> Candidate:
    return (*candidate[:slot], token, *candidate[slot:])
