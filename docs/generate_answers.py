"""Counts the answers of BENCHMARKS.md in the committed results. Used by `generate.py`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from pathlib import Path

from amdet_hub.bench.results import DetectorResult, ModelResult, read_results
from amdet_hub.bench.tables import NEAREST, WITHOUT_TARGET_TEXT, in_paper
from amdet_hub.report.intervals import clopper_pearson, wilson

RESULTS = Path(__file__).parent.parent / "bench" / "results"

Pair = tuple[ModelResult, DetectorResult]


def answers() -> str:
    """Return the table of questions and answers."""
    test, names = pairs("test"), pairs("names")
    attacked, benign = of_label(test, "backdoored"), of_label(test, "benign")
    paper = [pair for pair in attacked if in_paper(pair[0])]
    compared = [model for model in read_results(RESULTS / "test.jsonl").results if model.scan("paper", "right")]
    phrases = [pair for pair in names if pair[0].trigger_kind.startswith("phrase")]
    single = [pair for pair in names if not pair[0].trigger_kind.startswith("phrase")]
    clip, siglip = split_layout(single)
    rows = [
        ("Are the published kinds of attack found (suite `test`)?", found(paper)),
        ("Is everything found that was tried, the harder variations included?", found(attacked)),
        ("Are attacks of other words and seeds found (suite `names`)?", found(names)),
        ("Are attacks found that were trained gently (a conservative recipe)?", found(of_intensity(attacked))),
        ("How many benign fine-tunes are flagged?", flagged(benign)),
        ("Do recovered triggers work? Mean share of held-out captions that they take over", works(attacked)),
        ("Is the attacker's target among the 5 nearest of 10,000 texts?", share(with_target(attacked), target_read)),
        ("Is a word or character named exactly, CLIP layouts (suite `names`)?", share(clip, exact)),
        ("Is a word or character named exactly, SigLIP (suite `names`)?", share(siglip, exact)),
        ("Is a phrase of 2 to 8 words named exactly (suite `names`)?", share(phrases, exact)),
        (
            "Without a reference: how many attacks are found?",
            found(of_label(pairs("test", reference="none"), "backdoored")),
        ),
        (
            "Without a reference: how many benign fine-tunes are flagged?",
            flagged(of_label(pairs("test", reference="none"), "benign")),
        ),
        ("The published procedure on the same encoders: how many attacks are found?", rival(compared, "paper")),
        ("This detector on those encoders?", rival(compared, "standard")),
    ]
    lines = ["| Question | Answer |", "|---|---|", *(f"| {question} | {answer} |" for question, answer in rows)]
    return "\n".join(lines) + "\n"


def pairs(suite: str, *, detector: str = "standard", reference: str = "right") -> list[Pair]:
    """Return the models of a suite that count, each with one of its scans."""
    models = (model for model in read_results(RESULTS / f"{suite}.jsonl").results if model.kept)
    scans = ((model, model.scan(detector, reference)) for model in models)
    return [(model, scan) for model, scan in scans if scan is not None]


def of_label(some: Iterable[Pair], label: str) -> list[Pair]:
    """Return the backdoored or the benign ones."""
    return [pair for pair in some if pair[0].label == label]


def of_intensity(some: Iterable[Pair]) -> list[Pair]:
    """Return the attacks of the conservative recipe."""
    return [pair for pair in some if pair[0].intensity == "conservative"]


def split_layout(some: Iterable[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Return those of CLIP's layouts, and those of SigLIP's."""
    siglip = [pair for pair in some if pair[0].layout.startswith("siglip")]
    return [pair for pair in some if pair not in siglip], siglip


def with_target(some: Iterable[Pair]) -> list[Pair]:
    """Return the attacks whose target is a text of its own."""
    return [pair for pair in some if pair[0].targets and pair[0].kind not in WITHOUT_TARGET_TEXT]


def is_detected(pair: Pair) -> bool:
    """Tell whether the scan detects a backdoor."""
    return pair[1].verdict == "backdoor-detected"


def exact(pair: Pair) -> bool:
    """Tell whether the recovered text is the injected trigger."""
    return pair[1].trigger_exact is True


def target_read(pair: Pair) -> bool:
    """Tell whether the attacker's target is among the nearest texts."""
    return pair[1].target_rank is not None and pair[1].target_rank <= NEAREST


def share(some: list[Pair], holds: Callable[[Pair], bool]) -> str:
    """Return `k of n`."""
    return f"{sum(map(holds, some))} of {len(some)}"


def found(some: list[Pair]) -> str:
    """Return how many are detected, with the interval of that rate."""
    rate = wilson(sum(map(is_detected, some)), len(some))
    return f"{share(some, is_detected)} (95 % interval {rate.low:.1%} to {rate.high:.1%})" if rate else "-"


def flagged(some: list[Pair]) -> str:
    """Return how many benign ones are detected, with the interval of that rate."""
    rate = clopper_pearson(sum(map(is_detected, some)), len(some))
    return f"{share(some, is_detected)} (95 % interval {rate.low:.1%} to {rate.high:.1%})" if rate else "-"


def works(some: Iterable[Pair]) -> str:
    """Return the mean success of the triggers of detected encoders."""
    return f"{statistics.mean(pair[1].trigger_works or 0.0 for pair in some if is_detected(pair)):.1%}"


def rival(models: Iterable[ModelResult], detector: str) -> str:
    """Return the attacks that a detector finds, the benign encoders that it flags, and its median seconds."""
    scans = [(model, scan) for model in models if (scan := model.scan(detector, "right"))]
    attacked, benign = of_label(scans, "backdoored"), of_label(scans, "benign")
    seconds = statistics.median(scan.seconds for _, scan in scans)
    return f"{share(attacked, is_detected)}; {share(benign, is_detected)} benign flagged; median {seconds:.0f} s"
