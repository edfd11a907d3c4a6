"""The round-trip law of the records on generated records, and what `from_dict` refuses."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amdet_hub import records
from amdet_hub.errors import ReportError
from amdet_hub.records import (
    Evidence,
    RepoFile,
    RepoSnapshot,
    ScanReport,
    ScanResult,
    SkippedScan,
    Verdict,
    codec,
    fingerprint,
    from_dict,
    to_dict,
)

RECORDS = [
    cls
    for cls in vars(records).values()
    if isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__module__.startswith(f"{records.__name__}.")
]
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(max_size=8)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FLOATS | TEXT
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2), max_leaves=4
)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type, by the same types that `from_dict` understands."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return JSON
    if dataclasses.is_dataclass(hint):
        return instances(typing.cast(type, hint))
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(st.none() if a is type(None) else values(a) for a in args))
    if origin is typing.Literal:
        return st.sampled_from(args)
    if origin is tuple:
        return st.lists(values(args[0]), max_size=2).map(tuple)
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(TEXT, values(args[1]), max_size=2)
    return {str: TEXT, bool: st.booleans(), int: st.integers(-(2**53), 2**53), float: FLOATS}[hint]


def instances(cls: type) -> st.SearchStrategy[Any]:
    """Valid records of one class."""
    fields = {name: values(hint) for name, hint in typing.get_type_hints(cls).items()}
    if cls is Verdict:
        fields["reasons"] = st.lists(TEXT, min_size=1, max_size=2).map(tuple)
    if cls is Evidence:
        line = fields.pop("threshold"), fields.pop("exceeds")
        return st.one_of(
            st.builds(Evidence, **fields),
            st.builds(Evidence, **fields, threshold=line[0].filter(lambda v: v is not None), exceeds=st.booleans()),
        )
    return st.builds(cls, **fields)


def test_every_record_is_covered() -> None:
    assert len(RECORDS) >= 14
    assert {ScanReport, ScanResult, SkippedScan, Evidence, RepoSnapshot} <= set(RECORDS)


@pytest.mark.parametrize("cls", RECORDS, ids=lambda c: c.__name__)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_round_trip(cls: type, data: st.DataObject) -> None:
    record = data.draw(instances(cls))
    plain = to_dict(record)
    assert from_dict(cls, plain) == record
    assert from_dict(cls, json.loads(json.dumps(plain, allow_nan=False))) == record


@pytest.mark.parametrize("cls", RECORDS, ids=lambda c: c.__name__)
@given(data=st.data())
@settings(max_examples=5, deadline=None)
def test_missing_and_unknown_fields_are_named(cls: type, data: st.DataObject) -> None:
    plain = to_dict(data.draw(instances(cls)))
    later = {field.name for field in dataclasses.fields(cls) if "later" in field.metadata}
    assert from_dict(cls, {k: v for k, v in plain.items() if k not in later})  # an older report is still read
    for name in plain.keys() - later:
        with pytest.raises(ReportError) as caught:
            from_dict(cls, {k: v for k, v in plain.items() if k != name})
        assert str(caught.value) == f"{cls.__name__}: missing field '{name}'"
    with pytest.raises(ReportError) as caught:
        from_dict(cls, {**plain, "zz_unknown": 1})
    assert str(caught.value) == f"{cls.__name__}: unknown field 'zz_unknown'"


@pytest.mark.parametrize("cls", RECORDS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("data", [None, 1, "text", [], True])
def test_not_an_object(cls: type, data: Any) -> None:
    with pytest.raises(ReportError, match=f"{cls.__name__}: expected an object"):
        from_dict(cls, data)


@pytest.mark.parametrize("cls", RECORDS, ids=lambda c: c.__name__)
def test_records_are_frozen(cls: type) -> None:
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]


FILE = to_dict(RepoFile("a", 1))
EVIDENCE = to_dict(Evidence("k", 1.0, "u", 1, "s"))
SNAPSHOT = to_dict(RepoSnapshot("org/m", "hub", "0" * 40, (RepoFile("a", 1),)))


@pytest.mark.parametrize(
    ("cls", "data", "words"),
    [
        (RepoFile, {**FILE, "path": 3}, "RepoFile.path: expected str, found int"),
        (RepoFile, {**FILE, "size_bytes": "3"}, "RepoFile.size_bytes: expected int, found str"),
        (RepoFile, {**FILE, "size_bytes": True}, "RepoFile.size_bytes: expected int, found bool"),
        (RepoFile, {**FILE, "size_bytes": 1.0}, "RepoFile.size_bytes: expected int, found float"),
        (RepoFile, {**FILE, "sha256": 3}, "RepoFile.sha256: expected str, found int"),
        (RepoSnapshot, {**SNAPSHOT, "gated": 1}, "RepoSnapshot.gated: expected bool, found int"),
        (RepoSnapshot, {**SNAPSHOT, "files": {}}, "RepoSnapshot.files: expected a list"),
        (RepoSnapshot, {**SNAPSHOT, "files": [FILE, 3]}, "RepoSnapshot.files[1]: expected an object"),
        (RepoSnapshot, {**SNAPSHOT, "files": [{**FILE, "x": 1}]}, "RepoSnapshot.files[0]: unknown field 'x'"),
        (RepoSnapshot, {**SNAPSHOT, "kind": "cloud"}, "RepoSnapshot.kind: 'cloud' is not one of 'hub', 'local'"),
        (RepoSnapshot, {**SNAPSHOT, "kind": []}, "RepoSnapshot.kind: [] is not one of"),
        (Evidence, {**EVIDENCE, "value": True}, "Evidence.value: expected float, found bool"),
        (Evidence, {**EVIDENCE, "value": None}, "Evidence.value: expected float, found NoneType"),
        (Evidence, {**EVIDENCE, "value": math.inf}, "non-finite value"),
        (Evidence, {**EVIDENCE, "threshold": 1.0}, "threshold and exceeds come together"),
        (Evidence, {**EVIDENCE, "details": []}, "Evidence.details: expected an object"),
        (Verdict, {"label": "inconclusive", "confidence": "normal", "reasons": []}, "needs at least one reason"),
    ],
)
def test_wrong_types_are_named(cls: type, data: dict[str, Any], words: str) -> None:
    with pytest.raises(ReportError) as caught:
        from_dict(cls, data)
    assert words in str(caught.value)


def test_an_integer_is_a_float_but_not_the_reverse() -> None:
    assert from_dict(Evidence, {**EVIDENCE, "value": 3}).value == 3.0
    assert isinstance(from_dict(Evidence, {**EVIDENCE, "value": 3}).value, float)


def test_unions_go_by_kind() -> None:
    skip = SkippedScan("org/m", "x", "duplicate", "d", False)
    outcome = typing.get_type_hints(ScanReport)["outcomes"]
    assert codec._decode(outcome, [to_dict(skip)], "outcomes") == (skip,)
    kinds: list[Any] = ["other", None, 3, []]
    for kind in kinds:
        with pytest.raises(ReportError, match="unknown kind"):
            codec._decode(outcome, [{**to_dict(skip), "kind": kind}], "outcomes")
    with pytest.raises(ReportError, match="unknown field 'blocks_clearance'"):
        codec._decode(outcome, [{**to_dict(skip), "kind": "result"}], "outcomes")


def test_invalid_records_are_not_born() -> None:
    with pytest.raises(ValueError, match="non-finite"):
        Evidence("k", math.nan, "u", 1, "s")
    with pytest.raises(ValueError, match="come together"):
        Evidence("k", 1.0, "u", 1, "s", exceeds=True)
    with pytest.raises(ValueError, match="at least one reason"):
        Verdict("inconclusive", "normal", "not-stated", ())


def test_fingerprint_ignores_order_only() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": 1, "b": [1, 2]}) != fingerprint({"a": 1, "b": [2, 1]})
    assert fingerprint({"a": 1}) != fingerprint({"a": 1.5})
    assert len(fingerprint({})) == 64
    with pytest.raises(ValueError, match="JSON"):
        fingerprint({"a": math.nan})


def test_snapshot_file_is_an_exact_match() -> None:
    snapshot = from_dict(RepoSnapshot, SNAPSHOT)
    assert snapshot.file("a") == RepoFile("a", 1)
    assert snapshot.file("A") is None
