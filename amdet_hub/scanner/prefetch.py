"""The next target's weights, fetched while this one is scanned. Fetches files and nothing else; imports no torch.

What goes wrong here is not said: the scan of that target meets it again and says it. One target is fetched at a time.
"""

import logging
import threading
from contextlib import AbstractContextManager

from amdet_hub.encoders.transfer import fetch_file
from amdet_hub.errors import AmdetError
from amdet_hub.records import RepoRef, RepoSource, ResolvedEncoder
from amdet_hub.scanner.references import ChosenReference
from amdet_hub.scanner.scanner import Scanner
from amdet_hub.scanner.transfer import transferred_whole

_LOG = logging.getLogger(__name__)
_PATIENCE_S = 5.0  # how long `close` waits for a request under way


class Prefetcher(AbstractContextManager["Prefetcher"]):
    """Fetches in one background thread; a context manager that stops it.

    Args:
        scanner: whose targets are fetched ahead; its `hub.max_download_bytes` holds here too.
    """

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, ref: RepoRef) -> None:
        """Begin to fetch a target, unless one is still being fetched.

        Local targets and offline settings need nothing.
        """
        busy = self._thread is not None and self._thread.is_alive()
        if not busy and ref.kind == "hub" and not self._scanner.hub.offline:
            self._thread = threading.Thread(target=self._fetch, args=(ref,), name="amdet-hub-prefetch", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop between two answers of the server, and wait for it a moment. What came is kept."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)

    def wait(self) -> None:
        """Until what was begun is here or failed."""
        if self._thread is not None:
            self._thread.join()

    def __exit__(self, *error: object) -> None:
        self.close()

    def _fetch(self, ref: RepoRef) -> None:
        try:
            for pair in self._scanner.resolve(ref).pairs:
                self._fetch_tower(pair.suspect, pair.source, pair.reference)
                if (base := pair.lora_base) is not None:
                    self._fetch_tower(base.encoder, base.source, pair.reference)
        except _Stopped:
            pass
        except AmdetError as error:
            _LOG.info("fetching %s ahead failed: %s", ref.raw, type(error).__name__)

    def _fetch_tower(self, encoder: ResolvedEncoder, source: RepoSource, reference: ChosenReference) -> None:
        whole, _ = transferred_whole(encoder, reference)
        for file in encoder.weight_files:
            fetch_file(encoder, source, file, self._tick, whole_files=whole)

    def _tick(self, stage: str, done: int, total: int) -> None:
        if self._stop.is_set():
            raise _Stopped


class _Stopped(Exception):
    """The scans are over."""
