"""The parts of the Action that need no scan: what changed, pointers, outputs, the comment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from amdet_hub.errors import BadRepository, ConfigError
from amdet_hub.github_action.comment import MARKER, MAX_BODY_CHARS, CommentRefused, keep_comment
from amdet_hub.github_action.deciding_files import DecidingFiles
from amdet_hub.github_action.git import changed_paths
from amdet_hub.github_action.job import Event, inside, naming_file, read_event, read_inputs
from amdet_hub.github_action.lfs import materialize, read_pointer
from amdet_hub.github_action.runner import MAX_SUMMARY_BYTES, annotation, write_outputs, write_summary
from amdet_hub.github_action.targets import Plan, find_targets, make_plan
from tests.demo_hub import files_of
from tests.github_action.harness import read_outputs
from tests.github_action.scratch import CONFIG, Scratch, fake_github

NOTHING = read_inputs({})


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "checkout")


# ---------------------------------------------------------------- what changed


def test_the_room_needs_only_the_standard_library() -> None:
    code = (
        "import sys; sys.modules['click'] = sys.modules['huggingface_hub'] = sys.modules['torch'] = None; import"
        " amdet_hub.github_action.__main__"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_pipeline_is_one_target(scratch: Scratch) -> None:
    scratch.write("pipe/model_index.json", b"{}")
    scratch.write("pipe/unet/model.safetensors", b"")
    scratch.write("pipe/text_encoder/config.json", b"{}")
    scratch.write("single/encoder.safetensors", b"")
    paths = [
        "pipe/unet/model.safetensors",
        "pipe/text_encoder/config.json",
        "single/encoder.safetensors",
        "reference/tokenizer.json",
        "README.md",
    ]
    assert find_targets(scratch.root, paths) == ("./pipe", "./reference", "./single/encoder.safetensors")
    for name in ("added_tokens.json", "special_tokens_map.json", "spiece.model", "tokenizer.4.50.0.json"):
        assert find_targets(scratch.root, [f"reference/{name}"]) == ("./reference",), name
    assert find_targets(scratch.root, ["README.md", "src/config.json", "notes/model.md"]) == ()


def test_a_model_at_the_root_covers_all(scratch: Scratch) -> None:
    scratch.put_model(".", "base")
    assert find_targets(scratch.root, ["model.safetensors", "reference/model.safetensors"]) == ("./",)


def test_pickles_stand_for_their_folder_and_hide_nothing_beside_them(scratch: Scratch) -> None:
    for name in ("a/clip.pt", "a/sub/loose.safetensors", "b/optimizer.pt", "reference/pytorch_model.bin", "top.ckpt"):
        scratch.write(name, b"x")
    assert find_targets(scratch.root, ["a/clip.pt", "a/sub/loose.safetensors"]) == ("./a", "./a/sub/loose.safetensors")
    assert find_targets(scratch.root, ["b/optimizer.pt", "a/deleted_model.pt"]) == ()
    assert find_targets(scratch.root, ["reference/pytorch_model.bin"]) == ("./reference",)
    assert find_targets(scratch.root, ["top.ckpt", "a/clip.pt"]) == ("./", "./a")


def with_submodule(scratch: Scratch, models: Scratch) -> str:
    scratch.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(models.root), "sub")
    return scratch.commit("a submodule")


def test_a_submodule_counts_with_its_files(scratch: Scratch, tmp_path: Path) -> None:
    models = Scratch(tmp_path / "models")
    models.put_model("deep/er", "finetuned")
    models.commit("a model")
    with_submodule(scratch, models)
    event = Event("push", scratch.first, compares=True)
    assert make_plan(scratch.root, NOTHING, event).targets == ("./sub/deep/er", "./sub/reference")
    assert "./sub/deep/er" in make_plan(scratch.root, NOTHING, Event("schedule")).targets
    scratch.git("submodule", "--quiet", "deinit", "--force", "sub")
    assert make_plan(scratch.root, NOTHING, event).targets == ("./sub",)
    assert "./sub" in make_plan(scratch.root, NOTHING, Event("schedule")).targets


@pytest.mark.parametrize("ending", ["sft", "bin", "pt", "pth", "gguf", "pkl", "SAFETENSORS", "ckpt", "onnx"])
def test_weights_of_every_form_are_looked_at(scratch: Scratch, ending: str) -> None:
    scratch.write(f"new/encoder.{ending}", b"x" * 70_000)
    scratch.commit("weights")
    plan = make_plan(scratch.root, NOTHING, Event("push", scratch.first, compares=True))
    assert plan.targets in (("./new",), (f"./new/encoder.{ending}",))


def test_what_a_deletion_leaves(scratch: Scratch) -> None:
    (scratch.root / "reference" / "tokenizer.json").unlink()
    scratch.commit("less")
    plan = make_plan(scratch.root, NOTHING, Event("push", scratch.first, compares=True))
    assert plan.targets == ("./reference",)  # another tokenizer's model now
    scratch.git("rm", "-rq", "reference")
    scratch.commit("none")
    assert not make_plan(scratch.root, NOTHING, Event("push", scratch.first, compares=True)).needed


def test_a_shallow_clone_looks_at_everything(scratch: Scratch, tmp_path: Path) -> None:
    scratch.write("README.md", b"x")
    scratch.commit("words")
    scratch.git("clone", "--quiet", "--depth=1", f"file://{scratch.root}", str(tmp_path / "shallow"))
    shallow = tmp_path / "shallow"
    assert changed_paths(shallow, scratch.first) == ["README.md"]  # fetched, for the remote is there
    event = Event("push", "b" * 40, compares=True)
    plan = make_plan(shallow, NOTHING, event)
    assert plan.targets == ("./reference",)
    assert "not in this clone" in plan.why


def test_a_path_narrows(scratch: Scratch) -> None:
    scratch.put_model("models/a", "finetuned")
    scratch.commit("a")
    event = Event("push", scratch.first, compares=True)
    assert make_plan(scratch.root, read_inputs({"AMDET_INPUT_PATH": "models"}), event).targets == ("./models",)
    assert not make_plan(scratch.root, read_inputs({"AMDET_INPUT_PATH": "reference"}), event).needed
    assert make_plan(scratch.root, read_inputs({"AMDET_INPUT_PATH": "reference"}), Event("schedule")).targets == (
        "./reference",
    )
    with pytest.raises(ConfigError, match="no such file"):
        make_plan(scratch.root, read_inputs({"AMDET_INPUT_PATH": "nowhere"}), event)


def test_a_link_does_not_lead_out(scratch: Scratch, tmp_path: Path) -> None:
    (scratch.root / "out").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="leads out"):
        inside(scratch.root, "out/x", "path")


def test_a_plan_is_read_back() -> None:
    plan = Plan("local", ("./a",), "why")
    assert Plan.from_json(plan.to_json()) == plan
    with pytest.raises(ConfigError):
        Plan.from_json("{}")


@pytest.mark.parametrize(
    ("name", "payload", "expected"),
    [
        ("push", {"before": "a" * 40}, Event("push", "a" * 40, True)),
        ("push", {"before": "0" * 40}, Event("push", None, True)),
        ("push", {"before": "--output=x"}, Event("push", None, True)),
        ("push", {"before": "a" * 40, "deleted": True}, Event("push", "a" * 40, True, True)),
        (
            "pull_request",
            {"pull_request": {"number": 3, "base": {"sha": "b" * 40}}},
            Event("pull_request", "b" * 40, True, False, 3),
        ),
        ("pull_request", {"pull_request": {"number": "3; x"}}, Event("pull_request", None, True)),
        (
            "pull_request_review",
            {"pull_request": {"number": 3, "base": {"sha": "b" * 40}}},
            Event("pull_request_review", "b" * 40, True, False, 3),
        ),
        ("merge_group", {"merge_group": {"base_sha": "c" * 40}}, Event("merge_group", "c" * 40, True)),
        ("schedule", {}, Event("schedule")),
        ("workflow_dispatch", {"inputs": None}, Event("workflow_dispatch")),
        ("push", [], Event("push", None, True)),
    ],
)
def test_events(tmp_path: Path, name: str, payload: Any, expected: Event) -> None:
    (tmp_path / "event.json").write_text(json.dumps(payload))
    assert read_event({"GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(tmp_path / "event.json")}) == expected


# ---------------------------------------------------------------- whose word counts


def deciding(scratch: Scratch, event: Event) -> DecidingFiles:
    return DecidingFiles(scratch.root, event, scratch.root.parent / "copies")


@pytest.mark.parametrize("name", ["pull_request", "pull_request_target", "pull_request_review", "merge_group"])
def test_a_proposal_does_not_write_what_decides_about_it(scratch: Scratch, name: str) -> None:
    scratch.write("baseline.json", b"{}")
    scratch.write(CONFIG, b"seed = 1\n")
    scratch.put_model("reference", "backdoored")
    head = scratch.commit("mine")
    files = deciding(scratch, Event(name, scratch.first, compares=True))
    config = files.find("config", CONFIG)
    assert config is not None
    assert b"max-memory" in config.read_bytes()
    assert files.find("baseline", "baseline.json") is None
    for named in ("./reference", str(scratch.root / "reference"), "./x/../reference/"):
        reference = Path(files.reference(named) or "")
        assert {path.name: path.read_bytes() for path in reference.iterdir()} == files_of("base")
    (said,) = files.unused
    assert "'baseline' is not used" in said
    assert scratch.git("rev-parse", "HEAD") == head
    assert scratch.git("status", "--porcelain") == ""


def test_what_a_push_brings_decides(scratch: Scratch) -> None:
    scratch.write(CONFIG, b"seed = 1\n")
    files = deciding(scratch, Event("push", scratch.first, compares=True))
    assert files.find("config", CONFIG) == scratch.root / CONFIG
    assert files.reference("./reference") == "./reference"
    assert deciding(scratch, Event("schedule")).reference("./reference") == "./reference"
    assert files.unused == []


@pytest.mark.parametrize("base", [None, "b" * 40])
def test_without_the_base_commit_nothing_of_the_head_decides(scratch: Scratch, base: str | None) -> None:
    files = deciding(scratch, Event("pull_request", base, compares=True))
    assert (files.find("config", CONFIG), files.reference("./reference")) == (None, None)
    assert len(files.unused) == 2
    assert all("fetch-depth: 0" in said for said in files.unused)


def test_a_link_of_the_head_does_not_lead_to_another_file(scratch: Scratch, tmp_path: Path) -> None:
    (scratch.root / CONFIG).unlink()
    (scratch.root / CONFIG).symlink_to(tmp_path / "elsewhere.toml")
    scratch.commit("a link")
    files = deciding(scratch, Event("pull_request", scratch.first, compares=True))
    config = files.find("config", CONFIG)
    assert config is not None
    assert b"max-memory" in config.read_bytes()
    assert files.reference("org/base") == "org/base"
    assert files.reference(str(tmp_path)) == str(tmp_path), "made by the workflow, not by the pull request"
    with pytest.raises(ConfigError, match="leads out"):
        files.find("config", "../x.toml")


def test_pointers_of_the_base_commit_become_files(scratch: Scratch) -> None:
    scratch.put_model("stored", "base", lfs=True)
    scratch.put_model("gone", "finetuned", lfs=True, stored=False)
    base = scratch.commit("pointers")
    files = deciding(scratch, Event("pull_request", base, compares=True))
    stored = Path(files.reference("./stored") or "") / "model.safetensors"
    assert stored.read_bytes() == files_of("base")["model.safetensors"]
    with pytest.raises(BadRepository, match="lfs: true"):
        files.reference("./gone")


@pytest.mark.parametrize("value", ["x", "", "10", "1h30m", "90s", "-5m", "5m; x"])
def test_durations(value: str) -> None:
    good = value in ("", "1h30m", "90s")
    try:
        assert read_inputs({"AMDET_INPUT_TIMEOUT": value}).timeout == (value or None)
    except ConfigError:
        assert not good
    else:
        assert good


def test_the_file_that_names_the_models() -> None:
    assert (
        naming_file({"GITHUB_WORKFLOW_REF": "o/r/.github/workflows/scan.yml@refs/heads/a@b"})
        == ".github/workflows/scan.yml"
    )
    assert naming_file({"GITHUB_WORKFLOW_REF": "o/r/../../etc/passwd@x"}) == ".github/workflows"


# ---------------------------------------------------------------- pointers


def test_pointers(scratch: Scratch) -> None:
    scratch.put_model("m", "base", lfs=True)
    weights = scratch.root / "m" / "model.safetensors"
    pointer = read_pointer(weights)
    assert pointer is not None
    assert materialize(scratch.root, scratch.root / "m") == 1
    assert weights.stat().st_size == pointer.size_bytes
    assert materialize(scratch.root, scratch.root / "m") == 0


def test_an_object_of_another_content_is_refused(scratch: Scratch) -> None:
    content = scratch.pointer(b"the real one")
    sha256 = re.findall(rb"[0-9a-f]{64}", content)[0].decode()
    scratch.write("m.safetensors", content)
    scratch.write(f".git/lfs/objects/{sha256[:2]}/{sha256[2:4]}/{sha256}", b"another one!")
    with pytest.raises(BadRepository, match="not the one"):
        materialize(scratch.root, scratch.root / "m.safetensors")
    assert (scratch.root / "m.safetensors").read_bytes() == content
    assert [p.name for p in scratch.root.iterdir() if p.name.endswith(".tmp")] == []


def test_git_lfs_gets_the_pointer_and_no_path(
    scratch: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that answers as `git lfs smudge` does stands in for git-lfs, and writes down its orders."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "git-lfs"
    script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/told\ncat > {tmp_path}/stdin\nprintf fetched\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    pointer = scratch.pointer(b"fetched", stored=False)
    scratch.write("-x $(y)/m.safetensors", pointer)
    assert materialize(scratch.root, scratch.root / "-x $(y)") == 1
    assert (scratch.root / "-x $(y)" / "m.safetensors").read_bytes() == b"fetched"
    assert (tmp_path / "told").read_text() == "smudge\n"
    assert (tmp_path / "stdin").read_bytes() == pointer


def test_every_weight_of_a_pipeline_is_fetched(scratch: Scratch) -> None:
    """A component of another kind may hold a text tower, so that none is left out."""
    scratch.write("p/model_index.json", b"{}")
    scratch.write("p/text_encoder/model.safetensors", scratch.pointer(b"text"))
    scratch.write("p/unet/model.safetensors", scratch.pointer(b"more"))
    scratch.write("p/vae/pytorch_model.bin", scratch.pointer(b"and more"))
    assert materialize(scratch.root, scratch.root / "p") == 3


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:../../x\nsize 1\n", b"x" * 2000]
)
def test_no_pointers(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    assert read_pointer(tmp_path / "m.safetensors") is None


# ---------------------------------------------------------------- the runner and GitHub


def test_an_output_is_never_two(tmp_path: Path) -> None:
    path = tmp_path / "output"
    write_outputs({"GITHUB_OUTPUT": str(path)}, {"a": "x\nexit-code=0\nb<<EOF\n1\nEOF", "c": ""})
    assert read_outputs(path) == {"a": "x\nexit-code=0\nb<<EOF\n1\nEOF", "c": ""}


def test_annotations_are_one_line() -> None:
    line = annotation("error", "a\n::warning::b%", file="x,line=9::\r\ny")
    assert line == "::error title=amdet-hub,file=x%2Cline=9%3A%3A%0D%0Ay,line=1::a%0A::warning::b%25"


def test_a_long_summary_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    write_summary({"GITHUB_STEP_SUMMARY": str(path)}, "é" * MAX_SUMMARY_BYTES)
    assert MAX_SUMMARY_BYTES - 10 < path.stat().st_size < MAX_SUMMARY_BYTES + 100
    path.read_text(encoding="utf-8")


def test_one_comment() -> None:
    with fake_github() as github:
        github.comments += [{"id": i + 1, "user": {"type": "User"}, "body": "talk"} for i in range(100)]
        assert keep_comment(github.url, "o/r", 5, "one", token="t") == "created"
        assert keep_comment(github.url, "o/r", 5, "one", token="t") == "unchanged"
        assert keep_comment(github.url, "o/r", 5, "x" * 2 * MAX_BODY_CHARS, token="t") == "updated"
        assert len(github.comments) == 101
        assert github.comments[-1]["body"].startswith(MARKER)
        assert len(github.comments[-1]["body"]) < 65_000
        github.status = 500
        with pytest.raises(CommentRefused, match="HTTP 500"):
            keep_comment(github.url, "o/r", 5, "one", token="t")
    with pytest.raises(CommentRefused, match="reached"):
        keep_comment(github.url, "o/r", 5, "one", token="t")
    for api, repository in (("file:///etc/passwd", "o/r"), ("http://x", "o/r/../../x")):
        with pytest.raises(ConfigError):
            keep_comment(api, repository, 5, "one", token="t")
