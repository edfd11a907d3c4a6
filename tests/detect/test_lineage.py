"""What a lineage says of towers that were changed in known ways."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from amdet_hub.detect.weights import MOST_RANK, difference_rank, lineage

D, M, V, LAYERS = 64, 256, 500, 3


def tower(seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.token_embedding.weight": (V, D),
        "embeddings.position_embedding.weight": (16, D),
        "final_layer_norm.weight": (D,),
        "text_projection.weight": (32, D),
    }
    for i in range(LAYERS):
        layer = f"encoder.layers.{i}"
        shapes |= {f"{layer}.self_attn.{p}.weight": (D, D) for p in ("q_proj", "out_proj")}
        shapes |= {
            f"{layer}.self_attn.q_proj.bias": (D,),
            f"{layer}.layer_norm1.weight": (D,),
            f"{layer}.mlp.fc1.weight": (M, D),
        }
    return {name: (torch.randn(shape, generator=g) * 0.02).to(dtype) for name, shape in shapes.items()}


def low_rank(rank: int, shape: tuple[int, int], seed: int = 1) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape[0], rank, generator=g) @ torch.randn(rank, shape[1], generator=g) * 1e-3


def test_the_same_and_a_cast() -> None:
    base = tower()
    same = lineage(base, base, same=True)
    assert (same.relation, same.dtype, same.reference_dtype, same.groups, same.n_rows) == (
        "identical",
        "float32",
        "float32",
        (),
        V,
    )
    cast = lineage({n: t.to(torch.bfloat16) for n, t in base.items()}, base, same=True)
    assert (cast.relation, cast.dtype, cast.reference_dtype) == ("cast", "bfloat16", "float32")


def test_what_was_touched_is_named_and_measured() -> None:
    base = tower()
    suspect = {name: tensor.clone() for name, tensor in base.items()}
    suspect["embeddings.token_embedding.weight"][[3, 77]] += 0.5
    suspect["encoder.layers.2.layer_norm1.weight"] *= 1.5
    suspect["final_layer_norm.weight"][0] += 1.0
    found = lineage(suspect, base, same=False)
    assert (found.relation, found.n_rows_changed, found.n_rows, found.layers_changed) == ("changed", 2, V, (2,))
    assert [g.name for g in found.groups] == ["token embeddings", "layer 2 norms", "final norm"]
    expected = float((suspect["embeddings.token_embedding.weight"] - base["embeddings.token_embedding.weight"]).norm())
    assert found.groups[0].relative_change == pytest.approx(
        expected / float(base["embeddings.token_embedding.weight"].norm()), rel=1e-4
    )
    assert found.groups[1].relative_change == pytest.approx(0.5, rel=1e-4)
    assert [(g.n_changed, g.n_tensors) for g in found.groups] == [(1, 1), (1, 1), (1, 1)]
    assert (found.n_matrices_changed, found.adapter_rank) == (0, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_merged_adapter_has_its_rank(dtype: torch.dtype) -> None:
    base = tower(dtype=dtype)
    suspect = dict(base)
    for i in range(LAYERS):
        for name, rank in (("self_attn.q_proj", 4), ("mlp.fc1", 7)):
            key = f"encoder.layers.{i}.{name}.weight"
            suspect[key] = (base[key].float() + low_rank(rank, tuple(base[key].shape), seed=i)).to(dtype)  # type: ignore[arg-type]
    found = lineage(suspect, base, same=False)
    assert (found.n_matrices_changed, found.layers_changed) == (6, (0, 1, 2))
    assert found.adapter_rank is not None
    assert 6 <= found.adapter_rank <= 8
    assert [(g.name, g.n_changed, g.n_tensors) for g in found.groups][:2] == [
        ("layer 0 mlp", 1, 1),
        ("layer 0 attention", 1, 3),
    ]


def test_training_of_all_weights_has_no_low_rank() -> None:
    base, noise = tower(), tower(5)
    suspect = {name: tensor + 0.01 * noise[name] for name, tensor in base.items()}
    found = lineage(suspect, base, same=False)
    assert (found.n_matrices_changed, found.adapter_rank) == (3 * LAYERS, None)
    one = dict(base) | {
        "encoder.layers.0.mlp.fc1.weight": base["encoder.layers.0.mlp.fc1.weight"] + low_rank(2, (M, D))
    }
    assert lineage(one, base, same=False).adapter_rank == 2
    one["encoder.layers.1.mlp.fc1.weight"] = suspect["encoder.layers.1.mlp.fc1.weight"]
    assert lineage(one, base, same=False).adapter_rank is None, "one matrix of full rank is no adapter's"


@pytest.mark.parametrize(("rank", "shape"), [(1, (768, 768)), (32, (3072, 768)), (128, (768, 3072))])
def test_the_rank_of_large_matrices(rank: int, shape: tuple[int, int]) -> None:
    found = difference_rank(low_rank(rank, shape))
    assert found is not None
    assert 0.9 * rank <= found <= rank
    assert difference_rank(torch.randn(shape, generator=torch.Generator().manual_seed(2))) is None


def test_ranks_that_say_nothing() -> None:
    assert difference_rank(torch.ones(3, 900)) is None, "a matrix with a side below four is always of low rank"
    assert difference_rank(low_rank(MOST_RANK + 40, (768, 768))) is None
    assert difference_rank(low_rank(3, (64, 64)) * 1e-30) == 3
