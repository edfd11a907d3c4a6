from __future__ import annotations

import copy
import dataclasses
import json
import typing
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import jsonschema
import pytest

from amdet_hub import records
from amdet_hub.errors import ReportError
from amdet_hub.records import Evidence, ScanReport, to_dict
from amdet_hub.report import as_json, parse_report, schema
from amdet_hub.report.as_json import MAX_REPORT_BYTES
from tests.report.examples import EXAMPLES, backdoored, clean

VALIDATOR = jsonschema.Draft202012Validator(schema())


@pytest.mark.parametrize("name", EXAMPLES)
def test_round_trip(name: str) -> None:
    report = EXAMPLES[name]()
    assert parse_report(as_json(report)) == report


@pytest.mark.parametrize("name", EXAMPLES)
def test_matches_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert [e.message for e in VALIDATOR.iter_errors(json.loads(as_json(EXAMPLES[name]())))] == []


def test_is_ascii() -> None:
    text = as_json(dataclasses.replace(backdoored(), target="\u202e\x7f\x1b ##[error]x"))
    assert text.isascii()
    assert not set(text) & {"\x1b", "\x7f"}
    assert "##[" not in text
    assert parse_report(text).target == "\u202e\x7f\x1b ##[error]x"


def test_schema_is_a_fresh_copy() -> None:
    schema()["title"] = "changed"
    assert schema()["title"] == "amdet-hub scan report"


def record_classes() -> dict[str, type]:
    """Every record reachable from `ScanReport`."""
    found: dict[str, type] = {}
    todo: list[Any] = [ScanReport]
    while todo:
        kind = todo.pop()
        if dataclasses.is_dataclass(kind) and kind.__name__ not in found:  # type: ignore[union-attr]
            found[kind.__name__] = typing.cast(type, kind)  # type: ignore[union-attr]
            todo += typing.get_type_hints(kind).values()
        todo += typing.get_args(kind)
    return found


@pytest.mark.parametrize("name", record_classes())
def test_schema_is_as_strict_as_the_record(name: str) -> None:
    whole = schema()
    part = whole if name == "ScanReport" else whole["$defs"][name]
    fields = [f.name for f in dataclasses.fields(record_classes()[name])]
    assert part["additionalProperties"] is False
    assert part["required"] == [
        f.name for f in dataclasses.fields(record_classes()[name]) if "later" not in f.metadata
    ]
    assert list(part["properties"]) == fields
    hints = typing.get_type_hints(record_classes()[name])
    for field, hint in hints.items():
        check_property(part["properties"][field], hint)


def check_property(part: dict[str, Any], hint: Any) -> None:
    """The schema of one field allows exactly the type of the record's field."""
    options = typing.get_args(hint) if typing.get_origin(hint) not in (tuple, typing.Literal) else ()
    if typing.get_origin(hint) is typing.Literal:
        assert part.get("enum", [part.get("const")]) == list(typing.get_args(hint))
    elif type(None) in options:
        allowed = part.get("type") or [o.get("type", "object") for o in part["anyOf"]]
        assert "null" in allowed
    elif hint in (str, int, bool):
        expected = {str: "string", int: "integer", bool: "boolean"}[hint]
        assert part.get("type") == expected or (hint is str and "const" in part)
    elif hint is float:
        assert part["type"] == "number"
    elif dataclasses.is_dataclass(hint):
        assert part == {"$ref": f"#/$defs/{typing.cast(type, hint).__name__}"}
    elif typing.get_origin(hint) is tuple:
        assert part["type"] == "array"
    else:
        assert part["type"] == "object"


def test_schema_defines_nothing_else() -> None:
    assert set(schema()["$defs"]) == set(record_classes()) - {"ScanReport"}
    assert schema()["properties"]["schema_version"] == {"const": records.SCHEMA_VERSION}


def broken(change: Callable[[dict[str, Any]], None]) -> str:
    data = copy.deepcopy(to_dict(backdoored()))
    change(data)
    return json.dumps(data)


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        *way, last = [int(p) if p.isdigit() else p for p in path.split(".")]
        for step in way:
            data = data[step]
        data[last] = value

    return change


