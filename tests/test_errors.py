"""Errors travel between processes: one raised in a worker must arrive as itself, not break the pool."""

from __future__ import annotations

import pickle

import pytest

from amdet_hub import errors
from amdet_hub.errors import (
    AccessDenied,
    AmdetError,
    BadWeights,
    ConfigError,
    FileChanged,
    FileNotInRepo,
    Interrupted,
    RateLimited,
    RepoGated,
    RepoNotFound,
)


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("captions", "hold no groups"),
        RepoNotFound("org/model", token_sent=True, endpoint="http://127.0.0.1"),
        RepoGated("org/model", terms_url="http://127.0.0.1/terms"),
        AccessDenied("open a pull request", status=403),
        RateLimited(retry_after_s=3.0),
        BadWeights("model.safetensors", "layer.0", "not finite"),
        FileChanged("model.safetensors"),
        Interrupted(None),
        AmdetError("plain"),
    ],
)
def test_an_error_survives_the_way_to_another_process(error: AmdetError) -> None:
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)
    assert arrived.args == error.args


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x1b[2J", "a\\x1b[2J"),
        ("a\r\n::error::pwned", "a\\r\\n:\\x3aerror::pwned"),
        ("::add-mask::x", ":\\x3aadd-mask::x"),
        ("::error file=a,line=1::x", ":\\x3aerror file=a,line=1::x"),
        ("##[error]x", "#\\x23[error]x"),
        ("\u202e\u200b\ud800\x9b", "\\u202e\\u200b\\ud800\\x9b"),
        ("http://[::1]:80/a::b", "http://[::1]:80/a::b"),
        ("größe 模型 \U0001f600", "größe 模型 \U0001f600"),
    ],
)
def test_a_name_in_a_message_can_do_nothing(name: str, shown: str) -> None:
    error = FileNotInRepo("org/m", name)
    assert str(error) == f"'org/m' has no file '{shown}'"
    assert error.path == name
    assert str(AmdetError(str(error))) == str(error)
    arrived = pickle.loads(pickle.dumps(error))
    assert (str(arrived), arrived.path) == (str(error), name)


def test_every_error_is_ours() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    assert all(issubclass(c, AmdetError) for c in classes)
