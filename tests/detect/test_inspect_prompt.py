"""The measures of one prompt: what is framed and shown, how alike its tokens are, where the pooled position looks."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from amdet_hub.detect.inspect_prompt import frame_words, inspect_prompt, room_for_words, unrelated_similarity
from amdet_hub.detect.inversion.objectives import assimilation
from amdet_hub.detect.protocol import AttentiveTextEncoder
from amdet_hub.detect.splice import clean_features, hidden_of
from amdet_hub.records import TowerConfig
from tests.detect.towers import CLIP, CLIP_SPECIAL, SIGLIP, SIGLIP_SPECIAL, prompts, random_tower

WORDS = (7, 12, 30, 4)


def attentive(config: TowerConfig) -> AttentiveTextEncoder:
    encoder = random_tower(config)
    assert isinstance(encoder, AttentiveTextEncoder)
    return encoder


def test_clip_is_framed_by_both_ends_and_pooled_at_the_last() -> None:
    framed = frame_words(WORDS, CLIP_SPECIAL, CLIP)
    assert framed.ids.tolist() == [[58, *WORDS, 59]]
    assert (framed.shown, framed.first) == (tuple(range(6)), 1)


def test_siglip_is_padded_to_its_full_length_and_pooled_there() -> None:
    framed = frame_words(WORDS, SIGLIP_SPECIAL, SIGLIP)
    assert framed.ids.shape == (1, SIGLIP.max_position_embeddings)
    assert (framed.shown, framed.first) == ((0, 1, 2, 3, 4, 19), 0)
    full = frame_words(range(2, 21), SIGLIP_SPECIAL, SIGLIP)
    assert full.shown == tuple(range(20)), "without padding the last position is the frame's own"


@pytest.mark.parametrize(("special", "config", "room"), [(CLIP_SPECIAL, CLIP, 18), (SIGLIP_SPECIAL, SIGLIP, 19)])
def test_the_room_is_what_the_frame_leaves(special: object, config: TowerConfig, room: int) -> None:
    assert room_for_words(special, config) == room  # type: ignore[arg-type]


@pytest.mark.parametrize(("config", "special"), [(CLIP, CLIP_SPECIAL), (SIGLIP, SIGLIP_SPECIAL)])
def test_a_look_is_what_the_encoder_says(config: TowerConfig, special: object) -> None:
    encoder, framed = attentive(config), frame_words(WORDS, special, config)  # type: ignore[arg-type]
    look = inspect_prompt(encoder, framed)
    features = encoder.encode(hidden_of(encoder, framed.ids))[0]
    shown = list(framed.shown)
    assert torch.equal(look.pooled, features[shown[-1]])
    expected = torch.stack([F.cosine_similarity(features[i], features[shown], dim=-1) for i in shown])
    torch.testing.assert_close(look.token_similarity, expected)
    torch.testing.assert_close(look.token_similarity.mean(), assimilation(features[shown]))
    assert look.attention.shape == (config.num_hidden_layers, len(shown))
    total = look.attention.sum(-1)
    if config.causal:
        torch.testing.assert_close(total, torch.ones(config.num_hidden_layers))
    else:
        assert bool((total < 1).all()), "the rest lies on padding"


def test_other_texts_are_compared_one_by_one() -> None:
    encoder, others = attentive(CLIP), prompts(6)
    pooled = clean_features(encoder, others)
    found = unrelated_similarity(encoder, pooled[2], others)
    assert found == pytest.approx(float(F.cosine_similarity(pooled, pooled[2][None], dim=-1).mean()), abs=1e-6)
