from __future__ import annotations

import inspect
import re

import pytest

from amdet_hub import errors
from amdet_hub.cli._exit_codes import explain, report_error, worst
from amdet_hub.report import advice
from tests.report import examples

EVERY_CLASS = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.AmdetError)]

CASES: list[tuple[errors.AmdetError, int, tuple[str, ...]]] = [
    (errors.AmdetError("odd"), 2, ("odd", "AMDET_HUB_DEBUG=1")),
    (errors.TargetError("gpt 2", "has a space"), 2, ("gpt 2", "has a space", "org/model@revision")),
    (errors.ConfigError("--seed", "is negative"), 2, ("--seed", "--help")),
    (errors.HubError("something"), 2, ("something", "amdet-hub doctor")),
    (errors.RepoNotFound("org/m", token_sent=False), 2, ("org/m", "hf auth login", "HF_TOKEN")),
    (errors.RepoNotFound("org/m", token_sent=True), 2, ("org/m", "hf auth whoami")),
    (errors.RepoGated("org/m", terms_url="https://hub/org/m"), 2, ("https://hub/org/m", "hf auth login")),
    (errors.RevisionNotFound("org/m", "v9", endpoint="http://h/"), 2, ("v9", "http://h/org/m/commits/main")),
    (errors.FileNotInRepo("org/m", "a.json"), 2, ("a.json", "amdet-hub resolve org/m")),
    (errors.AccessDenied("open a pull request", status=401), 2, ("open a pull request", "hf auth login")),
    (errors.AccessDenied("open a pull request", status=403, endpoint="http://h"), 2, ("http://h/settings/tokens",)),
    (errors.RateLimited(retry_after_s=7), 2, ("429", "7 seconds")),
    (errors.RateLimited(retry_after_s=None), 2, ("429",)),
    (errors.HubUnavailable("no route"), 2, ("no route", "amdet-hub doctor", "--offline")),
    (errors.OfflineMiss("org/m", "config.json"), 2, ("config.json", "--offline")),
    (errors.DownloadCorrupt("org/m", "m.safetensors", expected="a", actual="b"), 2, ("org/m", "m.safetensors")),
    (errors.CommitConflict("org/m", parent_commit="a" * 40), 2, ("aaaaaaaaaaaa",)),
    (errors.PullRequestClosed("org/m", number=4, endpoint="http://h"), 2, ("#4", "http://h/org/m/discussions/4")),
    (errors.ResourceError("disk", "too little", needed=2e9, available=1e6), 2, ("2.0 GB", "1.0 MB", "--cache-dir")),
    (errors.ResourceError("memory", "does not fit"), 2, ("does not fit", "--device cpu")),
    (errors.ResourceError("time", "too long"), 2, ("--timeout",)),
    (errors.OutputError("a.json", "it is a directory"), 2, ("a.json", "-o FORMAT=PATH")),
    (errors.BadRepository("config.json", "is not JSON"), 2, ("config.json", "is not JSON")),
    (errors.BadWeights("m.safetensors", "a.weight", "holds NaN"), 2, ("a.weight", "holds NaN")),
    (errors.FileChanged("m.safetensors"), 2, ("m.safetensors", "Scan it again")),
    (errors.CardError("two begin markers"), 2, ("two begin markers",)),
    (errors.PushRefused("the report is of a local folder"), 2, ("amdet-hub scan org/model -o json=report.json",)),
    (errors.ReportError("not JSON"), 2, ("not JSON",)),
    (errors.ShapeError("hidden: (1, 2)"), 2, ("hidden",)),
    (errors.BackdoorDetected("org/m", examples.backdoored(), "cache"), 1, ("org/m", "amdet-hub scan")),
    (errors.NotCleared("org/m", "it was not scanned"), 3, ("org/m", "amdet-hub scan")),
    (errors.Interrupted(), 130, ()),
]


@pytest.mark.parametrize("cls", EVERY_CLASS, ids=lambda c: c.__name__)
def test_every_error_class_has_its_own_row_and_a_case(cls: type[errors.AmdetError]) -> None:
    assert cls in advice.TABLE
    assert any(type(error) is cls for error, _, _ in CASES)


@pytest.mark.parametrize(
    ("error", "code", "facts"), CASES, ids=lambda v: type(v).__name__ if isinstance(v, Exception) else ""
)
def test_two_lines_with_the_code_the_facts_and_the_next_step(
    error: errors.AmdetError, code: int, facts: tuple[str, ...]
) -> None:
    found, text = explain(error)
    first, *rest = text.splitlines()
    assert found == code
    assert first.startswith("Error: ")
    assert first.endswith(f" [{error.code}]")
    assert len(rest) == 1
    assert rest[0].endswith(".")
    assert [fact for fact in facts if fact not in text] == []


FLAG = re.compile(r"(?<!\S)`?--?[a-z]|`amdet-hub ")


@pytest.mark.parametrize("error", [error for error, _, _ in CASES], ids=lambda e: type(e).__name__)
def test_a_place_without_flags_hears_of_none(error: errors.AmdetError) -> None:
    found = advice.explain(error)
    assert found.code == error.code
    assert not FLAG.search(found.advice)


def test_a_subclass_without_a_row_takes_its_bases() -> None:
    class Odd(errors.RateLimited):
        pass

    assert "3 seconds" in explain(Odd(retry_after_s=3))[1]


def test_hostile_text_stays_on_its_line() -> None:
    code, text = explain(errors.BadRepository("a\x1b[2Jb\u202e.json", "line\nbreak"))
    assert code == 2
    assert all(line.isprintable() for line in text.splitlines())
    assert len(text.splitlines()) == 2


def test_a_command_in_advice_is_quoted() -> None:
    assert "amdet-hub resolve 'a; rm -rf b'" in explain(errors.FileNotInRepo("a; rm -rf b", "x"))[1]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(28, "No space left on device"), "resource-error"),
        (MemoryError(), "resource-error"),
        (FileNotFoundError(2, "No such file or directory", "a.jsonl"), "config-error"),
        (KeyError("x"), "unexpected-error"),
        (OSError(110, "Connection timed out"), "unexpected-error"),
    ],
)
def test_other_exceptions_have_a_code_too(error: BaseException, code: str) -> None:
    exit_code, text = explain(error)
    assert exit_code == 2
    assert text.splitlines()[0].endswith(f" [{code}]")


def test_torch_out_of_memory_is_known_by_name() -> None:
    import torch

    assert "[resource-error]" in explain(torch.OutOfMemoryError("CUDA out of memory"))[1]


def test_an_unexpected_error_keeps_tokens_and_control_characters_to_itself() -> None:
    text = explain(KeyError("hf_abcdefghijk\x07"))[1]
    assert "KeyError" in text
    assert "abcdefghijk" not in text
    assert "\x07" not in text


def test_traceback_only_when_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    report_error(ValueError("x"))
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("AMDET_HUB_DEBUG", "1")
    try:
        raise ValueError("x")
    except ValueError as error:
        report_error(error)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("codes", "expected"), [([], 0), ([0, 3], 3), ([3, 2], 2), ([2, 1, 0], 1), ([0, 0], 0), ([1, 3], 1)]
)
def test_worst(codes: list[int], expected: int) -> None:
    assert worst(codes) == expected
