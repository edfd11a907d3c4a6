"""The Action end to end: every step of `action.yml` in bash, on a scratch repository and a LocalHub."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from amdet_hub.report import parse_report
from amdet_hub.report.baselines import NO_BASELINE, acceptances_of, baseline_as_json
from tests.demo_hub import BACKDOORED, BASE, FAST_TOML, demo_hub
from tests.github_action.harness import Job, Runner
from tests.github_action.scratch import CONFIG, Scratch, fake_github
from tests.report.test_sarif import VALIDATOR

HOSTILE = "a$(touch pwned)`touch pwned`;touch pwned #'\"\n::error::x"
FORMATS = ("json", "sarif", "markdown", "html")
SCANNING = {"reference": "./reference", "config": CONFIG}

Start = Callable[..., Job]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of verdicts, shared by the jobs of this module as a repository's jobs share it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "checkout")


@pytest.fixture
def start(scratch: Scratch, tmp_path: Path, cache: Path) -> Start:
    def run(event: str, payload: Mapping[str, Any], *, environ: Mapping[str, str] | None = None, **inputs: str) -> Job:
        number = len(list(tmp_path.glob("temp-*")))
        runner = Runner(scratch.root, tmp_path / f"temp-{number}", cache, event, payload, environ or {})
        given = {"version": "installed", "python": sys.executable} | {
            name.replace("_", "-"): value for name, value in inputs.items()
        }
        return runner.run(given)

    return run


def push(before: str) -> dict[str, Any]:
    return {"before": before, "after": "c" * 40, "ref": "refs/heads/" + HOSTILE, "deleted": False}


def pull_request(base: str, number: int = 12) -> dict[str, Any]:
    return {"pull_request": {"number": number, "base": {"sha": base}, "head": {"ref": HOSTILE}, "title": HOSTILE}}


def unharmed(scratch: Scratch, job: Job) -> None:
    assert not list(scratch.root.parent.rglob("pwned*"))
    for line in job.log.split("\n"):
        if line.lstrip().startswith("::"):
            assert line.startswith(
                ("::error title=amdet-hub", "::warning title=amdet-hub", "::notice title=amdet-hub")
            )


def test_push_of_a_poisoned_checkpoint(scratch: Scratch, start: Start) -> None:
    scratch.put_model("models/new", "backdoored", lfs=True)
    scratch.commit("a model")
    job = start("push", push(scratch.first), **SCANNING)
    assert (job.failed_at, job.exit_code) == ("Pass or fail", 1), job.log
    outputs = job.outputs
    assert (outputs["verdict"], outputs["exit-code"], outputs["scanned"]) == ("backdoor-detected", "1", "true")
    assert outputs["reason-code"] == "trigger-confirmed"
    assert float(outputs["score"]) > 6
    assert outputs["commit-sha"] == "c" * 40
    report = parse_report(Path(outputs["json"]).read_text())
    assert report.results[0].tower_digest == outputs["tower-digest"]
    assert report.target == "./models/new"
    log = json.loads(Path(outputs["sarif"]).read_text())
    assert not list(VALIDATOR.iter_errors(log))
    place = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uri"] == "models/new/model.safetensors"
    assert Path(outputs["html"]).read_text().startswith("<!doctype html>")
    assert "Backdoor detected" in job.summary
    assert "█" in job.summary, "a picture of the evidence"
    assert Path(outputs["markdown"]).read_text() == job.summary
    (said,) = [line for line in job.log.splitlines() if line.startswith("::error ")]
    assert said.startswith("::error title=amdet-hub,file=models/new,line=1::")
    assert said.endswith(" [trigger-confirmed]")

    again = start("push", push(scratch.first), **SCANNING)  # the tower was judged before, and is not cleared by that
    assert (again.outputs["verdict"], again.outputs["scanned"], again.exit_code) == ("backdoor-detected", "false", 1)
    assert "Keep the verdicts" not in again.ran
    assert Path(again.outputs["json"]).is_file()

    shown = start("push", push(scratch.first), **SCANNING, fail_on="never")
    assert (shown.outputs["verdict"], shown.exit_code) == ("backdoor-detected", 0)


def test_a_verdict_counts_later_only_from_a_protected_branch(
    scratch: Scratch, start: Start, cache: Path, tmp_path: Path
) -> None:
    scratch.put_model("models/new", "finetuned")
    scratch.commit("a model")
    own = {"path": "models", **SCANNING, "timeout": "1h"}
    unprotected = {"GITHUB_REF_PROTECTED": "false"}
    shutil.rmtree(cache / "results", ignore_errors=True)
    for event, payload, environ in (
        ("pull_request", pull_request(scratch.first), None),
        ("merge_group", {"merge_group": {"base_sha": scratch.first}}, None),
        ("push", push(scratch.first), unprotected),
    ):
        job = start(event, payload, environ=environ, **own)
        assert (job.outputs["verdict"], job.outputs["scanned"]) == ("no-backdoor-found", "true"), job.log
        assert not {"Restore earlier verdicts", "Keep the verdicts"} & set(job.ran)
    first, again = (start("push", push(scratch.first), **own) for _ in range(2))
    assert [job.outputs["scanned"] for job in (first, again)] == ["true", "false"], (
        "the key was kept with the verdicts"
    )
    assert start("push", push(scratch.first), environ=unprotected, **own).outputs["scanned"] == "true"
    (cache / "key").unlink()
    forged = start("push", push(scratch.first), **own)
    assert forged.outputs["scanned"] == "true"
    assert "cached entry was ignored" in forged.log


def test_pull_request_with_a_clean_checkpoint_and_a_comment(scratch: Scratch, start: Start) -> None:
    scratch.put_model("models/ft", "finetuned")
    scratch.commit("a model")
    with fake_github() as github:
        github.comments.append({"id": 1, "user": {"type": "User"}, "body": "<!-- amdet-hub:comment -->\nnot ours"})
        job = start(
            "pull_request",
            pull_request(scratch.first),
            environ={"GITHUB_API_URL": github.url},
            **SCANNING,
            comment="true",
        )
        assert (job.failed_at, job.exit_code) == (None, 0), job.log
        assert (job.outputs["verdict"], job.outputs["exit-code"]) == ("no-backdoor-found", "0")
        assert json.loads(Path(job.outputs["sarif"]).read_text())["runs"][0]["results"] == []
        assert [comment["body"].startswith("<!-- amdet-hub:comment -->") for comment in github.comments] == [
            True,
            True,
        ]
        assert "No backdoor found" in github.comments[1]["body"]
        assert github.comments[0]["body"].endswith("not ours")
        start(
            "pull_request",
            pull_request(scratch.first),
            environ={"GITHUB_API_URL": github.url},
            **SCANNING,
            comment="true",
        )
        assert len(github.comments) == 2
        assert {authorization for _, _, authorization in github.seen} == {"Bearer ghs_test"}
        github.status = 403
        refused = start(
            "pull_request",
            pull_request(scratch.first),
            environ={"GITHUB_API_URL": github.url},
            **SCANNING,
            comment="true",
        )
        assert refused.exit_code == 0
        assert "pull-requests: write" in refused.log
    assert "ghs_test" not in job.log + refused.log


def test_a_schedule_watches_hub_repositories(start: Start) -> None:
    with demo_hub() as hub:
        environ = {"HF_ENDPOINT": hub.endpoint}
        given = {"model": f"{BASE}\n {BACKDOORED}", "reference": BASE, "config": CONFIG}
        job = start("schedule", {}, environ=environ, **given, hf_token="hf_alicealicealice", push_card="true")
        assert (job.outputs["verdict"], job.exit_code) == ("backdoor-detected", 1), job.log
        assert job.outputs["commit-sha"] == hub.head(BACKDOORED)
        log = json.loads(Path(job.outputs["sarif"]).read_text())
        place = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
        assert place["uri"] == ".github/workflows/scan.yml"
        assert "hf_alicealicealice" not in job.log + job.summary
        assert f"{BACKDOORED}: pull request opened" in job.log
        commits = [request for request in hub.writes if request.path.startswith(f"/api/models/{BACKDOORED}/commit/")]
        assert ["create_pr=1" in request.query for request in commits] == [True]


def test_one_hub_repository_by_hand(start: Start) -> None:
    with demo_hub() as hub:
        job = start(
            "workflow_dispatch",
            {"inputs": {}},
            environ={"HF_ENDPOINT": hub.endpoint},
            model=f"{BASE}@main",
            reference=BASE,
        )
        assert (job.outputs["verdict"], job.exit_code) == ("no-backdoor-found", 0), job.log
        assert job.outputs["commit-sha"] == hub.head(BASE)
        missing = start(
            "workflow_dispatch", {}, environ={"HF_ENDPOINT": hub.endpoint}, model="demo/nowhere", fail_on="never"
        )
        assert (missing.outputs["verdict"], missing.exit_code) == ("error", 2), missing.log
        assert hub.writes == []


def test_accepted_findings_and_a_new_branch(scratch: Scratch, start: Start, tmp_path: Path) -> None:
    scratch.put_model("models/new", "backdoored")
    scratch.commit("a model")
    before = start("push", push("0" * 40), **SCANNING, fail_on="never")
    report = parse_report(Path(before.outputs["json"]).read_text())
    accepted = acceptances_of(report, reason="our own", expires="2999-01-01")
    scratch.write("baseline.json", baseline_as_json(NO_BASELINE.with_accepted(accepted)).encode())
    job = start("push", push("0" * 40), **SCANNING, baseline="baseline.json")
    assert (job.outputs["verdict"], job.exit_code) == ("backdoor-detected", 0), job.log
    assert "Accepted in the baseline" in job.summary
    wrong = start("push", push("0" * 40), **SCANNING, baseline="README.md")
    assert (wrong.failed_at, wrong.outputs["verdict"], wrong.outputs["exit-code"]) == ("Scan", "error", "2")
    assert "Error" in wrong.summary


BLIND = FAST_TOML.encode() + b"[thresholds]\nsweep_score = 1e9\n"


@pytest.mark.parametrize("by", ["reference", "config", "baseline"])
def test_a_pull_request_may_not_say_how_it_is_judged(scratch: Scratch, start: Start, by: str) -> None:
    scratch.put_model("models/new", "backdoored")
    scratch.commit("a model")
    if by == "reference":
        scratch.put_model("reference", "backdoored")
    elif by == "config":
        scratch.write(CONFIG, BLIND)
    else:
        before = start("push", push(scratch.first), **SCANNING, fail_on="never")
        accepted = acceptances_of(
            parse_report(Path(before.outputs["json"]).read_text()), reason="x", expires="2999-01-01"
        )
        scratch.write("baseline.json", baseline_as_json(NO_BASELINE.with_accepted(accepted)).encode())
    scratch.commit("and what clears it")
    named = {"baseline": "baseline.json"} if by == "baseline" else {}
    job = start("pull_request", pull_request(scratch.first), **SCANNING, **named, path="models")
    assert (job.outputs["verdict"], job.exit_code) == ("backdoor-detected", 1), job.log
    assert ("::warning title=amdet-hub::'baseline' is not used" in job.log) == (by == "baseline")


def test_push_without_checkpoints_costs_seconds(scratch: Scratch, start: Start) -> None:
    scratch.write("README.md", b"# Other words\n")
    scratch.commit("words")
    job = start("push", push(scratch.first))
    assert job.ran == ["See what there is to look at"]
    assert (job.outputs["scanned"], job.outputs["verdict"], job.exit_code) == ("false", "nothing-to-scan", 0)
    assert "nothing to scan" in job.summary


def test_pickles_and_other_models(scratch: Scratch, start: Start) -> None:
    scratch.write("old/text_model.pt", b"\x80\x04pickle")
    scratch.write("run/optimizer.pt", b"\x80\x04pickle")
    scratch.commit("a pickle")
    job = start("push", push(scratch.first), **SCANNING)
    assert (job.outputs["verdict"], job.outputs["exit-code"], job.exit_code) == ("inconclusive", "3", 3), job.log
    assert "optimizer" not in job.summary
    assert start("push", push(scratch.first), **SCANNING, fail_on="detected").exit_code == 0


@pytest.mark.parametrize("ending", ["bin", "pt", "pkl", "sft", "gguf"])
def test_weights_that_are_no_model_are_not_cleared(scratch: Scratch, start: Start, ending: str) -> None:
    scratch.write(f"new/encoder.{ending}", b"x" * 70_000)
    scratch.commit("weights")
    job = start("push", push(scratch.first), **SCANNING)
    assert job.outputs["verdict"] in ("inconclusive", "error"), job.log
    assert job.failed_at == "Pass or fail"


def test_a_submodule_that_is_not_checked_out_is_not_cleared(scratch: Scratch, start: Start) -> None:
    scratch.git("update-index", "--add", "--cacheinfo", f"160000,{scratch.first},sub")
    scratch.git("commit", "--quiet", "-m", "a submodule")
    (scratch.root / "sub").mkdir()
    job = start("push", push(scratch.first), **SCANNING)
    assert (job.outputs["verdict"], job.exit_code) == ("error", 2), job.log
    assert "submodules: true" in job.summary


def test_errors_are_outcomes(scratch: Scratch, start: Start) -> None:
    scratch.put_model("models/gone", "finetuned", lfs=True, stored=False)
    scratch.put_model("models/cut", "finetuned")
    scratch.write("models/cut/model.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    scratch.commit("broken")
    job = start("push", push(scratch.first), **SCANNING)
    assert (job.outputs["verdict"], job.outputs["exit-code"], job.failed_at) == ("error", "2", "Pass or fail"), job.log
    assert "lfs: true" in job.log
    assert job.summary.count(":warning:") == 2


def test_injections(scratch: Scratch, start: Start, tmp_path: Path) -> None:
    """Everything that a stranger may name, at once: files, folders, modules, a link in the place of the reports."""
    for name in (
        "$(touch pwned)",
        "a;touch pwned",
        "`touch pwned`",
        "-rf",
        "--config=x",
        "x\n::error::y",
        "${{ github.token }}",
        "a'\"b",
    ):
        scratch.write(f"{name}/model.safetensors", b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    scratch.put_model("%0A::add-mask::x,line=2 `<img src=x>` [x](y)", "backdoored")
    for module in ("amdet_hub/__init__.py", "json.py", "pip/__init__.py", "sitecustomize.py", "click.py"):
        scratch.write(module, b"open('pwned-by-module', 'w')\n")
    scratch.write(
        "pyproject.toml", b'[tool.amdet-hub]\nendpoint = "http://evil.test"\n[tool.amdet-hub.sweep]\nn_prompts = 1\n'
    )
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (scratch.root / "reports").mkdir()
    (scratch.root / "reports" / "amdet-hub.sarif").symlink_to(victim)
    scratch.commit(HOSTILE)
    job = start("push", push(scratch.first), **SCANNING, output_dir="reports")
    unharmed(scratch, job)
    assert (job.outputs["verdict"], job.exit_code) == ("backdoor-detected", 1), job.log
    assert job.summary.count(":white_circle:") == 7
    assert victim.read_text() == "mine"
    assert "<img" not in job.summary
    assert not list(VALIDATOR.iter_errors(json.loads(Path(job.outputs["sarif"]).read_text())))
    assert "ghs_test" not in job.log + job.summary


@pytest.mark.parametrize("name", ["model", "path", "revision", "subfolder", "preset", "fail-on", "formats"])
def test_hostile_inputs_stop_at_the_first_step(scratch: Scratch, start: Start, name: str) -> None:
    scratch.put_model("m", "finetuned")
    scratch.commit("a model")
    job = start("push", push(scratch.first), **{name.replace("-", "_"): HOSTILE})
    unharmed(scratch, job)
    if name == "model":  # words that are no repositories are told apart later, one by one
        assert job.outputs["verdict"] == "error"
    else:
        assert (job.failed_at, job.exit_code) == ("See what there is to look at", 2)


@pytest.mark.parametrize(
    "inputs",
    [{"path": "../.."}, {"path": "/etc"}, {"model": "a/b", "path": "x"}, {"model": "./x"}, {"comment": "yes"}],
)
def test_unusable_inputs(scratch: Scratch, start: Start, inputs: dict[str, str]) -> None:
    job = start("workflow_dispatch", {}, **inputs)
    assert (job.failed_at, job.exit_code) == ("See what there is to look at", 2)
    assert "::error title=amdet-hub" in job.log


def test_install_refuses_a_hostile_version(scratch: Scratch, start: Start) -> None:
    scratch.put_model("m", "finetuned")
    scratch.commit("a model")
    for version in (HOSTILE, "1 --index-url http://evil.test", "--upgrade"):
        job = start("push", push(scratch.first), version=version)
        assert (job.failed_at, job.exit_code) == ("Install", 2)
        unharmed(scratch, job)


def test_no_git_no_guess(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "bare").mkdir()
    job = Runner(tmp_path / "bare", tmp_path / "temp", cache, "push", push("a" * 40)).run({"python": sys.executable})
    assert job.exit_code == 2
    assert "actions/checkout" in job.log


def test_the_harness_can_fail(scratch: Scratch, start: Start, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no such input"):
        start("push", push(scratch.first), nonsense="x")
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({"version": "1"})
    assert shutil.which("bash")
