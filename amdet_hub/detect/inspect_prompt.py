"""The features of one prompt: its pooled feature, the similarity of its tokens, and the pooled position's attention.

Knows the measures; refuses to know which prompt, and which words are added to it. `S` positions are shown: the frame
and the words, and where the pooled position lies behind them (SigLIP), that one too. The other positions are padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from amdet_hub.detect.prompts import PromptSet, SpecialTokens
from amdet_hub.detect.protocol import AttentiveTextEncoder, TextEncoder
from amdet_hub.detect.splice import clean_features, hidden_of
from amdet_hub.records import TowerConfig


@dataclass(frozen=True)
class FramedWords:
    """One prompt as an encoder reads it.

    Attributes:
        ids: `(1, T)` int64, framed, padded where the family is padded.
        shown: the `S` positions that are shown, ascending; the pooled one is the last of them.
        first: the position of the first word.
    """

    ids: Tensor
    shown: tuple[int, ...]
    first: int


def frame_words(words: Sequence[int], special: SpecialTokens, config: TowerConfig) -> FramedWords:
    """Frame the ids of one prompt. They must fit: see `room_for_words`."""
    prompt = PromptSet(torch.tensor([list(words)], dtype=torch.int64), special, "captions")
    end = int(prompt.framed().shape[1]) - 1
    ids = prompt.framed(length=None if config.causal else config.max_position_embeddings)
    return FramedWords(ids, tuple(sorted({*range(end + 1), ids.shape[1] - 1})), int(special.bos is not None))


def room_for_words(special: SpecialTokens, config: TowerConfig) -> int:
    """How many ids a prompt can have beside its frame."""
    return config.max_position_embeddings - 1 - (special.bos is not None)


@dataclass(frozen=True)
class PromptFeatures:
    """The features of one prompt in one encoder.

    Attributes:
        pooled: `(D,)` float32, the feature at the pooled position.
        token_similarity: `(S, S)` in [-1, 1], cosines between the features of the shown positions, raw as in the
            paper's assimilation.
        attention: `(L, S)` in [0, 1], from the pooled position to the shown ones, mean over heads. Sums to at most 1:
            the rest lies on padding.
    """

    pooled: Tensor
    token_similarity: Tensor
    attention: Tensor


@torch.inference_mode()
def inspect_prompt(encoder: AttentiveTextEncoder, words: FramedWords) -> PromptFeatures:
    """The features of one prompt; the tensors lie on the CPU."""
    ids = words.ids.to(encoder.device)
    shown = torch.tensor(words.shown, device=encoder.device)
    hidden, at = hidden_of(encoder, ids), encoder.pool_positions(ids)
    features = encoder.encode(hidden)[0].float()  # (T, D)
    unit = F.normalize(features[shown], dim=-1)  # (S, D)
    return PromptFeatures(
        pooled=features[at[0]].cpu(),
        token_similarity=(unit @ unit.T).clamp(-1, 1).cpu(),
        attention=encoder.attention_from(hidden, at)[0].mean(1)[:, shown].cpu(),
    )


@torch.inference_mode()
def unrelated_similarity(encoder: TextEncoder, pooled: Tensor, others: PromptSet) -> float:
    """Mean cosine of `pooled (D,)` and the pooled features of other prompts, in [-1, 1]: that of unrelated texts."""
    return float(F.cosine_similarity(clean_features(encoder, others).cpu(), pooled[None], dim=-1).mean())
