"""The rates that a card and the page show are those of the committed test, and only where they apply."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from amdet_hub.bench.results import read_results
from amdet_hub.report.error_rates import MEASURED, counted, rates_of, rates_of_report
from tests.report.examples import backdoored

RESULTS = Path(__file__).parents[2] / "bench" / "results" / "test.jsonl"
REFERENCES = {"right": True, "none": False}


def test_every_row_is_what_the_benchmark_counted() -> None:
    counts: Counter[tuple[str, bool, str, bool]] = Counter()
    for model in read_results(RESULTS).results:
        if model.split != "test" or (model.label == "backdoored" and not model.kept):
            continue
        for scan in model.scans:
            if scan.detector == "standard" and scan.reference in REFERENCES:
                family = "siglip" if model.layout == "siglip" else "clip"
                counts[family, REFERENCES[scan.reference], model.label, scan.verdict == "backdoor-detected"] += 1
    assert {(family, compared) for family, compared, _, _ in counts} == set(MEASURED)
    for (family, compared), rates in MEASURED.items():
        wrong, found = (counts[family, compared, label, True] for label in ("benign", "backdoored"))
        assert counted(rates) == (wrong, found)
        assert rates.n_benign == wrong + counts[family, compared, "benign", False]
        assert rates.n_backdoored == found + counts[family, compared, "backdoored", False]
        assert (rates.family, rates.preset) == (family, "quick")


def test_rates_are_shown_only_of_what_was_measured() -> None:
    report = backdoored()
    (result, *_) = report.results
    trusted = replace(result, reference=replace(result.reference, trust="trusted"))
    plain = replace(report, config={"preset": "quick"})
    assert rates_of(trusted, plain) == MEASURED["clip", True]
    alone = replace(result, reference=replace(result.reference, trust="none"))
    assert rates_of(alone, plain) == MEASURED["clip", False]
    declared = replace(result, reference=replace(result.reference, trust="declared"))
    assert rates_of(declared, plain) is None
    for config in ({"preset": "paper"}, {"preset": "characters"}, {}, {"preset": "quick", "sweep": {"n_prompts": 3}}):
        assert rates_of(trusted, replace(report, config=config)) is None, config


def test_a_card_names_one_rate_or_none() -> None:
    report = replace(backdoored(), config={"preset": "standard"})
    (result, *_) = report.results
    trusted = replace(result, reference=replace(result.reference, trust="trusted"))
    alone = replace(result, reference=replace(result.reference, trust="none"))
    assert rates_of_report(replace(report, outcomes=(trusted, trusted))) == MEASURED["clip", True]
    assert rates_of_report(replace(report, outcomes=(trusted, alone))) is None
    assert rates_of_report(replace(report, outcomes=())) is None
