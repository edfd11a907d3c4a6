"""The HTML report: what hostile text can do to it, and what a real browser makes of it."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from amdet_hub.report import as_html
from amdet_hub.report.html_figures import null_figure, thresholds_figure
from tests.report.examples import EXAMPLES, backdoored, clean, inconclusive
from tests.report.nasty import NASTY, poisoned
from tests.report.test_hostile import assert_plain

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
VOID = {"meta", "link", "rect", "line"}


class Structure(HTMLParser):
    """Every tag and attribute name in order, and what is open."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def structure(text: str) -> Structure:
    parser = Structure()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


@functools.cache
def allowed() -> set[tuple[str, tuple[str, ...]]]:
    return {entry for make in EXAMPLES.values() for entry in structure(as_html(make())).tags}


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("example", ["backdoored", "inconclusive"])
def test_hostile_text_adds_no_markup(example: str, name: str) -> None:
    text = as_html(poisoned(EXAMPLES[example](), NASTY[name]))
    assert_plain(text)
    assert set(structure(text).tags) <= allowed()
    assert len(text) < 200_000


def test_the_page_asks_for_nothing() -> None:
    for make in EXAMPLES.values():
        text = as_html(make())
        assert re.findall(r'(?:src|href|srcset|action|data)="([^"]*)"', text) == ["data:,"]
        assert "<script" not in text
        assert 'style="' not in text
        assert "default-src 'none'" in text
        assert "url(" not in text
        assert "@import" not in text


def test_first_screen_first() -> None:
    text = as_html(backdoored())
    order = [
        "Backdoor detected</strong>",
        "trigger-confirmed",
        "<th>trigger</th>",
        "ARMENIAN SMALL LETTER OH",
        "Scores against",
        "Evidence",
        "not cover",
    ]
    assert [text.index(word) for word in order] == sorted(text.index(word) for word in order)


def test_figures_show_what_was_measured() -> None:
    sweep = next(e for e in backdoored().results[0].evidence if e.kind == "vocabulary-sweep")
    figure = thresholds_figure([sweep])
    width, line = re.search(r'bar beyond" x="0.0" y="3" width="([\d.]+)"', figure), re.search(r'x1="([\d.]+)"', figure)
    assert width is not None
    assert line is not None
    assert float(width[1]) / float(line[1]) == pytest.approx(15.27 / 6, rel=0.01)
    assert "by chance: median 0.0137, MAD 0.412, largest 5.93" in null_figure(sweep)
    assert thresholds_figure([e for e in inconclusive().results[0].evidence if e.threshold == 0]) == ""


# ---------------------------------------------------------------- a real browser


class Proxy(http.server.BaseHTTPRequestHandler):
    """Every request that the browser makes goes through here; the page itself is the only thing it gets."""

    page = b""
    asked: list[str]  # of the page; a browser calls home by itself as well, always at its maker's
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self.note()
        body = self.page if self.path == "http://report.test/" else b""
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        self.note()
        self.send_response(403)
        self.end_headers()

    def note(self) -> None:
        host = urlsplit(self.path if "://" in self.path else f"//{self.path}").hostname or ""
        if not host.endswith((".google.com", ".googleapis.com", ".gvt1.com")):
            self.asked.append(self.path)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[tuple[type[Proxy], int]]:
    handler = type("Recording", (Proxy,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield handler, server.server_address[1]
        server.shutdown()
        thread.join()


def look(folder: Path, port: int, name: str, *flags: str, size: str = "1000,1400") -> tuple[Path, list[str]]:
    """A screenshot, and what the page said on the console."""
    shot = folder / f"{name}.png"
    quiet = (
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--disable-default-apps",
    )
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-dev-shm-usage",
        *quiet,
    ]
    command += [
        f"--proxy-server=127.0.0.1:{port}",
        "--proxy-bypass-list=<-loopback>",
        f"--user-data-dir={folder / 'profile'}",
    ]
    command += [
        f"--window-size={size}",
        f"--screenshot={shot}",
        "--enable-logging=stderr",
        *flags,
        "http://report.test/",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=folder, check=True)
    return shot, [line for line in done.stderr.split("\n") if "CONSOLE" in line]


@needs_browser
def test_in_a_browser(tmp_path: Path, proxy: tuple[type[Proxy], int]) -> None:
    handler, port = proxy
    handler.page = as_html(backdoored()).encode()
    light, console = look(tmp_path, port, "light")
    assert console == []
    dark, console = look(tmp_path, port, "dark", "--blink-settings=preferredColorScheme=0", size="420,1600")
    assert console == []
    assert set(handler.asked) == {"http://report.test/"}
    with Image.open(light) as bright, Image.open(dark) as dim:
        assert sum(bright.convert("RGB").getpixel((3, 3))) > 700  # type: ignore[arg-type]
        assert sum(dim.convert("RGB").getpixel((3, 3))) < 120  # type: ignore[arg-type]
        colors = bright.convert("RGB").getcolors(1 << 20) or []
        assert sum(n for n, color in colors if color == (179, 38, 30)) > 5_000  # the bars of the trigger, drawn


@needs_browser
def test_hostile_text_in_a_browser(tmp_path: Path, proxy: tuple[type[Proxy], int]) -> None:
    handler, port = proxy
    text = (
        '"><img src=http://evil.test/a.png><script>fetch("http://evil.test/b")</script><style>@import'
        " url(http://evil.test/c)</style>"
    )
    handler.page = as_html(poisoned(backdoored(), text)).encode()
    _, console = look(tmp_path, port, "hostile")
    assert console == []
    assert set(handler.asked) == {"http://report.test/"}
    handler.page = f"<p>{text}".encode()  # the same words unescaped and without the policy: this test can fail
    look(tmp_path, port, "unguarded")
    assert any("evil.test" in path for path in handler.asked)


def test_clean_page_names_no_trigger() -> None:
    assert "<th>trigger</th>" not in as_html(clean())
