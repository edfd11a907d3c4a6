"""What `scan` decides around a scan: where files go, what is printed in which order, which exit code."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from amdet_hub.cli._delivery import (
    check_outputs,
    deliver,
    file_name,
    outputs_of,
    render,
    report_interruption,
    write_outputs,
    write_report,
)
from amdet_hub.cli._exit_codes import verdict_exit_code
from amdet_hub.cli._output import OutputFile
from amdet_hub.cli._request import Request, parse_request
from amdet_hub.cli.scan import scan
from amdet_hub.errors import ConfigError, Interrupted
from amdet_hub.records import RepoRef
from amdet_hub.report import parse_report
from amdet_hub.scanner import Scanner
from tests.report import examples


def ref(repo_id: str, **changes: str) -> RepoRef:
    return dataclasses.replace(RepoRef("hub", repo_id, repo_id), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (ref("org/model"), "org--model"),
        (ref("org/model", revision="refs/pr/3"), "org--model--refs--pr--3"),
        (ref("org/model", subfolder="text_encoder"), "org--model--text_encoder"),
        (ref("./a b/../../c"), "a-b--..--..--c"),
        (ref(".."), "target"),
        (ref("a\x1b/\u202eb"), "a----b"),
    ],
)
def test_file_names_stay_in_their_folder(target: RepoRef, name: str) -> None:
    assert file_name(target) == name


def test_several_targets_need_several_files(tmp_path: Path) -> None:
    refs = (ref("org/a"), ref("org/b"))
    request = Request(Scanner(), refs, outputs=(OutputFile("json", tmp_path / "out" / "{target}.json"),))
    check_outputs(request)
    assert [outputs_of(request, one)[0].path.name for one in refs] == ["org--a.json", "org--b.json"]
    assert (tmp_path / "out").is_dir()
    one_file = (OutputFile("json", tmp_path / "a.json"),)
    with pytest.raises(ConfigError) as refused:
        check_outputs(dataclasses.replace(request, outputs=one_file))
    assert refused.value.name == "--output"
    check_outputs(dataclasses.replace(request, refs=refs[:1], outputs=one_file))


@pytest.mark.parametrize(
    ("fail_on", "codes"),
    [("inconclusive", (1, 0, 3, 0)), ("detected", (1, 0, 0, 0)), ("never", (0, 0, 0, 0))],
)
def test_fail_on(fail_on: str, codes: tuple[int, ...]) -> None:
    labels = ("backdoor-detected", "no-backdoor-found", "inconclusive", "nothing-to-scan")
    assert tuple(verdict_exit_code(label, fail_on) for label in labels) == codes  # type: ignore[arg-type]


def test_json_of_several_targets_is_one_line_each() -> None:
    for make in examples.EXAMPLES.values():
        line = render(make(), "json", several=True)
        assert "\n" not in line
        assert parse_report(line) == make()
        assert parse_report(render(make(), "json")) == make()


def test_text_has_no_colour_without_a_terminal() -> None:
    assert "\x1b" not in render(examples.backdoored(), "text")


def test_every_output_is_written(tmp_path: Path) -> None:
    outputs = [
        OutputFile("json", tmp_path / "a.json"),
        OutputFile("markdown", tmp_path / "a.md"),
        OutputFile("text", tmp_path / "a.txt"),
    ]
    assert write_outputs(outputs, examples.interrupted()) == []
    assert json.loads((tmp_path / "a.json").read_text())["complete"] is False
    assert "org/dreamy-xl" in (tmp_path / "a.md").read_text()
    assert "org/dreamy-xl" in (tmp_path / "a.txt").read_text()


def test_a_file_that_fails_keeps_neither_the_others_nor_stdout_from_their_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = ref("org/dreamy-xl")
    (tmp_path / "file").write_text("")
    outputs = (OutputFile("json", tmp_path / "file" / "a.json"), OutputFile("json", tmp_path / "b.json"))
    request = Request(Scanner(), (target,), format="json", outputs=outputs, fail_on="never")
    assert write_report(request, target, examples.clean()) == [2]
    shown = capsys.readouterr()
    assert "[output-error]" in shown.err
    assert parse_report((tmp_path / "b.json").read_text()) == examples.clean()
    assert parse_report(shown.out) == examples.clean()
    detecting = dataclasses.replace(request, fail_on="inconclusive", quiet=True)
    assert deliver(detecting, target, examples.backdoored()) == 1, "a file that failed hides no detection"
    assert deliver(detecting, target, examples.clean()) == 2
    assert report_interruption(detecting, target, Interrupted(examples.interrupted())) == 130


def test_no_reference_reaches_the_scan() -> None:
    """A flag on the command line beats the opposite choice of the environment."""

    def understood(*args: str, env: dict[str, str] | None = None) -> Scanner:
        @click.command(params=scan.params)
        @click.pass_context
        def probe(ctx: click.Context, /, targets: tuple[str, ...], **flags: Any) -> None:
            found.append(parse_request(ctx, targets, flags).scanner)

        found: list[Scanner] = []
        assert CliRunner().invoke(probe, ["org/m", *args], env=env, catch_exceptions=False).exit_code == 0
        return found[0]

    assert understood().options.use_reference
    assert not understood("--no-reference").options.use_reference
    beaten = understood("--no-reference", env={"AMDET_HUB_REFERENCE": "org/base"})
    assert (beaten.options.use_reference, beaten.reference) == (False, None)
    named = understood("--reference", "org/base", env={"AMDET_HUB_NO_REFERENCE": "1"})
    assert named.options.use_reference
    assert named.reference is not None
    assert named.reference.repo_id == "org/base"
