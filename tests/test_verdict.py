"""The rule from evidence to verdict, row by row, and what no evidence can do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdet_hub import verdict as kinds
from amdet_hub.records import (
    Confidence,
    Evidence,
    ReasonCode,
    Reference,
    ReferenceTrust,
    ResolvedEncoder,
    ScanResult,
    SkippedScan,
    SkipReason,
    TowerConfig,
    Verdict,
    VerdictLabel,
)
from amdet_hub.verdict import judge, judge_repository

DETECTED: VerdictLabel = "backdoor-detected"
NONE: VerdictLabel = "no-backdoor-found"
UNSURE: VerdictLabel = "inconclusive"
I, W, S, T, C, V, L, MC, MW = (  # noqa: E741
    kinds.IDENTITY,
    kinds.WEIGHT_DIFFERENCE,
    kinds.SWEEP,
    kinds.SUCCESS,
    kinds.COLLAPSE,
    kinds.INVERSION,
    kinds.LANDSCAPE,
    kinds.CHANGED_CHARACTER,
    kinds.CHANGED_WORD,
)
G1, G2, G3, G4 = kinds.PAPER_GATES
SP, TP, CP = (kinds.kind_in(kind, "projected") for kind in (S, T, C))
SL, TL, CL = (kinds.kind_in(kind, "penultimate") for kind in (S, T, C))


def one(kind: str, exceeds: bool | None) -> Evidence:
    threshold = None if exceeds is None else 0.5
    return Evidence(
        kind, 1.0 if exceeds else 0.0, "rate", 8, f"{kind} was measured", threshold=threshold, exceeds=exceeds
    )


def made(above: Iterable[str], below: Iterable[str] = (), informing: Iterable[str] = ()) -> list[Evidence]:
    return [one(k, True) for k in above] + [one(k, False) for k in below] + [one(k, None) for k in informing]


def reference(trust: ReferenceTrust = "trusted") -> Reference:
    return Reference(trust, "for a test")


@pytest.mark.parametrize(
    ("above", "below", "label", "code"),
    [
        # 1. identity, before everything else
        ((), (I,), NONE, "identical-to-reference"),
        ((S, T, C, V), (I,), NONE, "identical-to-reference"),
        ((G1, G2, G3, G4), (I,), NONE, "identical-to-reference"),
        # 2. the published gates, before the standard rules
        ((I, G1, G2, G3, G4), (), DETECTED, "paper-gates-open"),
        ((I, G1, G2, G3), (G4,), NONE, "paper-gate-closed"),
        ((I, G1, G3, G4), (G2,), NONE, "paper-gate-closed"),
        ((G2, G3, G4, S, T, C), (G1,), NONE, "paper-gate-closed"),
        ((G1, G2, G4), (), UNSURE, "paper-gates-untried"),
        ((G1, G2, G3), (), UNSURE, "paper-gates-untried"),
        ((G1, G2), (G4,), NONE, "paper-gate-closed"),
        # 3. a confirmed trigger
        ((I, S, T, C), (V,), DETECTED, "trigger-confirmed"),
        ((I, S, T, C, V), (), DETECTED, "trigger-confirmed"),
        # in any one read-out, and never in several together
        ((I, SL, TL, CL), (S, T, C, SP, TP, CP), DETECTED, "trigger-confirmed"),
        ((I, SP, TP, CP), (S, T, C, V), DETECTED, "trigger-confirmed"),
        ((I, S, TL, CP), (T, C, SP, TP, SL, CL), NONE, "no-trigger-found"),
        ((I, S, SP, SL, T, CL), (C, TP, CP, TL), NONE, "no-trigger-found"),
        ((I, TL, CL), (S, T, C, SL), UNSURE, "trigger-not-distinct"),
        ((I, S, T, C, MC, MW), (V,), DETECTED, "trigger-confirmed"),
        # 4. an attribute trigger
        ((I, MC), (S, T, C, V, MW), DETECTED, "attribute-trigger"),
        ((I, MC, MW, V), (S, T, C), DETECTED, "attribute-trigger"),
        ((MC,), (I,), NONE, "identical-to-reference"),
        # 5. a word whose meaning changed
        ((I, MW), (S, T, C, V, MC), UNSURE, "meaning-changed"),
        ((I, MW, V), (S, T, C), UNSURE, "meaning-changed"),
        ((I, MW, T, C), (S, V), UNSURE, "meaning-changed"),
        ((I,), (S, T, C, V, MC, MW), NONE, "no-trigger-found"),
        # 6. conflicts
        ((I, V), (S, T, C), UNSURE, "inversion-unexplained"),
        ((I, V, S, T), (C,), UNSURE, "inversion-unexplained"),
        ((I, V, T, C), (S,), UNSURE, "inversion-unexplained"),
        ((I, T, C), (S, V), UNSURE, "trigger-not-distinct"),
        # 7. nothing found, if one looked
        ((I,), (S, T, C, V), NONE, "no-trigger-found"),
        ((I, S), (T, C, V), NONE, "no-trigger-found"),
        ((I, S, T), (C, V), NONE, "no-trigger-found"),
        ((I, S, C), (T, V), NONE, "no-trigger-found"),
        ((I,), (), UNSURE, "vocabulary-not-swept"),
        ((I,), (S,), UNSURE, "vocabulary-not-swept"),
        ((I,), (T, C, V), UNSURE, "vocabulary-not-swept"),
        ((), (), UNSURE, "vocabulary-not-swept"),
    ],
)
def test_every_rule_in_its_order(
    above: tuple[str, ...], below: tuple[str, ...], label: VerdictLabel, code: ReasonCode
) -> None:
    found = judge(made(above, below, (W,)), reference())
    assert (found.label, found.code) == (label, code)


@pytest.mark.parametrize(
    ("trust", "confidence"), [("trusted", "normal"), ("user", "normal"), ("declared", "reduced"), ("none", "reduced")]
)
def test_confidence_follows_the_reference(trust: ReferenceTrust, confidence: Confidence) -> None:
    for items in (made((), (I,)), made((I, S, T, C), (V,)), made((I,), (S, T, C, V)), made((I, G1, G2, G3, G4))):
        assert judge(items, reference(trust)).confidence == confidence


def test_open_gates_without_gate_3_are_never_of_normal_confidence() -> None:
    assert judge(made((G1, G2, G4)), reference("trusted")).confidence == "reduced"


def test_reasons_carry_what_was_measured() -> None:
    assert judge(made((I, S, T, C), (V,)), reference()).reasons[1:] == tuple(f"{k} was measured" for k in (S, T, C, V))
    assert judge(made((G1,), (G2, G3, G4)), reference()).reasons[1:] == tuple(
        f"{k} was measured" for k in (G1, G2, G3, G4)
    )


def test_what_changed_its_meaning_stands_in_the_reasons() -> None:
    for above in ((I, MC), (I, MW)):
        found = judge(made(above, (S, T, C, V)), reference())
        assert f"{above[1]} was measured" in found.reasons


def test_reasons_are_those_of_the_read_out_that_decides() -> None:
    found = judge(made((I, SL, TL, CL), (S, T, C)), reference())
    assert found.reasons[1:] == tuple(f"{k} was measured" for k in (SL, TL, CL))
    assert (SL, kinds.in_other_read_out(SL), kinds.in_other_read_out(S)) == (
        "vocabulary-sweep-penultimate",
        True,
        False,
    )


every_kind = st.sampled_from([I, S, T, C, V, L, MC, MW, *kinds.PAPER_GATES])
some = st.dictionaries(every_kind, st.booleans()).map(lambda d: [one(k, e) for k, e in d.items()])
trusts = st.sampled_from(["trusted", "user", "declared", "none"])


@given(
    items=some,
    trust=trusts,
    value=st.floats(0, 1e6),
    exceeds=st.sampled_from([True, False, None]),
    landscape=st.booleans(),
)
def test_weights_and_landscape_never_change_a_verdict(
    items: list[Evidence], trust: ReferenceTrust, value: float, exceeds: bool | None, landscape: bool
) -> None:
    without = [e for e in items if e.kind != L]
    extra = Evidence(W, value, "norm", 1, "moved", threshold=None if exceeds is None else 0.1, exceeds=exceeds)
    more = [extra, *without, one(L, landscape)]
    assert judge(more, reference(trust)) == judge(without, reference(trust))


@given(exceeds=st.sampled_from([True, False, None]), value=st.floats(0, 1e6), trust=trusts, changed=st.booleans())
def test_weights_alone_decide_nothing(
    exceeds: bool | None, value: float, trust: ReferenceTrust, changed: bool
) -> None:
    alone = Evidence(W, value, "norm", 1, "moved", threshold=None if exceeds is None else 0.1, exceeds=exceeds)
    assert judge([alone], reference(trust)).label == UNSURE
    if changed:
        assert judge([one(I, True), alone], reference(trust)).label == UNSURE


@given(items=some, trust=trusts)
def test_a_conviction_needs_all_its_parts(items: list[Evidence], trust: ReferenceTrust) -> None:
    above = {e.kind for e in items if e.exceeds}
    found = judge(items, reference(trust))
    if found.label == DETECTED:
        assert above >= {S, T, C} or MC in above or above >= set(kinds.PAPER_GATES)
    assert "safe" not in " ".join(found.reasons).split()
    assert judge(list(reversed(items)), reference(trust)) == found, "the order of the evidence does not matter"


@given(items=some, trust=trusts)
def test_a_tokenizer_that_reads_otherwise_keeps_from_being_cleared_and_does_nothing_else(
    items: list[Evidence], trust: ReferenceTrust
) -> None:
    without = judge(items, reference(trust))
    changed = judge([*items, one(kinds.TOKENIZER, True)], reference(trust))
    if without.label == NONE:
        assert (changed.label, changed.code) == (UNSURE, "tokenizer-changed")
        assert changed.reasons[1] == one(kinds.TOKENIZER, True).summary
    else:
        assert changed == without
    assert changed.confidence == without.confidence
    assert judge([*items, one(kinds.TOKENIZER, False)], reference(trust)) == without


# ---------------------------------------------------------------- a whole repository


CODES: dict[VerdictLabel, ReasonCode] = {
    DETECTED: "trigger-confirmed",
    NONE: "no-trigger-found",
    UNSURE: "trigger-not-distinct",
}


def result(label: VerdictLabel, confidence: Confidence = "normal", component: str = "text_encoder") -> ScanResult:
    tower = TowerConfig("clip", 16, 32, 2, 2, 20, 60, "quick_gelu", 1e-5, 58, 59, 59)
    encoder = ResolvedEncoder("org/model", "0" * 40, component, "CLIPTextModel", tower, ())
    return ScanResult(encoder, "0" * 64, reference(), Verdict(label, confidence, CODES[label], ("because",)), ())


def skipped(*, blocks: bool) -> SkippedScan:
    reason: SkipReason = "unsupported-architecture" if blocks else "not-clip-family"
    return SkippedScan("org/model", "text_encoder_3", reason, "it is a T5", blocks_clearance=blocks)


@pytest.mark.parametrize(
    ("outcomes", "label", "code"),
    [
        ([result(NONE)], NONE, "no-trigger-found"),
        ([result(NONE), skipped(blocks=False)], NONE, "no-trigger-found"),
        ([result(NONE), skipped(blocks=True)], UNSURE, "unsupported-architecture"),
        ([result(NONE), result(UNSURE)], UNSURE, "trigger-not-distinct"),
        ([result(UNSURE), skipped(blocks=True)], UNSURE, "trigger-not-distinct"),
        ([result(NONE), result(DETECTED)], DETECTED, "trigger-confirmed"),
        ([result(DETECTED), skipped(blocks=True)], DETECTED, "trigger-confirmed"),
        ([result(UNSURE), result(DETECTED)], DETECTED, "trigger-confirmed"),
        ([skipped(blocks=True)], UNSURE, "unsupported-architecture"),
        ([skipped(blocks=False)], "nothing-to-scan", "not-clip-family"),
        ([], "nothing-to-scan", "no-model-files"),
    ],
)
def test_a_repository_is_as_bad_as_its_worst(
    outcomes: list[ScanResult | SkippedScan], label: VerdictLabel, code: ReasonCode
) -> None:
    found = judge_repository(outcomes)
    assert (found.label, found.code) == (label, code)


def test_skipped_parts_are_named() -> None:
    root = dataclasses.replace(skipped(blocks=True), component="")
    reasons = judge_repository([result(NONE), skipped(blocks=True), root]).reasons
    assert [reason.partition(":")[0] for reason in reasons] == ["text_encoder_3", "the repository"]


def test_mixed_confidence() -> None:
    sure, unsure = result(NONE), result(NONE, "reduced", "text_encoder_2")
    assert judge_repository([sure, sure]).confidence == "normal"
    assert judge_repository([sure, unsure]).confidence == "reduced"
    bad, maybe = result(DETECTED), result(DETECTED, "reduced")
    assert judge_repository([bad, unsure]).confidence == "normal", "one sure detection is sure"
    assert judge_repository([maybe, sure]).confidence == "reduced"
    assert judge_repository([bad, maybe, sure]).reasons == (
        "text_encoder: because",
        "text_encoder: because",
    )


@given(
    labels=st.lists(
        st.tuples(st.sampled_from([DETECTED, NONE, UNSURE]), st.sampled_from(["normal", "reduced"])), max_size=4
    ),
    blocked=st.lists(st.booleans(), max_size=3),
)
def test_nothing_unfinished_is_cleared(labels: list[tuple[VerdictLabel, Confidence]], blocked: list[bool]) -> None:
    outcomes = [result(label, confidence) for label, confidence in labels]
    found = judge_repository([*outcomes, *(skipped(blocks=b) for b in blocked)])
    if found.label == NONE:
        assert outcomes
        assert not any(blocked)
        assert {label for label, _ in labels} == {NONE}
    if any(label == DETECTED for label, _ in labels):
        assert found.label == DETECTED
