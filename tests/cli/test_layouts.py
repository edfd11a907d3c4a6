"""`resolve` on every kind of repository, over the Hub's protocol: towers, sizes, references, parts left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from amdet_hub.testing import LocalHub
from amdet_hub.testing.models import tiny_clip
from tests.cli.conftest import Run
from tests.encoders.layout_cases import BASE_REPO, CASES, Tower


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_model(BASE_REPO, tiny_clip(tmp_path / "base"))
        hub.forget_requests()
        yield hub


def resolve(cli: Run, hub: LocalHub, tmp_path: Path, *target: object) -> Result:
    return cli("resolve", *target, "--json", "--endpoint", hub.endpoint, "--cache-dir", tmp_path / "cache")


def found(plan: dict[str, Any]) -> list[Tower]:
    towers = []
    for row in plan["encoders"]:
        encoder, config = row["encoder"], row["encoder"]["config"]
        name = f"{encoder['component']} ({encoder['variant']})" if encoder["variant"] else encoder["component"]
        towers.append(
            Tower(
                name,
                f"{config['num_hidden_layers']} x {config['hidden_size']}",
                config["family"],
                encoder["key_layout"],
            )
        )
    return towers


@pytest.mark.parametrize("name", CASES)
def test_every_kind_resolves(cli: Run, hub: LocalHub, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    case.make(tmp_path / "repo")
    hub.add_model("org/suspect", tmp_path / "repo")
    result = resolve(cli, hub, tmp_path, "org/suspect")
    assert hub.writes == []
    plan = json.loads(result.stdout)
    assert result.exit_code == (3 if plan["verdict"] and plan["verdict"]["label"] == "inconclusive" else 0)
    assert (plan["verdict"] is None) == bool(case.towers)
    assert found(plan) == list(case.towers)
    for (reason, phrase), skip in zip(case.skipped, plan["skipped"], strict=True):
        assert skip["reason"] == reason
        assert phrase in skip["detail"]
    for row in plan["encoders"]:
        declared = row["encoder"]["adapter"] is not None
        assert (row["reference"]["trust"], row["reference"]["repo_id"]) == (
            ("declared", BASE_REPO) if declared else ("none", None)
        )
