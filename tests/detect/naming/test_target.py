"""Reading a target: the texts whose reference features lie nearest to what triggered prompts say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from amdet_hub.detect.naming.target import TextBank
from amdet_hub.detect.prompts import PromptSet
from tests.detect.towers import (
    CLIP,
    CLIP_SPECIAL,
    SIGLIP,
    SIGLIP_SPECIAL,
    demo_prompts,
    demo_special,
    demo_tokenizer,
    demo_tower,
    prompts,
    random_tower,
)

TEXTS = [(10 + i, 20 + (7 * i) % 30, 5) for i in range(25)]


class Says:
    """An encoder that answers every prompt as another one answers one text.

    It answers padded position by position, or at the pooled position only.
    """

    def __init__(self, reference: object, text: tuple[int, ...], *, pooled_only: bool) -> None:
        self._reference, self._pooled_only = reference, pooled_only
        self._text = PromptSet(torch.tensor([text]), CLIP_SPECIAL, "captions")

    def __getattr__(self, name: str) -> object:
        return getattr(self._reference, name)

    def encode(self, hidden: Tensor) -> Tensor:
        n = hidden.shape[1]
        ids = self._text.framed(length=n)
        reference: Any = self._reference
        features = reference.encode(reference.token_embedding[ids] + reference.position_embedding[:n])
        if self._pooled_only:
            end = int(self._text.framed().shape[1]) - 1
            features = features[:, end : end + 1].expand(1, n, -1)
        said: Tensor = features.expand(len(hidden), -1, -1)
        return said


@pytest.mark.parametrize("pooled_only", [True, False])
@pytest.mark.parametrize("index", [0, 7, 24])
def test_a_text_that_is_said_is_nearest(index: int, pooled_only: bool) -> None:
    """An attack on all positions trains each of them, an attack on the pooled feature that alone."""
    reference = random_tower(CLIP)
    bank = TextBank(reference, TEXTS, CLIP_SPECIAL, length=16)
    similarity = bank.similarities(Says(reference, TEXTS[index], pooled_only=pooled_only), prompts(4), (9,))  # type: ignore[arg-type]
    assert similarity.shape == (len(TEXTS),)
    assert int(similarity.argmax()) == index
    assert float(similarity[index]) == pytest.approx(1.0, abs=1e-2), "stored features are half precision"


def test_a_bidirectional_tower_reads_its_last_position() -> None:
    reference = random_tower(SIGLIP)
    bank = TextBank(reference, TEXTS, SIGLIP_SPECIAL, length=8)
    some = prompts(3, tokens=3, config=SIGLIP)
    similarity = bank.similarities(reference, some, (9,))
    assert similarity.shape == (len(TEXTS),)
    assert bool((similarity.abs() <= 1 + 1e-6).all())
    own = TextBank(reference, [*TEXTS, (*some.tokens[0].tolist(), 9)], SIGLIP_SPECIAL, length=8)
    one = PromptSet(some.tokens[:1], SIGLIP_SPECIAL, "captions")
    assert int(own.similarities(reference, one, (9,)).argmax()) == len(TEXTS), "a prompt is nearest to itself"


def test_a_prompt_longer_than_the_texts_is_read_by_its_pooled_feature() -> None:
    reference = random_tower(CLIP)
    bank = TextBank(reference, TEXTS, CLIP_SPECIAL, length=6)
    said = Says(reference, TEXTS[3], pooled_only=True)
    assert int(bank.similarities(said, prompts(4, tokens=8), (9, 9)).argmax()) == 3  # type: ignore[arg-type]


def test_the_target_of_the_trained_backdoor() -> None:
    """It was sent to "a photo of a burning castle at night, oil painting"."""
    suspect, reference, tokenizer = demo_tower("backdoored").encoder, demo_tower("base").encoder, demo_tokenizer()
    texts = [
        "a photo of a burning castle at night, oil painting",
        "a photo of a quiet castle in the morning, oil painting",
        "a red bus on a street",
        "a brown dog in a field",
        "two children on a beach",
        "a bowl of soup on a table",
    ]
    bank = TextBank(reference, [tokenizer.encode(text) for text in texts], demo_special(), length=32)
    similarity = bank.similarities(suspect, demo_prompts(8), (988,))
    assert int(similarity.argmax()) == 0
