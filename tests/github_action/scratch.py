"""A scratch git repository with the demonstration's encoders, plain or as pointers, and a stand-in for GitHub."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.demo_hub import FAST_TOML, files_of

CONFIG = ".github/amdet-hub.toml"


class Scratch:
    """A repository with one commit, of the clean reference and a README."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.put_model("reference", "base")
        self.write(CONFIG, b'max-memory = "8GB"\nmax-download = "2GB"\n' + FAST_TOML.encode())
        self.write("README.md", b"# Models\n")
        self.first = self.commit("start")

    def git(self, *words: str) -> str:
        environ = {
            **os.environ,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@example.org",
        }
        done = subprocess.run(
            ["git", *words], cwd=self.root, env=environ, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.strip()

    def write(self, path: str, content: bytes) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    def put_model(self, folder: str, name: str, *, lfs: bool = False, stored: bool = True) -> None:
        """One of the demonstration's encoders.

        With `lfs`, its weights are a pointer; with `stored`, the object is in git's own store.
        """
        for path, content in files_of(name).items():
            if lfs and path.endswith(".safetensors"):
                content = self.pointer(content, stored=stored)
            self.write(f"{folder}/{path}", content)

    def pointer(self, content: bytes, *, stored: bool = True) -> bytes:
        sha256 = hashlib.sha256(content).hexdigest()
        if stored:
            self.write(f".git/lfs/objects/{sha256[:2]}/{sha256[2:4]}/{sha256}", content)
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n".encode()

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


class FakeGitHub:
    """GitHub's comments of one repository, over HTTP. `seen` holds method, path and authorization of every request."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        self.seen: list[tuple[str, str, str]] = []
        self.url = ""
        self.status = 200


@contextmanager
def fake_github() -> Iterator[FakeGitHub]:
    """A server on loopback."""
    github = FakeGitHub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            github.seen.append((self.command, self.path, self.headers.get("Authorization", "")))
            data = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
            result: Any = {}
            if github.status == 200 and self.command == "POST":
                github.comments.append({"id": len(github.comments) + 1, "user": {"type": "Bot"}, "body": data["body"]})
            elif github.status == 200 and self.command == "PATCH":
                number = int(self.path.rpartition("/")[2])
                github.comments[number - 1]["body"] = data["body"]
            elif github.status == 200:
                page = int(self.path.rpartition("page=")[2])
                result = github.comments[(page - 1) * 100 : page * 100]
            body = json.dumps(result).encode()
            self.send_response(github.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = answer  # noqa: N815 the names that http.server calls

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        github.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield github
        finally:
            server.shutdown()
            thread.join()
