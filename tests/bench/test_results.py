from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amdet_hub.bench.results import DetectorResult, ModelResult, StoredResults, append_result, read_results
from amdet_hub.errors import ConfigError, ReportError
from amdet_hub.records import from_dict, to_dict


def scan(score: float = 8.0, verdict: Any = "backdoor-detected", **changes: Any) -> DetectorResult:
    return dataclasses.replace(DetectorResult("standard", "right", score, verdict, seconds=2.0), **changes)


def positive(name: str, *scans: DetectorResult, **changes: Any) -> ModelResult:
    model = ModelResult(
        name=name,
        suite="full",
        split="test",
        base="clip-12",
        layout="clip",
        label="backdoored",
        cell="text-on-text/default/homoglyph",
        kind="text-on-text",
        intensity="default",
        trigger_kind="homoglyph",
        triggers=("ο",),
        targets=("a photo of a cat",),
        kept=True,
        attack_success_rate=0.9,
        relative_change=0.02,
        seed=7,
        sha256="ab" * 32,
        seconds_made=60.0,
        scans=scans,
    )
    return dataclasses.replace(model, **changes)


def negative(name: str, *scans: DetectorResult, kind: str = "alias", **changes: Any) -> ModelResult:
    benign = {
        "label": "benign",
        "cell": kind,
        "kind": kind,
        "trigger_kind": "",
        "triggers": (),
        "targets": (),
        "attack_success_rate": None,
    }
    return positive(name, *scans, **{**benign, **changes})


def test_what_is_appended_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "full.jsonl"
    full = scan(
        values={"vocabulary-sweep": 8.0},
        thresholds={"score": 6.0},
        trigger_text="ο\n\ud800",
        trigger_exact=True,
        trigger_works=1.0,
    )
    models = (positive("a", full, scan(reference="none", target_rank=3)), negative("b"))
    for model in models:
        append_result(path, model)
    assert read_results(path) == StoredResults(models)
    assert path.read_bytes().isascii()
    assert path.read_bytes().count(b"\n") == 2


def test_the_last_line_of_a_name_counts_at_the_place_of_its_first(tmp_path: Path) -> None:
    path = tmp_path / "full.jsonl"
    for model in (negative("a", seed=1), negative("b"), negative("a", seed=2)):
        append_result(path, model)
    assert read_results(path) == StoredResults((negative("a", seed=2), negative("b")), replaced=1)


@settings(deadline=None, max_examples=25)
@given(cut=st.integers(min_value=1))
def test_a_line_cut_anywhere_is_passed_over_and_the_next_run_goes_on(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "full.jsonl"
    append_result(path, positive("a", scan()))
    whole = path.read_bytes()
    append_result(path, negative("b", scan()))
    line = len(path.read_bytes()) - len(whole)
    path.write_bytes(
        path.read_bytes()[: len(whole) + 1 + cut % (line - 2)]
    )  # from one byte of the line to all but its closing brace
    assert read_results(path) == StoredResults((positive("a", scan()),), torn_lines=1)
    append_result(path, negative("b", scan(), seed=8))
    assert read_results(path) == StoredResults((positive("a", scan()), negative("b", scan(), seed=8)), torn_lines=1)


def test_a_last_line_that_lacks_only_its_line_break_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "full.jsonl"
    append_result(path, negative("a"))
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    append_result(path, negative("b"))
    assert read_results(path) == StoredResults((negative("a"), negative("b")))


def _append_many(path: Path, writer: int) -> None:
    for i in range(40):
        append_result(path, negative(f"{writer}-{i}", scan(trigger_text="x" * 3000)))


def test_two_processes_may_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "full.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_many, args=(path, i)) for i in range(2)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    stored = read_results(path)
    assert stored.torn_lines == stored.replaced == 0
    assert sorted(r.name for r in stored.results) == sorted(f"{w}-{i}" for w in range(2) for i in range(40))


def test_a_full_disk_is_an_error_and_leaves_one_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "full.jsonl"
    append_result(path, negative("a"))
    code = """
import resource, signal, sys
from pathlib import Path
from amdet_hub.bench.results import append_result
from tests.bench.test_results import negative
path = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100,) * 2)
try:
    append_result(path, negative("b"))
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-B", "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "the line of 'b' was cut short\n"
    assert read_results(path) == StoredResults((negative("a"),), torn_lines=1)


def test_a_missing_file_is_an_error_unless_a_run_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"results: none\.jsonl does not exist"):
        read_results(tmp_path / "none.jsonl")
    assert read_results(tmp_path / "none.jsonl", missing_ok=True) == StoredResults(())
    with pytest.raises(ConfigError, match="cannot read"):
        read_results(tmp_path)


@pytest.mark.parametrize("line", ["<<<<<<< HEAD", "[]", "{}", '{"name": broken]}', "\x00"])
def test_a_line_that_is_neither_a_record_nor_a_torn_one_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "full.jsonl"
    append_result(path, negative("a"))
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(ReportError, match=r"full\.jsonl, line 2"):
        read_results(path)


def test_a_field_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    data = to_dict(positive("a", scan()))
    data["scans"][0]["verdict"] = "safe"
    path = tmp_path / "full.jsonl"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ReportError, match=r"line 1: .*verdict.*'safe'"):
        read_results(path)


finite = st.floats(allow_nan=False, allow_infinity=False)
rates = st.none() | st.floats(0, 1)


@settings(deadline=None, max_examples=60)
@given(
    score=finite,
    values=st.dictionaries(st.text(), finite, max_size=3),
    text=st.none() | st.text(),
    works=rates,
    rank=st.none() | st.integers(1, 10_000),
    triggers=st.lists(st.text(), max_size=3).map(tuple),
)
def test_round_trip(
    score: float,
    values: dict[str, float],
    text: str | None,
    works: float | None,
    rank: int | None,
    triggers: tuple[str, ...],
) -> None:
    found = scan(score, values=values, thresholds=values, trigger_text=text, trigger_works=works, target_rank=rank)
    model = positive("a", found, triggers=triggers, attack_success_rate=works)
    assert from_dict(ModelResult, json.loads(json.dumps(to_dict(model), allow_nan=False))) == model


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"score": math.nan}, "score is nan"),
        ({"values": {"sweep": math.inf}}, "sweep is inf"),
        ({"thresholds": {"sweep": math.inf}}, "thresholds: sweep is inf"),
        ({"seconds": -1.0}, "seconds is -1"),
        ({"trigger_works": 1.1}, "outside"),
        ({"target_rank": 0}, "ranks start at 1"),
    ],
)
def test_a_scan_is_valid_at_birth(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        scan(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "needs a name"),
        ({"label": "benign"}, "benign and cannot have a trigger"),
        ({"attack_success_rate": -0.1}, "outside"),
        ({"relative_change": math.nan}, "relative_change is nan"),
        ({"scans": (scan(1), scan(2))}, "two scans"),
    ],
)
def test_a_model_is_valid_at_birth(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        positive(**{"name": "a", **changes})


def test_scans_are_found_by_detector_and_reference() -> None:
    right, none = scan(1), scan(2, reference="none")
    model = positive("a", right, none)
    assert model.scan("standard", "right") is right
    assert model.scan("standard", "none") is none
    assert model.scan("paper", "right") is None
