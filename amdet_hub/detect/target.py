"""What a collapsed feature says: the words whose reference features lie nearest to it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.splice import SplicedPrompts

_BATCH = 512  # words per forward pass


@torch.inference_mode()
def nearest_words(reference: TextEncoder, frame: PromptSet, words: Tensor, feature: Tensor, n: int) -> list[int]:
    """Indices of the `n` words whose sentence lies nearest to a triggered feature, nearest first.

    Each word is put at the end of the frame ("a photo of a ..."). Both sides are centred on the mean over the words and compared by cosine, in
    the reference's space, because an injected trigger is trained to give the features that the *clean* encoder gives the target.

    Args:
        reference: the encoder whose space is read.
        frame: one prompt.
        words: `(W,)` int64 ids of whole words.
        feature: `(D,)` mean triggered feature.
        n: how many.
    """
    sentence = SplicedPrompts(reference, frame, "end")
    table = torch.cat([sentence.features(part[:, None])[0].cpu() for part in torch.split(words, _BATCH)])  # (W, D)
    centre = table.mean(0)
    similarity = F.cosine_similarity(table - centre, (feature - centre)[None], dim=-1)
    return [int(i) for i in similarity.topk(min(n, len(words))).indices]
