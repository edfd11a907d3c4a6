"""A served page on the demonstration's Hub, a service without a page, and a browser where there is one."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from amdet_hub.demo.run import BACKDOORED, BASE, FINETUNED
from amdet_hub.testing import LocalHub
from tests.web.browsing import resize

if TYPE_CHECKING:
    from amdet_hub.web.app import RunningSpace
    from amdet_hub.web.service import ScanService
    from amdet_hub.web.settings import SpaceSettings

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "0")
with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore"
    )  # what Gradio and its own dependencies say of one another at import is not ours to mend
    gradio = pytest.importorskip("gradio", reason="the extra 'space' is not installed")

BROWSER_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--force-prefers-reduced-motion",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
SECRET = "a-secret-of-the-tests"
MODELS = (BASE, FINETUNED, BACKDOORED)


@pytest.fixture(scope="session")
def hub_and_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SpaceSettings, LocalHub]]:
    """The demonstration's Hub, with a webhook secret and room for many visitors."""
    from amdet_hub.web.demo import demo_settings

    with demo_settings(tmp_path_factory.mktemp("space")) as (settings, hub):
        yield replace(settings, webhook_secret=SECRET, per_visitor=30), hub


@pytest.fixture(scope="session")
def served(hub_and_settings: tuple[SpaceSettings, LocalHub]) -> Iterator[RunningSpace]:
    """The page, served once for all tests of this process."""
    before = dict(os.environ)
    from amdet_hub.web.app import serve

    os.environ.clear()
    os.environ.update(
        before
    )  # what the app sets for a process of its own would reach every command that later tests of this one start

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        running = serve(hub_and_settings[0], host="127.0.0.1", port=0)
    yield running
    running.close()


@pytest.fixture
def service(hub_and_settings: tuple[SpaceSettings, LocalHub], tmp_path: Path) -> Iterator[ScanService]:
    """A service of its own, which has no earlier results."""
    from amdet_hub.web.service import ScanService

    made = ScanService(replace(hub_and_settings[0], data_dir=tmp_path))
    yield made
    made.close()


@contextmanager
def unscanned(service: ScanService, folder: Path) -> Iterator[ScanService]:
    """The service as if nothing had been scanned yet, with results of its own in `folder` and an empty board."""
    from amdet_hub.web.board import Board

    before = service.settings, service.board
    service.settings, service.board = replace(service.settings, data_dir=folder), Board()
    yield service
    service.settings, service.board = before


@pytest.fixture(scope="session")
def artifacts() -> Path | None:
    """Where screenshots are kept: the folder that AMDET_HUB_SCREENSHOTS names, if it does."""
    named = os.environ.get("AMDET_HUB_SCREENSHOTS")
    if not named:
        return None
    folder = Path(named)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _browsers() -> Iterator[Callable[..., Any]]:
    """`start(width, height, downloads=...)` -> a selenium driver that reaches loopback only; closes all at the end."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip(
            "chromium and chromedriver are not on this machine (tests/web/install_chromium.sh installs them where it"
            " can)"
        )
    opened: list[Any] = []

    def start(width: int = 1280, height: int = 1000, *, downloads: Path | None = None) -> Any:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*BROWSER_FLAGS, f"--window-size={width},{height}"):
            options.add_argument(flag)
        if downloads is not None:
            options.add_experimental_option(
                "prefs", {"download.default_directory": str(downloads), "download.prompt_for_download": False}
            )
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        resize(found, width, height)
        opened.append(found)
        return found

    yield start
    for one in opened:
        one.quit()


@pytest.fixture
def open_browser() -> Iterator[Callable[..., Any]]:
    """A browser of its own: `open_browser(width, height, downloads=...)`."""
    with _browsers() as start:
        yield start


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests of a module; each opens its own page with `tests.web.browsing.visit`."""
    with _browsers() as start:
        yield start()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings of Gradio's server about pandas and starlette are not ours to mend, and must not end its threads."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))
