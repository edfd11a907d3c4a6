"""Insertion of vectors and of ids, against the plain form."""

from __future__ import annotations

import pytest
import torch

from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import IncrementalTextEncoder, TextEncoder
from amdet_hub.detect.splice import (
    PLACES,
    Place,
    SplicedPrompts,
    clean_features,
    hidden_states,
    insert_vectors,
    place_index,
)
from tests.detect.towers import CLIP, SIGLIP, prompts, random_tower


def pooled_plainly(encoder: TextEncoder, ids: torch.Tensor) -> torch.Tensor:
    features = encoder.encode(encoder.token_embedding[ids] + encoder.position_embedding[: ids.shape[1]])
    return features[torch.arange(len(ids)), encoder.pool_positions(ids)]


def test_one_vector_goes_right_after_the_first_position() -> None:
    hidden = torch.arange(2 * 4 * 1.0).view(2, 4, 1)
    out = insert_vectors(hidden, torch.tensor([[[9.0]]]))[0]
    assert out[..., 0].tolist() == [[0, 9, 1, 2], [4, 9, 5, 6]], (
        "later rows keep what they were, position embedding included; the last falls off"
    )


def test_two_vectors_go_after_the_second_position() -> None:
    hidden = torch.arange(6.0).view(1, 6, 1)
    assert insert_vectors(hidden, torch.tensor([[[8.0], [9.0]]]))[0, 0, :, 0].tolist() == [0, 1, 8, 9, 2, 3]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_restarts_are_a_loop(k: int) -> None:
    hidden, vectors = torch.randn(3, 7, 4), torch.randn(5, k, 4)
    assert torch.equal(insert_vectors(hidden, vectors), torch.cat([insert_vectors(hidden, v[None]) for v in vectors]))


def test_insertion_carries_gradients_to_the_vectors() -> None:
    vectors = torch.randn(2, 1, 4, requires_grad=True)
    insert_vectors(torch.randn(3, 7, 4), vectors).sum().backward()  # type: ignore[no-untyped-call]
    assert vectors.grad is not None
    assert torch.equal(vectors.grad, torch.full((2, 1, 4), 3.0)), "once per prompt"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_incremental_form_equals_a_whole_encoding(place: Place, n: int) -> None:
    encoder, frame = random_tower(CLIP), prompts(4)
    assert isinstance(encoder, IncrementalTextEncoder)
    candidates = torch.randint(0, 58, (5, n), generator=torch.Generator().manual_seed(n))
    found = SplicedPrompts(encoder, frame, place).features(candidates)  # (B, C, D)
    for c, candidate in enumerate(candidates):
        whole = pooled_plainly(encoder, frame.framed(candidate, place_index(frame, place)))
        assert torch.allclose(found[:, c], whole, atol=1e-5)
    padded = pooled_plainly(
        encoder, frame.framed(candidates[0], place_index(frame, place), length=CLIP.max_position_embeddings)
    )
    assert torch.allclose(found[:, 0], padded, atol=1e-5), "a causal tower does not see the padding"


@pytest.mark.parametrize("place", PLACES)
def test_a_bidirectional_tower_runs_all_positions(place: Place) -> None:
    encoder, frame = random_tower(SIGLIP), prompts(3, config=SIGLIP)
    candidates = torch.tensor([[5, 6], [7, 8]])
    spliced = SplicedPrompts(encoder, frame, place)
    found = spliced.features(candidates)
    for c, candidate in enumerate(candidates):
        ids = frame.framed(candidate, place_index(frame, place), length=SIGLIP.max_position_embeddings)
        assert torch.allclose(found[:, c], pooled_plainly(encoder, ids), atol=1e-6)
    assert spliced.rows_per_candidate(2) == 3 * SIGLIP.max_position_embeddings


def test_places_and_costs() -> None:
    frame = prompts(4, tokens=5)
    assert [place_index(frame, place) for place in PLACES] == [0, 2, 5]
    encoder = random_tower(CLIP)
    assert [SplicedPrompts(encoder, frame, place).rows_per_candidate(1) for place in PLACES] == [
        4 * 7,
        4 * 5,
        4 * 2,
    ], "ids, tail and EOS"


@pytest.mark.parametrize("config", [CLIP, SIGLIP])
def test_clean_features_are_those_of_the_prompts(config: object) -> None:
    assert config in (CLIP, SIGLIP)
    tower = CLIP if config is CLIP else SIGLIP
    encoder, frame = random_tower(tower), prompts(3, config=tower)
    ids = frame.framed(length=tower.max_position_embeddings)
    assert torch.allclose(clean_features(encoder, frame), pooled_plainly(encoder, ids), atol=1e-5)


def test_hidden_states_are_token_plus_position() -> None:
    encoder, frame = random_tower(CLIP), prompts(2)
    hidden = hidden_states(encoder, frame, 12)
    ids = frame.framed(length=12)
    assert torch.equal(hidden[1, 3], encoder.token_embedding[ids[1, 3]] + encoder.position_embedding[3])
    assert hidden.shape == (2, 12, CLIP.hidden_size)


def test_one_prompt_is_enough() -> None:
    frame = PromptSet(torch.tensor([[3, 4]]), prompts(1).special, "random ids")
    assert SplicedPrompts(random_tower(), frame, "end").features(torch.tensor([[5]])).shape == (1, 1, CLIP.hidden_size)
