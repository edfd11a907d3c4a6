from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from amdet_hub.errors import TargetError
from amdet_hub.hub import is_repo_id, parse_target
from amdet_hub.records import RepoRef

SHA = "0123456789abcdef0123456789abcdef01234567"

UNDERSTOOD = {
    "org/model": ("org/model", None, "", None),
    "gpt2": ("gpt2", None, "", None),
    "org/model@v1.0": ("org/model", "v1.0", "", None),
    "org/model@refs/pr/3": ("org/model", "refs/pr/3", "", None),
    f"org/model@{SHA}": ("org/model", SHA, "", None),
    "hf://org/model": ("org/model", None, "", None),
    "hf://gpt2": ("gpt2", None, "", None),
    "hf://gpt2@main": ("gpt2", "main", "", None),
    "hf://models/org/model@dev/text_encoder": ("org/model", "dev", "text_encoder", None),
    "hf://org/model@refs/pr/12/a/b": ("org/model", "refs/pr/12", "a/b", None),
    "hf://org/model/text_encoder/model.safetensors": ("org/model", None, "", "text_encoder/model.safetensors"),
    "https://huggingface.co/org/model": ("org/model", None, "", None),
    "huggingface.co/org/model": ("org/model", None, "", None),
    "https://hf.co/org/model/tree/main/text_encoder_2": ("org/model", "main", "text_encoder_2", None),
    "https://huggingface.co/org/model/tree/feature%2Fx": ("org/model", "feature/x", "", None),
    "https://huggingface.co/org/model/blob/main/model.safetensors?x=1#L3": (
        "org/model",
        "main",
        "",
        "model.safetensors",
    ),
    "https://huggingface.co/org/model/resolve/v1/te/model.fp16.safetensors": (
        "org/model",
        "v1",
        "",
        "te/model.fp16.safetensors",
    ),
    "http://127.0.0.1:9/org/model/tree/main/te": ("org/model", "main", "te", None),
}

REFUSED = {
    "": "empty",
    "a\nb": "control",
    "org/model@": "no revision",
    "org/model@a b": "revision",
    "org/model@../../x": "revision",
    "org//model": "one slash",
    "a/b/c": "hf://a/b/c",
    "org/mo del": "Hub id",
    "org/--model": "Hub id",
    "model.safetensors": "./model.safetensors",
    "org/x.bin": "looks like a file",
    "./missing": "no such file",
    "/nowhere/at/all": "no such file",
    "hf://datasets/org/data": "dataset",
    "hf://spaces/org/app": "space",
    "hf://": "Empty body",
    "hf://org/model/../../x": "stay inside",
    "https://huggingface.co/org/model/blob/main/model.onnx": ".bin",
    "https://huggingface.co/org": "namespace",
    "https://huggingface.co/org/model/commits/main": "commits",
    "https://huggingface.co/org/model/blob/main/README.md": ".safetensors",
    "https://example.com/org/model": "host",
    "ftp://huggingface.co/org/model": "Must start",
    "https://[broken/org/model": "",
    "file:///etc/passwd": "",
}


@pytest.mark.parametrize("raw", UNDERSTOOD)
def test_every_way_to_name_a_repository(raw: str) -> None:
    repo_id, revision, subfolder, filename = UNDERSTOOD[raw]
    assert parse_target(raw) == RepoRef("hub", repo_id, raw, revision, subfolder, filename)


@pytest.mark.parametrize("raw", REFUSED)
def test_what_cannot_be_meant_is_refused_with_a_reason(raw: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(raw)
    assert REFUSED[raw].lower() in caught.value.reason.lower()
    assert caught.value.target == raw


def test_a_url_of_the_configured_endpoint_is_understood() -> None:
    ref = parse_target("https://hub.example.org/org/m/tree/v1", endpoint="https://hub.example.org")
    assert (ref.repo_id, ref.revision) == ("org/m", "v1")


def test_local_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "w.safetensors").write_bytes(b"x")
    (tmp_path / "model" / "w.bin").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_target("./model") == RepoRef("local", "./model", "./model")
    assert parse_target("~/model").kind == "local"
    assert parse_target(str(tmp_path / "model")).kind == "local"
    assert parse_target("./model/w.safetensors").filename == "w.safetensors"
    assert parse_target("./model", subfolder="te/").subfolder == "te"
    assert parse_target("./model/w.bin").filename == "w.bin"
    (tmp_path / "model" / "w.onnx").write_bytes(b"x")
    with pytest.raises(TargetError, match="a single file must be"):
        parse_target("./model/w.onnx")
    with pytest.raises(TargetError, match="no revisions"):
        parse_target("./model", revision="main")
    with pytest.raises(TargetError, match="place of its own"):
        parse_target("./model/w.safetensors", subfolder="x")


def test_an_id_that_is_also_a_folder_here_is_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for raw in ("org/model", "org/model@main", "org"):
        with pytest.raises(TargetError, match="exists here too"):
            parse_target(raw)
    assert parse_target("hf://org/model").kind == "hub"
    assert parse_target("./org/model").kind == "local"


def test_options_narrow_a_target_and_may_not_contradict_it() -> None:
    narrowed = RepoRef("hub", "org/m", "hf://org/m@v1/a/b", "v1", "a/b")  # a report says what was asked for
    assert parse_target("org/m", revision="v1", subfolder="a/b/") == narrowed
    assert parse_target(narrowed.raw) == narrowed
    assert parse_target("org/m@v1", revision="v1").revision == "v1"
    assert parse_target("hf://org/m/te", subfolder="te").subfolder == "te"
    assert parse_target("hf://org/m/te/w.safetensors", subfolder="te") == parse_target("hf://org/m/te/w.safetensors")
    for raw, options in [
        ("org/m@v1", {"revision": "v2"}),
        ("hf://org/m/te/w.safetensors", {"subfolder": "vae"}),
        ("hf://org/m/te", {"subfolder": "vae"}),
        ("org/m", {"subfolder": "../x"}),
    ]:
        with pytest.raises(TargetError):
            parse_target(raw, **options)


@pytest.mark.parametrize("text", ["a/b", "gpt2", "A-b_c.d/e", "_x/y", "a" * 96])
def test_well_formed_ids(text: str) -> None:
    validate_repo_id(text)
    assert is_repo_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a/b/c",
        "/a",
        "a/",
        "../b",
        "./b",
        "a--b",
        "a..b",
        "a/b.git",
        "-a/b",
        "a/b-",
        "a b",
        "a/b\n",
        "a" * 97,
        "é/b",
    ],
)
def test_ill_formed_ids(text: str) -> None:
    with pytest.raises(HFValidationError):
        validate_repo_id(text)
    assert not is_repo_id(text)


def test_reading_a_plain_target_imports_no_client() -> None:
    code = (
        "import sys, amdet_hub.hub as h; h.parse_target('org/m'); h.HubSettings(); print('huggingface_hub' in"
        " sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert out.stdout.strip() == "False"
