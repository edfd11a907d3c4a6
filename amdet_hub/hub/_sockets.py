"""The sockets of the Hub's client, held to the limits of the exchange under way.

The HTTP library takes time limits for single reads and writes only, and its events and hooks cannot end a read. The
one place where all bytes pass, those of a header and of `100 Continue` among them, is the network backend of its
connection pool. Its transports have such a pool under a private name; a transport of another make has none, and is
held to its limits where the pieces of a body come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from amdet_hub.errors import HubUnavailable
from amdet_hub.hub._errors import one_line
from amdet_hub.hub._exchange import current

T = TypeVar("T")
_lock = threading.Lock()
_TICK_S = 0.5  # how often a wait looks whether it was ended meanwhile


def hold_sockets(session: Any) -> None:
    """Hold every connection that the session makes from now on to the limits of the exchange that uses it."""
    for transport in (session._transport, *session._mounts.values()):
        pool = getattr(transport, "_pool", None)
        with _lock:
            backend = getattr(pool, "_network_backend", None)
            if pool is None or backend is None or isinstance(backend, _Backend):
                continue
            pool._network_backend = _Backend(backend)
        for connection in pool.connections:
            if connection.is_idle():  # made before, and not held
                connection.close()


class _Held:
    """What delegates all else to what it holds."""

    def __init__(self, held: Any) -> None:
        self._held = held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held, name)


class _Backend(_Held):
    """Makes connections."""

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **more: Any) -> _Stream:
        """A connection to `host`. Raises: HubUnavailable; TimeSpent."""
        return _Stream(_connected(lambda limit: self._held.connect_tcp(host, port, timeout=limit, **more), timeout))


class _Stream(_Held):
    """One connection."""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Bytes as they come. Raises: HubUnavailable; TimeSpent."""
        if (exchange := current.get()) is None:
            return bytes(self._held.read(max_bytes, timeout))
        while True:
            try:
                return bytes(self._held.read(max_bytes, min(exchange.left_s(), _TICK_S)))
            except Exception as error:
                if type(error).__name__ != "ReadTimeout":  # of one of two HTTP libraries, neither of which we import
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes; an answer is waited for from now on. Raises: a time limit of the HTTP library."""
        self._held.write(buffer, timeout)
        if (exchange := current.get()) is not None:
            exchange.wait(exchange.timeout_s)

    def start_tls(self, *, timeout: float | None = None, **more: Any) -> _Stream:
        """The connection, encrypted. Raises: HubUnavailable; TimeSpent."""
        return _Stream(_connected(lambda limit: self._held.start_tls(timeout=limit, **more), timeout))


def _connected(call: Callable[[float | None], T], timeout: float | None) -> T:
    """The result of `call`, which gets the seconds that are left.

    After an error that it knows, the client would make a new session without our hooks.
    """
    if (exchange := current.get()) is None:
        return call(timeout)
    try:
        return call(exchange.left_s())
    except HubUnavailable:
        raise
    except Exception as error:
        exchange.left_s()  # says so where it was the limit
        raise HubUnavailable(one_line(str(error)) or type(error).__name__, **exchange.question.place) from error