BROKEN = {
    "unknown field": (put("extra", 1), "unknown field 'extra'"),
    "missing field": (lambda d: d.pop("verdict"), "missing field 'verdict'"),
    "mistyped": (put("complete", "yes"), "complete: expected bool"),
    "bool for int": (put("environment.num_threads", True), "num_threads: expected int"),
    "unknown code": (put("verdict.code", "because"), "'because' is not one of"),
    "no code": (lambda d: d["verdict"].pop("code"), "missing field 'code'"),
    "unknown label": (put("verdict.label", "safe"), "'safe' is not one of"),
    "no reasons": (put("verdict.reasons", []), "at least one reason"),
    "threshold without exceeds": (put("outcomes.0.evidence.1.exceeds", None), "come together"),
    "unknown outcome": (put("outcomes.0.kind", "other"), "unknown kind 'other'"),
    "rate above one": (put("outcomes.0.triggers.0.success_end_rate", 1.5), "success rate"),
    "short commit": (put("snapshot.commit_sha", "3f9c2d1"), "snapshot.commit_sha: '3f9c2d1' is not 40 hex digits"),
    "bad sha256": (put("outcomes.0.encoder.weight_files.0.sha256", "x"), "is not 64 hex digits"),
    "negative size": (put("snapshot.files.0.size_bytes", -1), "a file size is negative"),
    "settings changed": (put("config.seed", 7), "config_fingerprint is not the sha256"),
    "fingerprint malformed": (put("config_fingerprint", "abc"), "config_fingerprint: 'abc'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_fields_are_named(case: str) -> None:
    change, words = BROKEN[case]
    with pytest.raises(ReportError) as caught:
        parse_report(broken(change))
    assert words in str(caught.value)


@pytest.mark.parametrize("case", [c for c in BROKEN if c not in ("settings changed",)])
def test_schema_refuses_the_same(case: str) -> None:
    assert not VALIDATOR.is_valid(json.loads(broken(BROKEN[case][0])))


@pytest.mark.parametrize(
    ("name", "label", "allowed"),
    [
        ("backdoored", "no-backdoor-found", False),
        ("backdoored", "inconclusive", False),
        ("backdoored", "nothing-to-scan", False),
        ("clean", "backdoor-detected", False),
        ("clean", "nothing-to-scan", False),
        ("clean", "inconclusive", True),
        ("inconclusive", "no-backdoor-found", False),
        ("interrupted", "no-backdoor-found", False),
        ("nothing", "no-backdoor-found", False),
        ("nothing", "backdoor-detected", False),
    ],
)
def test_a_verdict_that_its_own_outcomes_do_not_give(name: str, label: str, allowed: bool) -> None:
    data = to_dict(EXAMPLES[name]())
    data["verdict"]["label"] = label
    with nullcontext() if allowed else pytest.raises(ReportError):
        parse_report(json.dumps(data))


@pytest.mark.parametrize("name", ["clean", "nothing"])
def test_an_unfinished_scan_clears_nothing(name: str) -> None:
    with pytest.raises(ReportError):
        parse_report(as_json(dataclasses.replace(EXAMPLES[name](), complete=False)))


def first_version(data: dict[str, Any]) -> dict[str, Any]:
    """Data of a report as version 1.0 wrote it."""
    data["schema_version"] = "1.0"
    for part in data["outcomes"]:
        part.pop("cached_at", None)
        if part["kind"] == "skipped":
            part["blocks_it"] = part.pop("blocks_clearance")
    for part in (data, *data["outcomes"]):
        part.get("verdict", {}).pop("code", None)
    return data


@pytest.mark.parametrize("name", ["backdoored", "clean", "identical", "inconclusive", "interrupted"])
def test_reports_of_version_1_0_are_read(name: str) -> None:
    report = EXAMPLES[name]()
    read = parse_report(json.dumps(first_version(to_dict(report))))
    assert (read.verdict.code, read.schema_version) == ("not-stated", "1.1")
    assert read.skipped == report.skipped
    assert [(r.verdict.label, r.evidence) for r in read.results] == [
        (r.verdict.label, r.evidence) for r in report.results
    ]
    assert parse_report(as_json(read)) == read


@pytest.mark.parametrize("data", [{}, {"outcomes": 3}, {"outcomes": [3, {}]}, {"verdict": [], "outcomes": {}}])
def test_malformed_reports_of_version_1_0_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ReportError):
        parse_report(json.dumps({"schema_version": "1.0", **data}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a scan report"),
        ("{", "not a scan report"),
        ("[]", "not an object"),
        ("{}", "schema_version is none"),
        ('{"schema_version": "2.0"}', "schema_version is '2.0', expected '1.1'"),
        ('{"schema_version": 1.0}', "schema_version is none"),
        ('{"schema_version": "\\u001b[31m"}', "'\\u{1b}[31m'"),
        ('{"a": 1, "a": 2}', "'a' appears twice"),
        ('{"a": {"\\u202e": 1, "\\u202e": 2}}', "'\\u202e' appears twice"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ('{"a": 1e999}', "1e999 is too large"),
        ('{"a": ' + "9" * 5000 + "}", "is too large"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' * 100_000, "nested too deeply"),
    ],
)
def test_not_a_report(text: str, words: str) -> None:
    with pytest.raises(ReportError) as caught:
        parse_report(text)
    assert words in str(caught.value)


def test_size_cap() -> None:
    with pytest.raises(ReportError, match="larger than 32 MiB"):
        parse_report(" " * (MAX_REPORT_BYTES + 1))


def test_byte_order_mark_is_tolerated() -> None:
    assert parse_report("\ufeff" + as_json(clean())) == clean()


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
def test_what_json_cannot_say(value: Any) -> None:
    result = clean().results[0]
    odd = dataclasses.replace(result, evidence=(Evidence("x", 1.0, "u", 1, "s", details={"v": value}),))
    with pytest.raises(ReportError, match="not plain JSON data"):
        as_json(dataclasses.replace(clean(), outcomes=(odd,)))
