"""Reading a target: the words whose sentence lies nearest to what triggered prompts say."""

from __future__ import annotations

import pytest
import torch

from amdet_hub.detect.confirm import confirm
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.splice import SplicedPrompts
from amdet_hub.detect.target import nearest_words
from tests.detect.towers import CLIP, CLIP_SPECIAL, SIGLIP, demo_prompts, demo_special, demo_tokenizer, demo_tower, prompts, random_tower

FRAME = PromptSet(torch.tensor([[3, 4, 5]]), CLIP_SPECIAL, "captions")


def test_a_word_is_nearest_to_itself() -> None:
    encoder = random_tower(CLIP)
    words = torch.arange(10, 40)
    for index in (0, 7, 29):
        feature = SplicedPrompts(encoder, FRAME, "end").features(words[index].view(1, 1))[0, 0]
        found = nearest_words(encoder, FRAME, words, feature, 3)
        assert found[0][0] == index
        assert found[0][1] == pytest.approx(1.0, abs=1e-5)
        assert len({i for i, _ in found}) == 3
        assert [s for _, s in found] == sorted((s for _, s in found), reverse=True)


def test_no_more_than_there_are() -> None:
    found = nearest_words(random_tower(), FRAME, torch.tensor([7, 8]), torch.randn(CLIP.hidden_size), 5)
    assert sorted(i for i, _ in found) == [0, 1]


def test_a_target_is_read_where_the_triggered_prompt_ends() -> None:
    """What was trained position by position shows a short target's padding at the end of a longer prompt."""
    encoder = random_tower(CLIP)
    words, eos = torch.arange(10, 40), CLIP_SPECIAL.eos
    padded = torch.tensor([[int(words[7]), eos, eos, eos]])
    feature = SplicedPrompts(encoder, FRAME, "end").features(padded)[0, 0]
    length = 1 + 3 + 4 + 1  # BOS, frame, word and padding, EOS
    index, similarity = nearest_words(encoder, FRAME, words, feature, 1, length=length)[0]
    assert index == 7
    assert similarity == pytest.approx(1.0, abs=1e-5)
    assert nearest_words(encoder, FRAME, words, feature, 1)[0][1] < similarity


def test_a_bidirectional_tower_reads_too() -> None:
    encoder = random_tower(SIGLIP)
    frame = prompts(1, tokens=3, config=SIGLIP)
    words = torch.arange(10, 20)
    feature = SplicedPrompts(encoder, frame, "end").features(words[4].view(1, 1))[0, 0]
    assert nearest_words(encoder, frame, words, feature, 1, length=50)[0][0] == 4


def test_the_target_of_the_trained_backdoor() -> None:
    """It was sent to "a photo of a burning castle at night, oil painting"."""
    suspect, reference, tokenizer = demo_tower("backdoored").encoder, demo_tower("base").encoder, demo_tokenizer()
    search, heldout = demo_prompts(24).split(8, 16)
    feature = confirm(suspect, reference, search, heldout, (988,)).feature
    frame = PromptSet(torch.tensor([tokenizer.encode("a photo of a")]), demo_special(), "captions")
    words = [i for i in range(2000) if i not in demo_special().all() and tokenizer.is_word(i)]
    named = [tokenizer.decode((words[i],)) for i, _ in nearest_words(reference, frame, torch.tensor(words), feature, 3, length=13)]
    assert "burning" in named
