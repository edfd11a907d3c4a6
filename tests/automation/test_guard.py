"""`guard` end to end: the Hub's protocol, the demonstration's encoders, nothing replaced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import amdet_hub
from amdet_hub import BackdoorDetected, Clearance, HubSettings, NotCleared, Scanner, ScanOptions, ScanReport, guard
from amdet_hub.errors import TargetError
from amdet_hub.hub import own_cache
from amdet_hub.installation import key_file
from amdet_hub.model_card.publish import push_card
from amdet_hub.testing import LocalHub
from tests.demo_hub import BACKDOORED, BASE, FAST, FINETUNED, TOKEN, demo_hub, settings_of

CPU = ScanOptions(device="cpu")


@dataclass(frozen=True)
class World:
    """A Hub, and the reports of the two scans that were made of it, kept in the cache of `settings`."""

    hub: LocalHub
    settings: HubSettings
    backdoored: ScanReport
    finetuned: ScanReport


def ask(target: str, settings: HubSettings, **changes: Any) -> Clearance:
    """`guard`, with the fields of a `Scanner` among the changes."""
    parts: dict[str, Any] = {name: changes.pop(name) for name in ("config", "options") if name in changes}
    fields: dict[str, Any] = {"config": FAST, "hub": settings, "options": CPU, **parts}
    scanner = Scanner(**fields)
    return guard(target, changes.pop("reference", BASE), scanner=scanner, **changes)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    torch.set_num_threads(1)
    with demo_hub() as hub:
        settings = settings_of(hub, tmp_path_factory.mktemp("cache"))
        with pytest.raises(BackdoorDetected) as found:
            ask(BACKDOORED, settings)
        assert found.value.source == "scan"
        cleared = ask(FINETUNED, settings)
        assert cleared.source == "scan"
        yield World(hub, settings, found.value.report, cleared.report)


@pytest.fixture
def world_now(world: World) -> World:
    world.hub.forget_requests()
    return world


def weights_fetched(hub: LocalHub) -> list[str]:
    return [request.path for request in hub.requests if request.side == "lfs" or request.path.endswith(".safetensors")]


def test_a_detection_raises_with_the_evidence(world: World) -> None:
    assert world.backdoored.verdict.label == "backdoor-detected"
    error = BackdoorDetected(BACKDOORED, world.backdoored, "scan")
    assert [t.text for t in error.triggers] == ["о"], "the Cyrillic letter, not the Latin one"
    assert {"vocabulary-sweep", "trigger-success", "trigger-collapse"} <= {e.kind for e in error.evidence}
    assert "demo/backdoored" in str(error)


def test_a_second_call_answers_from_the_cached_result_and_fetches_no_weights(world_now: World) -> None:
    with pytest.raises(BackdoorDetected) as found:
        ask(BACKDOORED, world_now.settings, allow_scan=False)
    assert found.value.source == "cache"
    assert found.value.report.cached
    assert found.value.report.verdict == world_now.backdoored.verdict
    assert weights_fetched(world_now.hub) == []
    cleared = ask(FINETUNED, world_now.settings, allow_scan=False)
    assert (cleared.source, cleared.verdict.label) == ("cache", "no-backdoor-found")
    assert cleared.commit_sha == world_now.hub.head(FINETUNED)
    assert world_now.hub.writes == []


def test_an_answer_from_the_cache_imports_no_torch(world: World) -> None:
    code = (
        "import sys, amdet_hub\n"
        "from tests.demo_hub import FAST\n"
        "try:\n"
        f"    amdet_hub.guard({BACKDOORED!r}, {BASE!r}, scanner=amdet_hub.Scanner(FAST), allow_scan=False)\n"
        "except amdet_hub.BackdoorDetected as error:\n"
        "    print(error.source, 'torch' in sys.modules)\n"
    )
    environment = {
        **os.environ,
        **world.hub.environment(),
        "AMDET_HUB_CACHE": str(own_cache(world.settings)),
        "AMDET_HUB_CACHE_KEY": str(key_file()),
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["cache", "False"], done.stderr


def test_the_same_weights_under_another_name_or_commit_are_known(world_now: World) -> None:
    hub = world_now.hub
    before = hub.head(FINETUNED)
    after = hub.commit(FINETUNED, {"NOTES.md": b"nothing of the model"})
    cleared = ask(FINETUNED, world_now.settings, allow_scan=False)
    assert cleared.commit_sha == after != before
    hub.add_model("other/copy", {path: hub.read(BACKDOORED, path) for path in hub.files(BACKDOORED)})
    with pytest.raises(BackdoorDetected) as found:
        ask("other/copy", world_now.settings, allow_scan=False)
    assert found.value.report.snapshot.repo_id == "other/copy"
    assert found.value.report.results[0].encoder.repo_id == "other/copy"


def test_another_question_has_no_answer_yet(world: World) -> None:
    for changes in (
        {"config": FAST.replace(seed=1)},
        {"reference": None, "options": ScanOptions(device="cpu", use_reference=False)},
    ):
        with pytest.raises(NotCleared, match="scanning was not allowed"):
            ask(FINETUNED, world.settings, allow_scan=False, **changes)


def test_changed_weights_or_tokenizer_are_another_model(world: World) -> None:
    hub = world.hub
    for name, change in (
        ("weights", {"model.safetensors": hub.read(BACKDOORED, "model.safetensors")[:-2] + b"\0\0"}),
        ("tokenizer", {"tokenizer.json": hub.read(BASE, "tokenizer.json") + b"\n"}),
    ):
        hub.branch(FINETUNED, name, revision="main")
        hub.commit(FINETUNED, change, revision=name)
        with pytest.raises(NotCleared):
            ask(f"{FINETUNED}@{name}", world.settings, allow_scan=False)


def test_a_published_detection_counts_and_a_published_clearance_only_if_trusted(world: World, tmp_path: Path) -> None:
    stranger = settings_of(world.hub, tmp_path / "stranger", token=None)
    for report in (world.backdoored, world.finetuned):
        push_card(report, world.settings, direct=True)
    with pytest.raises(BackdoorDetected) as found:
        ask(BACKDOORED, stranger, allow_scan=False)
    assert found.value.source == "card"
    with pytest.raises(NotCleared):
        ask(FINETUNED, stranger, allow_scan=False)
    assert ask(FINETUNED, stranger, allow_scan=False, trust_card=True).source == "card"
    # The card speaks of other weights now: it is no word about these.
    world.hub.commit(FINETUNED, {"model.safetensors": world.hub.read(BACKDOORED, "model.safetensors")})
    with pytest.raises(NotCleared):
        ask(FINETUNED, stranger, allow_scan=False, trust_card=True)
    with pytest.raises(BackdoorDetected):
        ask(FINETUNED, world.settings, allow_scan=False)  # known by digest from the other repository


def test_inconclusive_raises_unless_allowed_and_is_not_kept(world: World) -> None:
    spent = {"options": ScanOptions(device="cpu", timeout_s=0.0), "config": FAST.replace(seed=7)}
    offline = replace(world.settings, offline=True)  # resolves without a wait for the Hub
    with pytest.raises(NotCleared) as found:
        ask(BASE, offline, **spent)
    assert found.value.report is not None
    assert not found.value.report.complete
    cleared = ask(BASE, offline, on_inconclusive="allow", **spent)
    assert (cleared.verdict.label, cleared.source) == ("inconclusive", "scan")


def test_a_target_whose_commit_is_not_known_in_time_is_not_allowed(world: World) -> None:
    """Without the commit, the caller would load whatever is there by then."""
    with pytest.raises(NotCleared) as found:
        ask(BASE, world.settings, on_inconclusive="allow", options=ScanOptions(device="cpu", timeout_s=0.0))
    assert found.value.report is not None
    assert found.value.report.verdict.code == "time-spent"


def test_a_model_of_another_kind_passes_and_a_broken_target_raises(world: World) -> None:
    world.hub.add_model("org/words", {"config.json": b'{"model_type": "bert"}'})
    cleared = ask("org/words", world.settings)
    assert (cleared.verdict.label, cleared.verdict.code) == ("nothing-to-scan", "not-clip-family")
    with pytest.raises(TargetError):
        ask("no such thing", world.settings)


# ---------------------------------------------------------------- the package's door


def test_the_package_can_be_scanned_with_five_lines(world: World) -> None:
    from amdet_hub import scan

    report = scan(BASE, reference=BASE, scanner=Scanner(hub=world.settings, options=CPU))
    assert report.verdict.label == "no-backdoor-found"
    assert report.target == BASE


def test_importing_the_package_and_its_names_imports_nothing_heavy() -> None:
    code = (
        "import sys, json, types, amdet_hub, amdet_hub.scanner\n"
        "named = [getattr(amdet_hub, name) for name in amdet_hub.__all__]\n"
        "assert isinstance(amdet_hub.scan, types.FunctionType)\n"
        "heavy = ('torch', 'transformers', 'huggingface_hub')\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout) == [], done.stderr


def test_every_public_name_is_there() -> None:
    assert all(getattr(amdet_hub, name) is not None for name in amdet_hub.__all__)
    assert set(dir(amdet_hub)) == {*amdet_hub.__all__, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'scna'"):
        amdet_hub.scna  # noqa: B018


def test_the_token_is_in_no_kept_file(world: World) -> None:
    folder = own_cache(world.settings) / "results"
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert len(files) >= 4
    assert not [p for p in files if TOKEN.encode() in p.read_bytes()]
    assert not list(folder.rglob("*.tmp"))
