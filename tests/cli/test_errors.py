from __future__ import annotations

import inspect

import pytest

from amdet_hub import errors
from amdet_hub.cli._errors import TABLE, explain, report_error
from amdet_hub.cli._exit_codes import worst
from amdet_hub.model_card.publish import PushRefused
from tests.report import examples

EVERY_CLASS = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.AmdetError)]

CASES: list[tuple[errors.AmdetError, int, tuple[str, ...]]] = [
    (errors.AmdetError("odd"), 2, ("odd", "AMDET_HUB_DEBUG=1")),
    (errors.TargetError("gpt 2", "has a space"), 2, ("gpt 2", "has a space", "org/model@revision")),
    (errors.ConfigError("--seed", "is negative"), 2, ("--seed", "--help")),
    (errors.HubError("something"), 2, ("something", "amdet-hub doctor")),
    (errors.RepoNotFound("org/m", token_sent=False), 2, ("org/m", "hf auth login", "HF_TOKEN")),
    (errors.RepoNotFound("org/m", token_sent=True), 2, ("org/m", "your token does not open it", "hf auth whoami")),
    (errors.RepoGated("org/m", terms_url="https://hub/org/m"), 2, ("gated", "https://hub/org/m", "hf auth login")),
    (errors.RevisionNotFound("org/m", "v9", endpoint="http://h/"), 2, ("v9", "http://h/org/m/commits/main")),
    (errors.FileNotInRepo("org/m", "a.json"), 2, ("a.json", "amdet-hub resolve org/m")),
    (errors.AccessDenied("open a pull request", status=401), 2, ("open a pull request", "hf auth login")),
    (
        errors.AccessDenied("open a pull request", status=403, endpoint="http://h"),
        2,
        ("403", "http://h/settings/tokens"),
    ),
    (errors.RateLimited(retry_after_s=7), 2, ("429", "Wait 7 seconds")),
    (errors.RateLimited(retry_after_s=None), 2, ("429", "Wait a few minutes")),
    (errors.HubUnavailable("no route"), 2, ("no route", "amdet-hub doctor", "--offline")),
    (errors.OfflineMiss("org/m", "config.json"), 2, ("config.json", "without --offline")),
    (
        errors.DownloadCorrupt("org/m", "m.safetensors", expected="a", actual="b"),
        2,
        ("damaged", "Nothing of it was kept"),
    ),
    (errors.CommitConflict("org/m", parent_commit="a" * 40), 2, ("aaaaaaaaaaaa", "run the same command again")),
    (errors.PullRequestClosed("org/m", number=4, endpoint="http://h"), 2, ("#4", "http://h/org/m/discussions/4")),
    (
        errors.ResourceError("disk", "too little space", needed=2e9, available=1e6),
        2,
        ("Needed 2.0 GB, there is 1.0 MB", "--cache-dir"),
    ),
    (errors.ResourceError("memory", "does not fit"), 2, ("does not fit", "--device cpu")),
    (errors.ResourceError("time", "too long"), 2, ("--timeout",)),
    (errors.OutputError("a.json", "it is a directory"), 2, ("a.json", "-o FORMAT=PATH")),
    (errors.NothingToScan("org/m", ("T5EncoderModel",)), 3, ("T5EncoderModel", "CLIP and SigLIP", "--subfolder")),
    (
        errors.NothingToScan("org/m", ("pytorch_model.bin",), pickle_only=True),
        3,
        ("pytorch_model.bin", "safetensors", "can run code"),
    ),
    (errors.BadRepository("config.json", "is not JSON"), 2, ("config.json", "is not JSON", "owner")),
    (errors.BadWeights("m.safetensors", "a.weight", "holds NaN"), 2, ("a.weight", "holds NaN", "No verdict")),
    (errors.CardError("two begin markers"), 2, ("two begin markers", "one pair of amdet-hub markers")),
    (
        PushRefused("the report is of a local folder"),
        2,
        ("local folder", "amdet-hub scan org/model -o json=report.json"),
    ),
    (errors.ReportError("not JSON"), 2, ("not JSON", "amdet-hub scan -o json=PATH")),
    (errors.ShapeError("hidden: (1, 2)"), 2, ("hidden", "please report it")),
    (errors.BackdoorDetected("org/m", examples.backdoored(), "cache"), 1, ("org/m", "(cache)", "Do not load it")),
    (errors.NotCleared("org/m", "it was not scanned"), 3, ("org/m", "was not scanned", "amdet-hub scan")),
    (errors.Interrupted(), 130, ("interrupted", "Run the same command again")),
]


@pytest.mark.parametrize("cls", EVERY_CLASS, ids=lambda c: c.__name__)
def test_every_error_class_has_its_own_row_and_a_case(cls: type[errors.AmdetError]) -> None:
    assert cls in TABLE
    assert any(type(error) is cls for error, _, _ in CASES)


@pytest.mark.parametrize(
    ("error", "code", "words"), CASES, ids=lambda v: type(v).__name__ if isinstance(v, Exception) else ""
)
def test_words_and_exit_code(error: errors.AmdetError, code: int, words: tuple[str, ...]) -> None:
    found, text = explain(error)
    assert found == code
    assert [word for word in words if word not in text] == []
    assert len(text.splitlines()) == 2
    assert text.startswith("Error: ")


def test_a_subclass_made_elsewhere_gets_its_bases_row() -> None:
    class Odd(errors.RateLimited):
        pass

    assert "Wait 3 seconds" in explain(Odd(retry_after_s=3))[1]


def test_repository_text_cannot_reach_the_terminal() -> None:
    code, text = explain(errors.BadRepository("a\x1b[2Jb\u202e.json", "line\nbreak"))
    assert code == 2
    assert all(line.isprintable() for line in text.splitlines())
    assert len(text.splitlines()) == 2


def test_a_command_in_advice_is_quoted() -> None:
    assert "amdet-hub resolve 'a; rm -rf b'" in explain(errors.FileNotInRepo("a; rm -rf b", "x"))[1]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_a_full_machine_is_no_defect(error: BaseException) -> None:
    code, text = explain(error)
    assert code == 2
    assert "please report" not in text


def test_torch_out_of_memory_is_known_by_name() -> None:
    import torch

    assert "ran out of memory" in explain(torch.OutOfMemoryError("CUDA out of memory"))[1]


def test_anything_else_is_ours_to_hear_of() -> None:
    code, text = explain(KeyError("hf_abcdefghijk\x07"))
    assert code == 2
    assert text.startswith("Error: unexpected KeyError")
    assert "please report" in text
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
