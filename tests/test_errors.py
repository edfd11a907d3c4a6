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


def test_every_error_is_ours() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    assert all(issubclass(c, AmdetError) for c in classes)
