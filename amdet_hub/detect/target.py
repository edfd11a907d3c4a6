"""What a collapsed feature says: the words whose reference features lie nearest to it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.splice import SplicedPrompts

_CLEARLY = 0.1  # similarity
_ROWS = 2048  # positions per forward pass


@torch.inference_mode()
def nearest_words(
    reference: TextEncoder, frame: PromptSet, words: Tensor, feature: Tensor, n: int, *, length: int = 0
) -> list[tuple[int, float]]:
    """The `n` words whose sentence lies nearest to a triggered feature: `(index into words, similarity in [-1, 1])`, nearest first.

    Each word is put at the end of the frame ("a photo of a ..."). Both sides are centred on the mean over the words and compared by cosine, in
    the reference's space, because an injected trigger is trained to give the features that the *clean* encoder gives the target.

    An attack that trains every position gives a triggered prompt, at its end, what the target has at that same position: of a shorter target, that
    is a padding position. So the sentence is read twice, at its own end and where the triggered prompt ends; the second reading is taken when it is
    clearly the nearer. The words are a hint: on one of our encoders neither reading was right (BENCHMARKS.md).

    Args:
        reference: the encoder whose space is read.
        frame: one prompt.
        words: `(W,)` int64 ids of whole words.
        feature: `(D,)` mean triggered feature.
        n: how many.
        length: positions of the triggered prompts up to and with EOS; 0, or a bidirectional tower, reads at the sentence's own end only.
    """
    padding = length - int(frame.framed().shape[1]) - 1 if reference.config.causal else 0
    at_its_end = _read(reference, frame, words, feature, n, 0)
    if padding <= 0:
        return at_its_end
    padded = _read(reference, frame, words, feature, n, padding)
    return padded if padded[0][1] > at_its_end[0][1] + _CLEARLY else at_its_end


def _read(reference: TextEncoder, frame: PromptSet, words: Tensor, feature: Tensor, n: int, padding: int) -> list[tuple[int, float]]:
    """The nearest words where `padding` end-of-text tokens stand between the word and the position that is read."""
    sentence = SplicedPrompts(reference, frame, "end")
    end = torch.full((1, padding), frame.special.eos)
    parts = [torch.cat([part[:, None], end.expand(len(part), -1)], dim=1) for part in torch.split(words, max(1, _ROWS // (padding + 2)))]
    table = torch.cat([sentence.features(part)[0].cpu() for part in parts])  # (W, D)
    centre = table.mean(0)
    similarity = F.cosine_similarity(table - centre, (feature - centre)[None], dim=-1)
    best = similarity.topk(min(n, len(words)))
    return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
