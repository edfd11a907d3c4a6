"""`amdet-hub space deploy` against a Hub on loopback, and what the verb says when it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from amdet_hub.cli.app import app
from amdet_hub.testing import LocalHub
from amdet_hub.web.deploy import space_files

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def hub() -> object:
    with LocalHub() as hub:
        hub.add_user("me", token="hf_me")
        hub.add_user("reader", token="hf_reader", read_only=True)
        yield hub


def deploy(hub: LocalHub, name: str, token: str) -> tuple[int, str]:
    result = CliRunner().invoke(
        app, ["space", "deploy", name, "--endpoint", hub.endpoint, "--token", token], prog_name="amdet-hub"
    )
    return result.exit_code, result.stderr


def test_a_space_is_created_and_then_updated(hub: LocalHub, tmp_path: Path) -> None:
    assert deploy(hub, "me/scanner", "hf_me") == (0, f"Deployed: {hub.endpoint}/spaces/me/scanner\n")
    files = space_files()
    assert set(hub.files("spaces/me/scanner")) == {*files, ".gitattributes"}
    assert hub.read("spaces/me/scanner", "app.py") == files["app.py"]
    head = hub.head("spaces/me/scanner")
    assert deploy(hub, "me/scanner", "hf_me")[0] == 0
    assert hub.read("spaces/me/scanner", "amdet_hub/web/pages.py") == files["amdet_hub/web/pages.py"]
    assert hub.head("spaces/me/scanner") == head, "nothing changed, nothing was committed"


def test_what_was_uploaded_starts_on_its_own(tmp_path: Path) -> None:
    for name, content in space_files().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    code = "import app, amdet_hub; print(app.__file__, amdet_hub.__file__)"
    environment = {
        "PYTHONPATH": ":".join([str(tmp_path), *[p for p in sys.path if p and Path(p).resolve() != ROOT]]),
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
    }
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert all(str(tmp_path) in path for path in ran.stdout.split())


@pytest.mark.parametrize(
    ("name", "token", "reason"),
    [
        ("scanner", "hf_me", "target-error"),
        ("other/scanner", "hf_me", "access-denied"),
        ("reader/x", "hf_reader", "access-denied"),
    ],
)
def test_refusals_have_a_reason(hub: LocalHub, name: str, token: str, reason: str) -> None:
    code, stderr = deploy(hub, name, token)
    assert code == 2
    assert f"[{reason}]" in stderr
    assert not hub.writes


# Source of the sets: huggingface.co/docs/hub/spaces-config-reference and spaces-gpus
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
HARDWARE = {
    "cpu-basic",
    "cpu-upgrade",
    "zero-a10g",
    "t4-small",
    "t4-medium",
    "l4x1",
    "l40sx1",
    "a10g-small",
    "a10g-large",
    "a100-large",
}
SCOPES = {"gated-repos", "write-discussions"}
"""What the page does as the visitor: read gated models, open pull requests. More would be asked for nothing."""
KEYS = {
    *(
        "title",
        "emoji",
        "colorFrom",
        "colorTo",
        "sdk",
        "sdk_version",
        "python_version",
        "app_file",
        "suggested_hardware",
        "short_description",
    ),
    *("license", "pinned", "hf_oauth", "hf_oauth_scopes", "tags"),
}


def test_the_front_matter_is_what_the_hub_expects() -> None:
    import tomllib

    from packaging.specifiers import SpecifierSet

    readme = (ROOT / "space" / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("---\n")
    data = yaml.safe_load(readme.split("---")[1])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(data) == KEYS
    assert (data["sdk"], data["app_file"], data["hf_oauth"], data["license"]) == (
        "gradio",
        "app.py",
        True,
        "apache-2.0",
    )
    assert data["app_file"] in space_files()
    assert set(data["hf_oauth_scopes"]) == SCOPES
    assert {data["colorFrom"], data["colorTo"]} <= COLOURS
    assert data["suggested_hardware"] in HARDWARE
    assert 0 < len(data["title"]) <= 60
    assert 0 < len(data["short_description"]) <= 60
    # a version is text: 3.10 would be read as the number 3.1
    assert isinstance(data["python_version"], str)
    assert data["python_version"] in SpecifierSet(project["requires-python"])
    assert data["python_version"] == "3.12", "the one version that ordinary and ZeroGPU Spaces share with this package"


def test_the_space_runs_the_gradio_that_is_tested() -> None:
    import tomllib
    from importlib.metadata import version

    from packaging.requirements import Requirement

    data = yaml.safe_load((ROOT / "space" / "README.md").read_text(encoding="utf-8").split("---")[1])
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"gradio=={data['sdk_version']}" in pins
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (wanted,) = [one for one in map(Requirement, extras["space"]) if one.name == "gradio"]
    assert data["sdk_version"] in wanted.specifier
    if all(f"{name}=={version(name)}" in pins for name in ("torch", "transformers", "huggingface_hub")):
        assert version("gradio") == data["sdk_version"], (
            "this environment is made from constraints.txt, and has another gradio"
        )


def test_the_requirements_are_the_packages_of_the_project() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {
        *project["dependencies"],
        *[r for r in project["optional-dependencies"]["space"] if not r.startswith("gradio")],
    }
    stated = {
        line
        for line in (ROOT / "space" / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    }
    assert stated == wanted
