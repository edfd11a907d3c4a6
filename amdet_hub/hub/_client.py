"""The Hub's client under our rules: requests have a time limit, waits and errors are ours.

Left alone, the client waits without limit for an answer, sleeps through a `Retry-After` of any length, and tries five
times with pauses of its own. Inside `ask`, hooks on its session and on its sockets hold every request to the limits of
`_exchange`, end an attempt at once on 429, on 5xx and when a request is repeated after no answer, and leave the
decision to the one loop here. Outside `ask` the session behaves as it always does.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, constants, get_session
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported by name only at run time
from tqdm import tqdm

from amdet_hub import __version__
from amdet_hub.errors import DownloadCorrupt, HubUnavailable, OfflineMiss, RateLimited
from amdet_hub.hub._errors import Question, status_error, translate
from amdet_hub.hub._exchange import Exchange, current
from amdet_hub.hub._sockets import hold_sockets
from amdet_hub.hub.settings import HubSettings
from amdet_hub.hub.time_limit import time_left_s

if os.environ.get("HF_HUB_DISABLE_TELEMETRY", "").upper() in constants.ENV_VARS_TRUE_VALUES:
    # The package's `__init__` sets the variable, which comes too late where the client was imported before us.
    constants.HF_HUB_DISABLE_TELEMETRY = True

T = TypeVar("T")

# How our requests name themselves, with the version.
LIBRARY_NAME = "amdet-hub"

# A `Retry-After` up to this is waited for, once; a longer one is the user's to decide about.
MAX_RATE_LIMIT_WAIT_S = 5.0

# Pause before the second attempt; doubled before each further one.
FIRST_PAUSE_S = 0.5

MAX_PAUSE_S = 4.0


def _is_for_people(record: logging.LogRecord) -> bool:
    """Drops the client's own warnings about our attempts: they show signed addresses, and our errors say the same."""
    return current.get() is None or record.levelno >= logging.ERROR


for _handler in logging.getLogger("huggingface_hub").handlers:
    _handler.addFilter(_is_for_people)


def endpoint_of(settings: HubSettings) -> str:
    """The base URL that `settings` mean, without a slash at its end."""
    return settings.endpoint or constants.ENDPOINT.rstrip("/")


def cache_of(settings: HubSettings) -> Path:
    """The Hub cache that `settings` mean."""
    return settings.cache_dir or Path(constants.HF_HUB_CACHE).expanduser()


def is_offline(settings: HubSettings) -> bool:
    """Whether the network must not be used."""
    return settings.offline or bool(constants.is_offline_mode())


def prepare(action: str, settings: HubSettings, *, name: str | None = None, **asked: Any) -> tuple[HfApi, Question]:
    """The client, and the question `action` for the words of an error; `asked` are fields of the question.

    Raises:
        OfflineMiss: offline.
    """
    question = Question(action, endpoint_of(settings), name, **asked)
    if is_offline(settings):
        raise OfflineMiss(question.name, "the Hub's answer")
    api = HfApi(
        endpoint=question.endpoint, token=settings.token, library_name=LIBRARY_NAME, library_version=__version__
    )
    return api, question


def ask(question: Question, settings: HubSettings, request: Callable[[], T], *, writes: bool = False) -> T:
    """The result of `request`, which uses the client; tried again after a passing failure, with a pause that grows.

    Args:
        question: what is asked, for the words of an error.
        settings: time limit and number of retries.
        request: called once for each attempt; must be safe to repeat unless it writes.
        writes: never repeat it, because an answer that got lost may have been a yes.

    Raises:
        RateLimited: 429, and the server names no short wait, or has done so already.
        HubUnavailable: no answer, or 5xx, after every attempt.
        DownloadCorrupt: a body that ended early, after every attempt.
        HubError: any other refusal.
        ResourceError: the disk is full or cannot be written.
        TimeSpent: the scan's time budget ended first.
    """
    retries, pause_s, waited = 0 if writes else settings.max_retries, FIRST_PAUSE_S, False
    exchange = Exchange(question, settings.timeout_s)
    while True:
        time_left_s()
        try:
            with _under_way(exchange):
                return request()
        # every error of the client is translated here, and any other is raised again
        except Exception as error:
            known = translate(error, question)
            if known is None:
                raise
            if (
                isinstance(known, RateLimited)
                and not waited
                and known.retry_after_s is not None
                and known.retry_after_s <= MAX_RATE_LIMIT_WAIT_S
            ):
                waited, wait_s = True, known.retry_after_s
            # What may be gone at the next attempt: no answer, an ailing server, a body that ended early. A wrong hash
            # is found later, not here.
            elif isinstance(known, HubUnavailable | DownloadCorrupt) and retries > 0 and not exchange.spent:
                retries, wait_s, pause_s = retries - 1, pause_s, min(2 * pause_s, MAX_PAUSE_S)
            elif known is error:
                raise
            else:
                raise known from error
        time.sleep(min(wait_s, time_left_s()))


@contextlib.contextmanager
def _under_way(exchange: Exchange) -> Iterator[None]:
    session = get_session()
    hold_sockets(session)
    hooks = session.event_hooks
    for kind, hook in (("request", _on_request), ("response", _on_response)):
        if hook not in hooks[kind]:  # the session is shared and may have been replaced since the last time
            hooks[kind].append(hook)
    exchange.unanswered = None
    token = current.set(exchange)
    try:
        yield
    finally:
        exchange.came()
        current.reset(token)


def _on_request(request: httpx.Request) -> None:
    exchange = current.get()
    if exchange is None:
        return
    request.extensions["timeout"] = httpx.Timeout(exchange.timeout_s).as_dict()
    this = (request.method, str(request.url))
    if exchange.unanswered == this:  # the client tries again by itself; it would do so for half a minute
        raise HubUnavailable(f"{request.url.host} does not answer", **exchange.question.place)
    exchange.unanswered = this
    exchange.count_request()
    request.headers["accept-encoding"] = "identity"


def _on_response(response: httpx.Response) -> None:
    exchange = current.get()
    if exchange is None:
        return
    if (error := status_error(response.status_code, response.headers, exchange.question)) is not None:
        raise error
    exchange.check(response)


def silent_progress(callback: Callable[[int], None]) -> type[Any]:
    """A `tqdm` class that draws nothing and calls `callback` with the bytes so far; for the client's `tqdm_class`."""

    class SilentProgress(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs["disable"] = True
            super().__init__(*args, **kwargs)
            self.n = kwargs.get("initial") or 0

        def update(self, n: float | None = 1) -> bool | None:
            self.n += n or 0
            callback(int(self.n))
            return None

    return SilentProgress
