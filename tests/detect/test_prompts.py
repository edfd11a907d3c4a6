"""Prompts: the same for the same seed, different from one another, framed as a tower wants them."""

from __future__ import annotations

import pytest
import torch

from amdet_hub.detect.prompts import PromptSet, SpecialTokens, caption_texts, random_prompts, tokenized_prompts
from amdet_hub.errors import ConfigError
from tests.detect.towers import CLIP, CLIP_SPECIAL, SIGLIP_SPECIAL, demo_prompts, demo_special


def spell(text: str) -> tuple[int, ...]:
    return tuple(ord(c) % 50 for c in text)


def test_captions_repeat_with_their_seed_and_never_within_one() -> None:
    texts = caption_texts(500, 3)
    assert texts == caption_texts(500, 3)
    assert texts != caption_texts(500, 4)
    assert len(set(texts)) == 500
    assert all(text.isascii() and text == text.strip() for text in texts)


@pytest.mark.parametrize("n", [0, -1, 10**9])
def test_impossible_numbers_of_captions(n: int) -> None:
    with pytest.raises(ConfigError, match="prompts"):
        caption_texts(n, 0)


def test_tokenized_prompts_are_distinct_and_hold_no_special_id() -> None:
    special = SpecialTokens(1, 2, 3)
    made = tokenized_prompts(40, 9, spell, special, seed=0)
    assert made.tokens.shape == (40, 9)
    assert len({tuple(row) for row in made.tokens.tolist()}) == 40
    assert not special.all() & set(made.tokens.flatten().tolist())
    assert torch.equal(made.tokens, tokenized_prompts(40, 9, spell, special, seed=0).tokens)
    assert not torch.equal(made.tokens, tokenized_prompts(40, 9, spell, special, seed=1).tokens)
    assert made.source == "captions"


@pytest.mark.parametrize("encode", [lambda text: (7,) * 50, lambda text: (), lambda text: (1, 2, 3) * 30])
def test_a_hostile_tokenizer_is_an_error(encode: object) -> None:
    assert callable(encode)
    with pytest.raises(ConfigError, match=r"gives [01] different prompts of 9 tokens where 8 are needed"):
        tokenized_prompts(8, 9, encode, SpecialTokens(1, 2, 3), seed=0)


def test_a_real_tokenizer() -> None:
    made = demo_prompts(24)
    assert made.tokens.shape == (24, 8)
    assert not demo_special().all() & set(made.tokens.flatten().tolist())


def test_random_prompts() -> None:
    made = random_prompts(50, 6, CLIP, CLIP_SPECIAL, seed=2)
    assert made.source == "random ids"
    assert torch.equal(made.tokens, random_prompts(50, 6, CLIP, CLIP_SPECIAL, seed=2).tokens)
    assert not CLIP_SPECIAL.all() & set(made.tokens.flatten().tolist())
    assert len(set(made.tokens.flatten().tolist())) > 40, "the whole vocabulary is drawn from"


def words(n: int) -> PromptSet:
    return PromptSet(torch.arange(10, 10 + 2 * n).view(2, n), CLIP_SPECIAL, "random ids")


def test_framing() -> None:
    assert words(3).framed().tolist() == [[58, 10, 11, 12, 59], [58, 13, 14, 15, 59]]
    assert words(2).framed(torch.tensor([5, 6]), 1).tolist()[0] == [58, 10, 5, 6, 11, 59]
    assert words(2).framed(torch.tensor([5])).tolist()[1] == [58, 12, 13, 5, 59], "at the end unless said otherwise"
    assert words(2).framed(torch.tensor([5]), 0).tolist()[1] == [58, 5, 12, 13, 59]
    assert words(2).framed(length=7).tolist()[0] == [58, 10, 11, 59, 59, 59, 59]
    assert words(6).framed(length=4).tolist()[0] == [58, 10, 11, 59], "cut, and still ended"


def test_framing_without_a_start_token() -> None:
    made = PromptSet(torch.tensor([[10, 11]]), SIGLIP_SPECIAL, "random ids")
    assert made.framed().tolist() == [[10, 11, 1]]
    assert made.framed(length=5).tolist() == [[10, 11, 1, 1, 1]]
    assert made.framed(length=2).tolist() == [[10, 1]]


def test_splitting() -> None:
    made = prompts_of(6)
    first, second = made.split(2, 3)
    assert torch.equal(torch.cat([first.tokens, second.tokens]), made.tokens[:5])
    with pytest.raises(ConfigError, match="7 prompts are needed, 6 are there"):
        made.split(4, 3)


def prompts_of(n: int) -> PromptSet:
    return random_prompts(n, 4, CLIP, CLIP_SPECIAL, seed=0)
