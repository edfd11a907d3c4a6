"""SARIF against the OASIS schema, and against what GitHub documents that it takes."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest

from amdet_hub.records import ScanReport
from amdet_hub.report import as_sarif
from amdet_hub.report.as_sarif import MAX_LOCATIONS, MAX_RESULTS, sarif_log
from tests.report.examples import EXAMPLES, backdoored, clean, inconclusive, weight
from tests.report.nasty import NASTY, poisoned

SCHEMA = json.loads((Path(__file__).parent / "schemas" / "sarif-2.1.0-rtm.5.json").read_text())
VALIDATOR = jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
LINK = re.compile(r"(?<!\\)\[[^\]]*(?<!\\)\]\(")


def log_of(report: ScanReport) -> dict[str, Any]:
    log = json.loads(as_sarif(report))
    assert [f"{list(e.path)}: {e.message}" for e in VALIDATOR.iter_errors(log)] == []
    assert isinstance(log, dict)
    return log


def results_of(report: ScanReport) -> list[dict[str, Any]]:
    results = log_of(report)["runs"][0]["results"]
    assert isinstance(results, list)
    return results


def test_the_bundled_schema_is_the_one_of_oasis() -> None:
    assert "SARIF) Version 2.1.0" in SCHEMA["title"]
    jsonschema.Draft4Validator.check_schema(SCHEMA)
    broken = json.loads(as_sarif(backdoored()))
    broken["runs"][0]["results"][0]["level"] = "fatal"
    assert list(VALIDATOR.iter_errors(broken))


@pytest.mark.parametrize("name", EXAMPLES)
def test_matches_schema(name: str) -> None:
    run = log_of(EXAMPLES[name]())["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert set(rules) == {result["ruleId"] for result in run["results"]}
    assert all(rule["helpUri"].endswith(f"#{rule['id']}") for rule in run["tool"]["driver"]["rules"])
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    assert all(
        rule["help"]["text"] and rule["help"]["markdown"] and rule["shortDescription"]["text"]
        for rule in run["tool"]["driver"]["rules"]
    )
    assert all(len(rule["properties"]["tags"]) <= 10 for rule in run["tool"]["driver"]["rules"])
    assert all(0 < float(rule["properties"]["security-severity"]) <= 10 for rule in run["tool"]["driver"]["rules"])


@pytest.mark.parametrize("name", ["clean", "identical", "nothing", "cached"])
def test_nothing_found_is_an_empty_list(name: str) -> None:
    assert results_of(EXAMPLES[name]()) == []


def test_a_detection() -> None:
    (result,) = results_of(backdoored())
    assert (result["ruleId"], result["level"]) == ("trigger-confirmed", "error")
    assert "U+0585 ARMENIAN SMALL LETTER OH" in result["message"]["text"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "text_encoder/model.safetensors", "uriBaseId": "%SRCROOT%"}
    assert place["region"] == {"startLine": 1}


def test_what_was_not_looked_at_is_a_result() -> None:
    unsure, skipped = results_of(inconclusive())
    assert (unsure["ruleId"], skipped["ruleId"]) == ("trigger-not-distinct", "refused-pickle")
    assert skipped["level"] == "warning"
    assert (
        unsure["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        == "checkpoints/step-900/model.safetensors"
    )


def test_an_unfinished_scan_says_so() -> None:
    invocation = log_of(EXAMPLES["interrupted"]())["runs"][0]["invocations"][0]
    (notification,) = invocation["toolExecutionNotifications"]
    assert (notification["level"], notification["descriptor"]["id"]) == ("warning", "interrupted")
    assert "toolExecutionNotifications" not in log_of(clean())["runs"][0]["invocations"][0]


def test_fingerprints_follow_the_weights_and_nothing_else() -> None:
    def prints(report: ScanReport) -> list[dict[str, str]]:
        return [result["partialFingerprints"] for result in results_of(report)]

    first = backdoored()
    later = dataclasses.replace(
        first, created="2027-01-01T00:00:00Z", snapshot=dataclasses.replace(first.snapshot, commit_sha="a" * 40)
    )
    other = dataclasses.replace(
        first, outcomes=(dataclasses.replace(first.results[0], tower_digest="b" * 64), *first.outcomes[1:])
    )
    assert prints(first) == prints(later)
    assert prints(first) != prints(other)
    assert re.fullmatch(r"[0-9a-f]{16}:1", prints(first)[0]["primaryLocationLineHash"])


def test_several_reports_are_one_run_at_the_files_that_name_them() -> None:
    log = json.loads(sarif_log([(backdoored(), ".github/models.txt"), (clean(), None), (inconclusive(), None)]))
    assert not list(VALIDATOR.iter_errors(log))
    (run,) = log["runs"]
    assert len(run["invocations"]) == 3
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == ".github/models.txt"
    assert not json.loads(sarif_log([]))["runs"][0]["results"]


def test_limits_of_code_scanning() -> None:
    report = inconclusive()
    result = report.results[0]
    many = dataclasses.replace(
        result.encoder, weight_files=tuple(weight(f"shard-{i}.safetensors") for i in range(3 * MAX_LOCATIONS))
    )
    skipped = tuple(dataclasses.replace(report.skipped[0], component=f"part-{i}") for i in range(MAX_RESULTS + 10))
    results = results_of(dataclasses.replace(report, outcomes=(dataclasses.replace(result, encoder=many), *skipped)))
    assert len(results) == MAX_RESULTS
    assert max(len(r["locations"]) for r in results) == MAX_LOCATIONS


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../x", "a/../../b c%41#?.safetensors", "C:\\x\\y", "javascript:alert(1)", ""]
)
def test_a_location_stays_inside_the_checkout(path: str) -> None:
    report = backdoored()
    encoder = dataclasses.replace(report.results[0].encoder, weight_files=(weight(path),))
    (result,) = results_of(
        dataclasses.replace(report, outcomes=(dataclasses.replace(report.results[0], encoder=encoder),))
    )
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", uri)
    assert not uri.startswith("/")
    assert not {"..", "."} & set(unquote(uri).split("/"))


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("example", ["backdoored", "inconclusive"])
def test_hostile_text(example: str, name: str) -> None:
    report = poisoned(EXAMPLES[example](), NASTY[name])
    text = as_sarif(report)
    assert text.isascii()
    assert "##[" not in text
    assert not [line for line in text.split("\n") if line.strip().startswith("::")]
    for result in results_of(report):
        message = result["message"]["text"]
        assert not LINK.search(message)
        assert not re.search(r"(?<!\{)\{\d", message.replace("{{", ""))
        assert len(message) <= 4000
        assert message.isprintable()
