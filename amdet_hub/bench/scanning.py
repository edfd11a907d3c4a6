"""What the detectors make of one labelled encoder.

Knows the truth and compares; the detectors are run as a user runs them and never see it.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from amdet_hub import verdict as kinds
from amdet_hub.bench.attack_recipe import OR, AttackRecipe
from amdet_hub.bench.metrics import caption_aims, success_of_ids
from amdet_hub.bench.results import SCORE_THRESHOLD, DetectorName, DetectorResult, ReferenceKind
from amdet_hub.bench.tables import WITHOUT_TARGET_TEXT
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.config import ScanConfig
from amdet_hub.detect.naming.target import TextBank
from amdet_hub.detect.prompts import PromptSet, SpecialTokens, tokenized_prompts
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.search.null_distribution import repeating_unit
from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.load import load_tower
from amdet_hub.hub import HubSettings, open_source, parse_target
from amdet_hub.records import ReadOut, ScanResult, TriggerFinding
from amdet_hub.scanner import Scanner, ScanOptions

_MEASURED_CAPTIONS = 200  # held-out captions a recovered trigger is tried on: a standard error of at most 0.035
_PROMPTS = 16  # a recovered trigger is put at the end of, to read its target
_BANK_LENGTH = 32
# Of every scan. Attackers who train against the prompts of a scan take those of seed 0; they cannot know the seed of
# an installation (`amdet_hub.installation`).
_SEED = 1


@dataclass(frozen=True)
class Truth:
    """What is known of a labelled encoder.

    Attributes:
        recipe: how it was attacked, None for a control.
        relative_change: of its weights, against the base.
        positions: token positions it was measured with.
    """

    recipe: AttackRecipe | None
    relative_change: float
    positions: int


class Bench:
    """A base and everything about it that does not depend on the suspect.

    Args:
        base: the clean encoder.
        folder: where it lies.
        near_miss: folder of another fine-tune of it.
        captions: held-out captions.
        bank: texts a target is read with, all targets of the suite among them.
    """

    def __init__(
        self, base: TrainedEncoder, folder: Path, near_miss: Path, captions: Sequence[str], bank: Sequence[str]
    ) -> None:
        self._base, self._captions = base, captions[:_MEASURED_CAPTIONS]
        self._folders: Mapping[ReferenceKind, Path] = {"right": folder, "near-miss": near_miss}
        self._index = {text: i for i, text in enumerate(bank)}
        special = SpecialTokens(base.tokenizer.bos_token_id, base.tokenizer.eos_token_id, base.tokenizer.pad_token_id)
        self._bank = TextBank(_tower(folder), [base.token_ids(text) for text in bank], special, length=_BANK_LENGTH)
        self._prompts: PromptSet = tokenized_prompts(_PROMPTS, 10, base.token_ids, special, seed=1)

    def scan(
        self, folder: Path, suspect: TrainedEncoder, truth: Truth, detector: DetectorName, reference: ReferenceKind
    ) -> DetectorResult:
        """Run one detector on one encoder.

        Args:
            folder: the encoder, transformers layout.
            suspect: the same, opened.
            truth: how it was made.
            detector: "standard", "paper" or "weight-norm".
            reference: "right", "near-miss" or "none".
        """
        if detector == "weight-norm":
            return DetectorResult("weight-norm", "right", round(truth.relative_change, 6), "no-backdoor-found", 0.0)
        started = time.perf_counter()
        against = self._folders.get(reference)
        named = None if against is None else parse_target(str(against))
        options = ScanOptions(device="cpu", use_reference=against is not None, rescan=True)
        scanner = Scanner(bench_config(detector), HubSettings(), named, options)
        report = scanner.scan(scanner.resolve(parse_target(str(folder))))
        seconds = time.perf_counter() - started
        (outcome,) = (o for o in report.outcomes if isinstance(o, ScanResult))
        values = {e.kind: float(e.value) for e in outcome.evidence}
        thresholds = {e.kind: float(e.threshold) for e in outcome.evidence if e.threshold is not None}
        found = outcome.triggers[0] if outcome.triggers else None
        findings = (*outcome.triggers, *getattr(outcome, "meanings", ()))
        result = DetectorResult(
            detector=detector,
            reference=reference,
            score=_score(detector, values, thresholds),
            verdict=outcome.verdict.label,
            seconds=round(seconds, 2),
            values={k: round(v, 4) for k, v in values.items()},
            thresholds={**thresholds, SCORE_THRESHOLD: 1.0},
            trigger_text=None if found is None else found.text,
            named=truth.recipe is not None and is_named(truth.recipe, findings, self._base.token_ids),
        )
        if found is None or truth.recipe is None:
            return result
        return self._compare(result, folder, suspect, truth, truth.recipe, found)

    def _compare(
        self,
        result: DetectorResult,
        folder: Path,
        suspect: TrainedEncoder,
        truth: Truth,
        recipe: AttackRecipe,
        found: TriggerFinding,
    ) -> DetectorResult:
        """The recovered trigger against the injected ones: the same text, a text that works, the target it says."""
        captions, positions, ids = self._captions, truth.positions, found.token_ids
        suspect, base = suspect.reading(recipe.read_out), self._base.reading(recipe.read_out)
        aims = [caption_aims(base, recipe, captions, positions, target=target) for _, target in recipe.backdoors]
        works = [success_of_ids(suspect, base, captions, ids, aim, positions) for aim in aims]
        best, rank = works.index(max(works)), None
        if recipe.kind not in WITHOUT_TARGET_TEXT:
            with torch.inference_mode():
                similarity = self._bank.similarities(_tower(folder), self._prompts, ids)
            rank = 1 + int((similarity > similarity[self._index[recipe.backdoors[best][1]]]).sum())
        return dataclasses.replace(
            result,
            trigger_exact=any(same_trigger(found.text or "", trigger) for trigger, _ in recipe.backdoors),
            trigger_works=round(works[best], 4),
            target_rank=rank,
        )


def bench_config(detector: str) -> ScanConfig:
    """The configuration of a detector. "standard" is the preset `quick`, which detects the same in less time."""
    return ScanConfig.for_preset("quick" if detector == "standard" else detector, seed=_SEED)


def is_named(
    recipe: AttackRecipe, findings: Sequence[TriggerFinding], token_ids: Callable[[str], Sequence[int]]
) -> bool:
    """Whether findings name one of the injected triggers: by its text, or by all of its tokens.

    Args:
        recipe: of the attack. Every word of a topic is a trigger.
        findings: what a report names, each with `text` and `token_ids`.
        token_ids: of a text, without special tokens.
    """
    triggers = [trigger for trigger, _ in recipe.backdoors]
    if recipe.placement == "topic":
        triggers = [word for trigger in triggers for word in trigger.split(OR)]
    ids = {token for finding in findings for token in finding.token_ids}
    by_text = any(same_trigger(finding.text or "", trigger) for finding in findings for trigger in triggers)
    return by_text or any(ids.issuperset(token_ids(trigger)) for trigger in triggers)


def same_trigger(found: str, injected: str) -> bool:
    """Whether two texts are one trigger: case and spaces aside, a repeated unit counting once ("zz" is "zzzz")."""
    return _unit(found) == _unit(injected)


def _unit(text: str) -> tuple[str, ...]:
    letters = tuple("".join(text.split()).casefold())
    return tuple(map(chr, repeating_unit(tuple(map(ord, letters))))) if letters else ()


def _score(detector: str, values: Mapping[str, float], thresholds: Mapping[str, float]) -> float:
    """How far the weakest of the numbers that must all exceed their thresholds is there: at least 1 means all do."""
    ours = map(kinds.trigger_kinds, get_args(ReadOut))
    measured = [
        min(values[kind] / thresholds[kind] if thresholds[kind] else float(values[kind] > 0) for kind in needed)
        for needed in ([*ours, (kinds.CHANGED_CHARACTER,)] if detector == "standard" else [kinds.PAPER_GATES])
        if all(kind in values for kind in needed)
    ]
    return round(max(measured, default=0.0), 4)  # 0 where recognised as its reference, and not measured


def _tower(folder: Path) -> TextEncoder:
    source = open_source(parse_target(str(folder)), HubSettings())
    return load_tower(find_encoders(source).encoders[0], source).encoder
