"""The clean encoders that several scans share: each is loaded once.

Knows towers in memory; refuses to know how they are chosen.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from amdet_hub.records import ResolvedEncoder

if TYPE_CHECKING:
    from amdet_hub.encoders.load import LoadedTower

_MOST = 2  # towers kept: a pipeline has two; the largest real one takes 2.8 GB


class SharedReferences:
    """References by what they are, the last two that were used. `n_loaded` counts what had to be loaded."""

    def __init__(self) -> None:
        self._towers: OrderedDict[tuple[ResolvedEncoder, bool], LoadedTower] = OrderedDict()
        self.n_loaded = 0

    def get(self, encoder: ResolvedEncoder, *, whole_files: bool, load: Callable[[], LoadedTower]) -> LoadedTower:
        """The tower of a pinned encoder, loaded with `load` unless it is here.

        A local folder is not pinned, and is loaded each time.
        """
        key = (encoder, whole_files)
        tower = self._towers.pop(key, None)
        if tower is None:
            tower = load()
            self.n_loaded += 1
        if encoder.commit_sha is not None:
            self._towers[key] = tower
            while len(self._towers) > _MOST:
                self._towers.popitem(last=False)
        return tower
