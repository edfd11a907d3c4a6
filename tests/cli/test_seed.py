"""The seed of a scan: kept, said in every form of the report, repeatable, and no matter to those who verify it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from amdet_hub import Scanner, guard
from amdet_hub.installation import installation_seed
from amdet_hub.testing import LocalHub
from tests.cli.conftest import Run
from tests.demo_hub import BASE, FAST_TOML, FINETUNED, TOKEN, demo_hub, settings_of


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    with demo_hub() as hub:
        yield hub


@pytest.fixture(autouse=True)
def _a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fast.toml").write_text(FAST_TOML)
    monkeypatch.delenv("AMDET_HUB_SEED")
    monkeypatch.setenv("AMDET_HUB_CACHE_KEY", str(tmp_path / "key"))


def test_the_seed_of_a_user_is_kept_and_said_and_repeats_elsewhere(
    cli: Run, hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach = ("--endpoint", hub.endpoint, "--cache-dir", str(tmp_path / "cache"))
    words = ("scan", FINETUNED, "--reference", BASE, "--config", "fast.toml", *reach)
    outputs = [f"{form}=report.{form}" for form in ("text", "markdown", "html", "json")]
    first = cli(*words, "-f", "json", *[word for output in outputs for word in ("-o", output)])
    assert first.exit_code == 0, first.stderr
    report, seed = json.loads(first.stdout), installation_seed()
    assert report["config"]["seed"] == seed != 0
    assert f"--seed {seed}" in Path("report.text").read_text()
    assert all(str(seed) in Path(output.partition("=")[2]).read_text() for output in outputs)
    assert f"seed {seed}" in cli("card", "preview", FINETUNED, "--from", "report.json", *reach).stdout
    again = json.loads(cli(*words, "-f", "json").stdout)
    assert again["outcomes"][0]["cached_at"] is not None

    monkeypatch.setenv("AMDET_HUB_CACHE_KEY", str(tmp_path / "another-user"))
    assert installation_seed() != seed
    there = json.loads(cli(*words, "-f", "json", "--seed", str(seed)).stdout)
    assert there["outcomes"][0]["cached_at"] is None
    assert there["config_fingerprint"] == report["config_fingerprint"]
    assert there["outcomes"][0]["evidence"] == report["outcomes"][0]["evidence"]


def test_a_card_of_another_users_seed_is_verified_and_trusted(
    cli: Run, hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach = ("--endpoint", hub.endpoint, "--cache-dir", str(tmp_path / "cache"))
    scanned = cli("scan", FINETUNED, "--reference", BASE, "--config", "fast.toml", *reach, "-o", "json=report.json")
    assert scanned.exit_code == 0, scanned.stderr
    pushed = cli(
        "card", "push", FINETUNED, "--from", "report.json", "--commit", "--yes", *reach, "--token", "-", input=TOKEN
    )
    assert pushed.exit_code == 0, pushed.stderr
    monkeypatch.setenv("AMDET_HUB_CACHE_KEY", str(tmp_path / "another-user"))
    verified = cli("verify", FINETUNED, *reach, "--json")
    assert (verified.exit_code, json.loads(verified.stdout)["state"]) == (0, "fresh")
    asker = Scanner(hub=settings_of(hub, tmp_path / "other-cache"))
    cleared = guard(FINETUNED, BASE, scanner=asker, trust_card=True, allow_scan=False)
    assert (cleared.source, asker.config.seed) == ("card", installation_seed())
    assert cleared.report is not None
    assert cleared.report.config["seed"] != asker.config.seed


def test_the_doctor_says_where_the_key_is_and_whether_it_holds(cli: Run, hub: LocalHub, tmp_path: Path) -> None:
    def found() -> dict[str, str]:
        shown = json.loads(cli("doctor", "--endpoint", hub.endpoint, "--cache-dir", str(tmp_path), "--json").stdout)
        (check,) = [one for one in shown if one["name"] == "key"]
        return {key: value for key, value in check.items() if isinstance(value, str)}

    assert found()["state"] == "ok"
    assert str(tmp_path / "key") in found()["finding"]
    (tmp_path / "key").chmod(0o660)
    assert found()["state"] == "warn"
