"""The gradient alignment of a text with the change of the weights: would training on it have moved them so?

An injection trains its trigger, in the order in which it is typed, to say the target. Halfway between reference and
suspect that training is half done, and its next step would be a gradient. A text that was not trained asks for other
steps than those that were taken. Knows weights and gradients; refuses to know what counts as confirmed: drift changes
weights, too.
"""

import itertools
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from amdet_hub.detect.context import Candidate
from amdet_hub.detect.naming.word_order import standardised
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TrainableTextEncoder
from amdet_hub.detect.splice import PLACES, Place, hidden_of, place_index

_PROMPTS, _WORDS = 8, 8  # prompts, and words of each, that the gradient is taken over: as good as three times as many
_TAIL = 4  # positions behind the end marker that count, where the tower is causal
_LOOKS = (".q_proj.", ".k_proj.")  # which positions a head looks at: of all weights, these know most of an order
_SAYS = (".v_proj.", ".out_proj.")
_FLOOR = 1e-3  # of the largest root mean square of a gradient: the least that another is divided by


class GradientAlignment:
    """The steps that training on candidates would take halfway between two towers, against the change between them.

    Args:
        suspect: the encoder under test, float32.
        reference: its clean counterpart, float32, of the same shapes.
        prompts: any; eight of them are used, of eight words.
    """

    def __init__(self, suspect: TrainableTextEncoder, reference: TrainableTextEncoder, prompts: PromptSet) -> None:
        self._suspect, self._halfway = suspect, suspect.between(reference, 0.5)
        self._prompts = PromptSet(prompts.tokens[:_PROMPTS, :_WORDS], prompts.special, prompts.source)
        trained, clean, halfway = suspect.weights(), reference.weights(), self._halfway.weights()
        self._weights = {name: w for name, w in halfway.items() if any(part in name for part in _LOOKS + _SAYS)}
        self._change = {name: (trained[name] - clean[name]).detach() for name in self._weights}
        self._rows = suspect.token_embedding - reference.token_embedding  # (V, D)

    def target_direction(self, trigger: Candidate) -> Tensor:
        """`(D,)` of length 1: the direction in which a trigger's embeddings are pulled to say its target, halfway."""
        pull = torch.zeros_like(self._rows[0])
        for place in PLACES:
            ((gradient, _),) = self._gradients([trigger], {}, [place])
            pull -= F.normalize(gradient, dim=-1).sum(0)
        return F.normalize(pull, dim=0)

    def scores(self, candidates: list[Candidate]) -> list[float]:
        """How well each candidate explains the change of the weights.

        The scores compare these candidates only, which are the same tokens in other orders. Three numbers, each
        standardised over the candidates, are added: the signed change of the weights that decide where a head looks
        (`-sign(gradient) . change`; Adam moves each weight by about the sign of its gradient), the same of those that
        decide what it passes on, and the cosine between the change of the candidate's embedding rows and their
        gradients, each divided by its root mean square over the candidates. Source: this project.
        """
        if len(candidates) < 2:
            return [0.0] * len(candidates)
        measured = self._gradients(candidates, self._weights, PLACES)
        tokens = sorted({token for one in candidates for token in one})
        rows = torch.zeros(len(candidates), len(tokens), self._rows.shape[1], device=self._rows.device)
        for i, (gradient, _) in enumerate(measured):
            at = torch.tensor([tokens.index(token) for token in candidates[i]], device=rows.device)
            rows[i].index_add_(0, at, gradient)
        size = rows.square().mean(0).sqrt()
        steps = -rows / size.clamp_min(_FLOOR * float(size.max()))
        moved = F.cosine_similarity(steps.flatten(1), self._rows[tokens].flatten()[None]).cpu()
        signed = torch.stack([parts for _, parts in measured], dim=1)  # (2, C)
        return (standardised(moved) + standardised(signed[0]) + standardised(signed[1])).tolist()

    def _gradients(
        self, candidates: list[Candidate], weights: Mapping[str, Tensor], places: Sequence[Place]
    ) -> list[tuple[Tensor, Tensor]]:
        """Of each candidate: the gradient of its rows `(N, D)`, and signed changes of both kinds of weights `(2,)`.

        The loss is the squared distance between the features of the halfway tower from the trigger on and those of the
        suspect, mean over prompts. The suspect's are the mean over prompts and over all candidates of one length: the
        order of its trigger is the last thing that its features show.
        """
        targets: dict[tuple[int, Place], Tensor] = {}
        with torch.no_grad():
            for length, place in itertools.product({len(one) for one in candidates}, places):
                features = [
                    self._suspect.encode(hidden_of(self._suspect, self._ids(one, place)))
                    for one in candidates
                    if len(one) == length
                ]
                targets[length, place] = torch.stack(features).mean((0, 1))  # (T, D)
        for weight in weights.values():
            weight.requires_grad_(True)
        return [self._of_one(one, places, targets, weights) for one in candidates]

    def _of_one(
        self,
        candidate: Candidate,
        places: Sequence[Place],
        targets: Mapping[tuple[int, Place], Tensor],
        weights: Mapping[str, Tensor],
    ) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            rows = self._halfway.token_embedding[list(candidate)].clone().requires_grad_(True)
            loss = torch.zeros((), device=rows.device)
            for place in places:
                ids = self._ids(candidate, place)
                first = place_index(self._prompts, place) + (self._prompts.special.bos is not None)
                embeds = self._halfway.token_embedding[ids]  # (B, T, D)
                embeds = torch.cat(
                    [embeds[:, :first], rows.expand(len(ids), -1, -1), embeds[:, first + len(candidate) :]], dim=1
                )
                features = self._halfway.encode(embeds + self._halfway.position_embedding[: ids.shape[1]])
                loss = loss + (features[:, first:] - targets[len(candidate), place][first:]).square().sum(-1).mean()
            gradient, *others = torch.autograd.grad(loss, [rows, *weights.values()])
        signed = torch.zeros(2)
        for name, other in zip(weights, others, strict=True):
            signed[int(any(part in name for part in _SAYS))] -= float((other.sign() * self._change[name]).sum())
        return gradient, signed

    def _ids(self, candidate: Candidate, place: Place) -> Tensor:
        """`(B, T)`: the prompts with the candidate in them; as short as causality allows."""
        longest = self._suspect.config.max_position_embeddings
        framed = self._prompts.tokens.shape[1] + len(candidate) + 1 + (self._prompts.special.bos is not None)
        length = min(framed + _TAIL, longest) if self._suspect.config.causal else longest
        at = place_index(self._prompts, place)
        return self._prompts.framed(torch.tensor(candidate), at, length=length).to(self._rows.device)
