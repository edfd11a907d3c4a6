"""A local Hub and tiny encoders, for our tests and for other people's.

Everything is imported on first use. `LocalHub` (see `amdet_hub.testing.local_hub` for a fixture to copy) needs no
torch; the `tiny_*` functions (see `amdet_hub.testing.models`) do.
"""

from typing import TYPE_CHECKING

from amdet_hub._lazy import loader

if TYPE_CHECKING:
    from amdet_hub.testing.local_hub import LocalHub, LocalPullRequest, LoggedRequest
    from amdet_hub.testing.models import tiny_clip, tiny_pipeline, tiny_siglip

__all__ = ["LocalHub", "LocalPullRequest", "LoggedRequest", "tiny_clip", "tiny_pipeline", "tiny_siglip"]


__getattr__ = loader(__name__, {name: "models" if name.startswith("tiny") else "local_hub" for name in __all__})
