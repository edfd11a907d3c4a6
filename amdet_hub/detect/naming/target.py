"""The target of a trigger: the texts whose reference features lie nearest to those of triggered prompts.

An injected trigger is trained to give what the *clean* encoder gives the target, so the reading is done in the
reference's space. Two readings are made, because attacks train different things (the second one for causal towers
only):

* *pooled*: the feature at the pooled position, of the triggered prompt and of each text. What an attack on the pooled
  feature trains.
* *padded*: the features at the end of the triggered prompt and after it, of each text at the same positions. An attack
  that trains every position gives a triggered prompt, at its end, what the target has at that same position: of a
  shorter target, that is a padding position.

Both sides are centred on the mean over the texts and compared by cosine. The reading whose best text lies nearer is
taken.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from amdet_hub.detect.prompts import PromptSet, SpecialTokens
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.splice import hidden_of, pooled_features

_TAIL = 8  # padded positions read after the end of the triggered prompt
_ROWS = 4096  # positions per forward pass


class TextBank:
    """Texts to read targets with, and their reference features; made once, read for any number of triggers.

    Args:
        reference: the encoder whose space is read (without one the suspect itself).
        texts: token ids of each text, no specials. Cut to `length` less the frame.
        special: ids to frame them with.
        length: positions that are run; a triggered prompt longer than this is read by its pooled feature only.
    """

    @torch.inference_mode()
    def __init__(
        self, reference: TextEncoder, texts: Sequence[Sequence[int]], special: SpecialTokens, *, length: int
    ) -> None:
        self._causal = reference.config.causal
        limit = reference.config.max_position_embeddings
        self._length = min(length, limit) if self._causal else limit
        sets = [PromptSet(torch.tensor([list(text)], dtype=torch.int64), special, "captions") for text in texts]
        ids = torch.cat([text.framed(length=self._length) for text in sets]).to(reference.device)  # (N, T)
        padded, pooled = [], []
        for part in torch.split(ids, max(1, _ROWS // self._length)):
            features = reference.encode(hidden_of(reference, part))
            pooled.append(pooled_features(reference, features, part).cpu())
            if self._causal:
                padded.append(features.half().cpu())  # of every position: half the memory
        self._pooled = torch.cat(pooled)  # (N, D)
        self._padded = torch.cat(padded) if padded else None  # (N, T, D)

    @torch.inference_mode()
    def similarities(self, suspect: TextEncoder, prompts: PromptSet, trigger: Sequence[int]) -> Tensor:
        """The similarity of each text to triggered prompts.

        Args:
            suspect: the encoder that obeys the trigger.
            prompts: prompts to put it at the end of.
            trigger: its ids.

        Returns:
            `(N,)` in [-1, 1], one per text.
        """
        inserted, limit = torch.tensor(list(trigger)), suspect.config.max_position_embeddings
        end = prompts.framed(inserted).shape[1] - 1  # of EOS
        length = max(self._length, end + 1) if self._causal else self._length
        ids = prompts.framed(inserted, length=min(length, limit)).to(suspect.device)
        features = suspect.encode(hidden_of(suspect, ids)).float()
        readings = [_centred_similarity(self._pooled, pooled_features(suspect, features, ids).mean(0).cpu())]
        stop = min(end + 1 + _TAIL, self._length)
        if self._padded is not None and end < stop:
            said = features[:, end:stop].mean(0).cpu()  # (S, D)
            texts = self._padded[:, end:stop].float()  # (N, S, D)
            each = [_centred_similarity(texts[:, i], said[i]) for i in range(stop - end)]
            readings.append(torch.stack(each).mean(0))
        return max(readings, key=lambda similarity: float(similarity.max()))


def _centred_similarity(texts: Tensor, said: Tensor) -> Tensor:
    """`texts (N, D)`, `said (D,)` -> `(N,)` cosines after subtracting the texts' mean from both."""
    centre = texts.mean(0)
    return F.cosine_similarity(texts - centre, (said - centre)[None], dim=-1)
