"""The limits, keys and folders of one running Space. Standard library and `HubSettings` only.

Everything has a default that suits a small public Space; a variable of the same name in capitals with `AMDET_SPACE_`
before it changes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import gettempdir

from amdet_hub.errors import ConfigError
from amdet_hub.hub import HubSettings

# Offered on the page: the two whose running time suits a visitor who waits. The others are for the command line.
PRESETS = ("quick", "standard")


@dataclass(frozen=True)
class SpaceSettings:
    """One way to run the Space.

    Attributes:
        endpoint: base URL of the Hub; None means `HF_ENDPOINT`, else the public Hub.
        data_dir: where results and downloads are kept.
        seed: of every scan (the demonstration's, whose results are shipped); None takes that of this installation.
        reference: a target every scan is compared with (the demonstration's base); None lets the scan choose.
        max_download_bytes: most bytes that one repository may cost.
        budget_s: longest scan, in seconds; what is unfinished then makes it inconclusive.
        queue_size: scans that may wait; further visitors are asked to come back.
        per_visitor: scans that one visitor may have waiting or running at once.
        per_visitor_hour: scans that one visitor may start in an hour; trying a prompt counts as a tenth of one.
        examples: targets offered on the first page.
        board_repo: dataset that keeps the board, `""` for a board in memory only.
        board_token: writes the board. Never given to a scan.
        webhook_secret: shared secret of the webhook; `""` switches the webhook off.
        webhook_token: opens the pull requests that the webhook proposes.
        mcp_server: whether the named endpoints are MCP tools too, where the package `mcp` is installed.
        stand_in_token: acts for visitors who cannot sign in (the demonstration's Hub). Never set on a public
            Space.
        stand_in_name: the user whose token that is.
    """

    endpoint: str | None = None
    data_dir: Path = field(default_factory=lambda: Path(gettempdir()) / "amdet-hub-space")
    seed: int | None = None
    reference: str | None = None
    max_download_bytes: int = 4 << 30
    budget_s: float = 1200.0
    queue_size: int = 20
    per_visitor: int = 2
    per_visitor_hour: int = 12
    examples: tuple[str, ...] = ("openai/clip-vit-base-patch32", "stabilityai/sd-turbo")
    board_repo: str = ""
    board_token: str = field(default="", repr=False)
    webhook_secret: str = field(default="", repr=False)
    webhook_token: str = field(default="", repr=False)
    mcp_server: bool = True
    stand_in_token: str = field(default="", repr=False)
    stand_in_name: str = ""

    @property
    def on_hub(self) -> bool:
        """Whether this runs as a Space on the Hub, where visitors can sign in."""
        return bool(os.environ.get("SPACE_ID"))

    def hub(self, token: str | None = None) -> HubSettings:
        """How to reach the Hub: as the visitor whose `token` it is, else without a token."""
        return HubSettings(
            endpoint=self.endpoint,
            token=token,
            cache_dir=self.data_dir / "downloads",
            max_download_bytes=self.max_download_bytes,
        )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> SpaceSettings:
        """The settings that the environment asks for. Raises: ConfigError when a number or a switch is none."""
        environ = os.environ if environ is None else environ
        found: dict[str, object] = {}
        for name, kind in _VARIABLES.items():
            text = environ.get(f"AMDET_SPACE_{name.upper()}", "").strip()
            if text:
                try:
                    found[name] = kind(text)
                except ValueError as error:
                    wanted = "yes or no" if kind is _switch else "a number"
                    raise ConfigError(f"AMDET_SPACE_{name.upper()}", f"'{text}' is not {wanted}") from error
        return replace(cls(), **found)  # type: ignore[arg-type]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _switch(text: str) -> bool:
    word = text.lower()
    if word not in ("1", "0", "true", "false", "yes", "no", "on", "off"):
        raise ValueError(text)
    return word in ("1", "true", "yes", "on")


_VARIABLES: Mapping[str, Callable[[str], object]] = {
    "endpoint": str,
    "data_dir": Path,
    "reference": str,
    "max_download_bytes": int,
    "budget_s": float,
    "queue_size": int,
    "per_visitor": int,
    "per_visitor_hour": int,
    "examples": _words,
    "board_repo": str,
    "board_token": str,
    "webhook_secret": str,
    "webhook_token": str,
    "mcp_server": _switch,
}
