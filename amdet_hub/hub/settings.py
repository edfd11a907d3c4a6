"""How to reach the Hub, as whom, and within which limits. Standard library only; nothing here changes a verdict."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from amdet_hub.errors import ConfigError
from amdet_hub.installation import hub_home


@dataclass(frozen=True)
class HubSettings:
    """One way to reach a Hub. Valid at birth; its `repr` never shows the token.

    Attributes:
        endpoint: base URL of the Hub; None means `HF_ENDPOINT`, else the public Hub.
        token: access token; None means the one the Hub's client finds (environment, `hf auth login`), if any.
        cache_dir: the Hub's cache folder; None means the client's own.
        offline: use the cache only. Also on when `HF_HUB_OFFLINE` is set.
        timeout_s: how long the header of an answer, and each silence in its body, is waited for, in seconds. A
            question of several requests, retries among them, may wait ten times as long, a file longer by its size.
        max_download_bytes: most bytes that one repository may cost, files already in the cache aside; None means no
            limit.
        max_retries: how often a request that failed for a passing reason (no answer, 5xx) is tried again.

    Raises:
        ConfigError: a value is unusable.
    """

    endpoint: str | None = None
    token: str | None = field(default=None, repr=False)
    cache_dir: Path | None = None
    offline: bool = False
    timeout_s: float = 30.0
    max_download_bytes: int | None = None
    max_retries: int = 3

    def __post_init__(self) -> None:
        if self.endpoint is not None:
            object.__setattr__(self, "endpoint", _checked_endpoint(self.endpoint))
        if self.cache_dir is not None:
            object.__setattr__(self, "cache_dir", Path(os.path.abspath(self.cache_dir.expanduser())))
        token, limit, timeout_s = self.token, self.max_download_bytes, self.timeout_s
        for wrong, name, reason in (
            (
                token is not None and not (token and token.isascii() and token.isprintable() and " " not in token),
                "token",
                "it is empty or holds characters that no token has",
            ),
            (
                not math.isfinite(timeout_s) or timeout_s <= 0,
                "timeout",
                f"{timeout_s} is not a positive number of seconds",
            ),
            (limit is not None and limit < 0, "max-download", f"{limit} is negative"),
            (self.max_retries < 0, "max-retries", f"{self.max_retries} is negative"),
        ):
            if wrong:
                raise ConfigError(name, reason)


def own_cache(settings: HubSettings) -> Path:
    """The folder of our own cache, beside the Hub's: towers, reference features, results. The first write makes it.

    `AMDET_HUB_CACHE` names it; else `amdet-hub` inside `settings.cache_dir`, else inside `HF_HOME`
    (`~/.cache/huggingface`).
    """
    if named := os.environ.get("AMDET_HUB_CACHE"):
        return Path(os.path.abspath(Path(named).expanduser()))
    return (hub_home() if settings.cache_dir is None else settings.cache_dir) / "amdet-hub"


def _checked_endpoint(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError("endpoint", "it is not a URL") from error
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ConfigError("endpoint", "it must look like https://huggingface.co")
    if parts.username or parts.password:
        raise ConfigError("endpoint", "it may not carry a user name or password")
    return endpoint.rstrip("/")
