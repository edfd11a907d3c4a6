"""A local folder whose weights are exchanged while it is scanned: exit code 2 wherever local files are scanned."""

import shutil
from pathlib import Path

import pytest

from amdet_hub.automation.guard import guard
from amdet_hub.encoders.load import LoadedTower
from amdet_hub.errors import FileChanged
from amdet_hub.github_action.targets import Plan
from amdet_hub.hub import HubSettings, parse_target
from amdet_hub.records import ScanResult
from amdet_hub.scanner import Scanner
from amdet_hub.scanner.pair_scan import PairScan
from tests.cli.conftest import Run, error_codes
from tests.demo_hub import FAST, FAST_TOML
from tests.github_action.harness import read_outputs
from tests.scanner.conftest import BACKDOORED, BASE, FINETUNED


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clean model in the working directory; its weights become the backdoored ones as soon as they are loaded."""
    monkeypatch.chdir(tmp_path)
    Path("fast.toml").write_text(FAST_TOML)
    folder = Path(shutil.copytree(FINETUNED, tmp_path / "model"))
    really_scan = PairScan.scan

    def scan(self: PairScan, suspect: LoadedTower) -> ScanResult:
        shutil.copyfile(BACKDOORED / "model.safetensors", folder / "model.safetensors")
        return really_scan(self, suspect)

    monkeypatch.setattr(PairScan, "scan", scan)
    return folder


FLAGS = ("--reference", str(BASE), "--config", "fast.toml")


@pytest.mark.parametrize(
    "command", [("scan", "./model", *FLAGS), ("staged", *FLAGS, "--", "model/model.safetensors")], ids=lambda c: c[0]
)
def test_verbs(cli: Run, model: Path, command: tuple[str, ...]) -> None:
    result = cli(*command)
    assert (result.exit_code, error_codes(result)) == (2, ["file-changed"])
    assert "changed while it was being scanned" in result.stderr


def test_guard(model: Path, tmp_path: Path) -> None:
    scanner = Scanner(FAST, HubSettings(cache_dir=tmp_path / "cache", offline=True), parse_target(str(BASE)))
    with pytest.raises(FileChanged):
        guard("./model", scanner=scanner)


def test_action(cli: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plan.json").write_text(Plan("local", ("./model",)).to_json())
    for name, value in {
        "GITHUB_WORKSPACE": str(tmp_path),
        "GITHUB_OUTPUT": str(tmp_path / "outputs"),
        "RUNNER_TEMP": str(tmp_path / "temp"),
        "AMDET_PLAN": str(tmp_path / "plan.json"),
        "AMDET_INPUT_REFERENCE": str(BASE),
        "AMDET_INPUT_CONFIG": "fast.toml",
    }.items():
        monkeypatch.setenv(name, value)
    assert cli("action", "scan").exit_code == 0
    outputs = read_outputs(tmp_path / "outputs")
    assert (outputs["verdict"], outputs["exit-code"], outputs["reason-code"]) == ("error", "2", "file-changed")
