"""A reference's features of the sweep, stored on this disk between scans.

`amdet_hub.detect.search.sweep` says which features they are, `amdet_hub.hub.cache` where they lie.
"""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from amdet_hub.hub import HubSettings, own_cache
from amdet_hub.hub.cache import limit_bytes, store, touch

_NAME = "features"


class FeatureCache:
    """The features of one reference. Implements `amdet_hub.detect.context.FeatureStore`.

    Args:
        settings: where the cache is.
        tower_digest: of the reference, "sha256:..." or hex; other weights are another reference.
    """

    def __init__(self, settings: HubSettings, tower_digest: str) -> None:
        self._settings, self._digest = settings, tower_digest.rpartition(":")[2]

    def load(self, key: str) -> Tensor | None:
        """See `FeatureStore.load`. A file that cannot be read is removed, and made again by this scan."""
        if limit_bytes() == 0:
            return None
        place = own_cache(self._settings) / "references" / self._name(key)
        try:
            features: Tensor = load_file(place)[_NAME]
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError):
            place.unlink(missing_ok=True)
            return None
        touch(place)
        return features

    def save(self, key: str, features: Tensor) -> None:
        """See `FeatureStore.save`."""

        def write(draft: Path) -> None:
            # Not `save_file`, which raises an error of its own where the disk is full.
            draft.write_bytes(save({_NAME: features.contiguous()}, {"tower": self._digest, "question": key}))

        store(self._settings, "references", self._name(key), write)

    def _name(self, key: str) -> str:
        return f"{self._digest[:32]}/{key[:32]}.safetensors"
