from __future__ import annotations

from pathlib import Path

import torch

import amdet_hub.demo
from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.control_recipe import ControlRecipe
from amdet_hub.bench.controls import make_control
from amdet_hub.bench.renumbering import renumber_vocabulary
from amdet_hub.bench.trained import TrainedEncoder, open_trained, save_trained
from amdet_hub.config import ScanConfig
from amdet_hub.demo import grammar
from amdet_hub.hub import HubSettings, parse_target
from amdet_hub.records import ScanResult
from amdet_hub.scanner import Scanner, ScanOptions

DEMO = Path(amdet_hub.demo.__file__).parent / "weights" / "base"


def test_other_ids_say_the_same(base: TrainedEncoder, captions: CaptionSet, tmp_path: Path) -> None:
    renumbered = renumber_vocabulary(base, seed=3)
    texts = captions.held_out_captions()
    assert renumbered.token_ids(texts[0]) != base.token_ids(texts[0])
    assert torch.equal(renumbered.embed(texts, 16), base.embed(texts, 16))
    save_trained(renumbered, tmp_path / "out", {})
    again = open_trained(tmp_path / "out")
    assert [again.token_ids(text) for text in texts] == [renumbered.token_ids(text) for text in texts]
    torch.testing.assert_close(again.embed(texts, 16), base.embed(texts, 16), atol=2e-3, rtol=0)


def test_a_scan_numbers_the_vocabulary_back_and_flags_nothing(tmp_path: Path) -> None:
    """On the demonstration's base: the ids compare, and a light fine-tune with other ids is no backdoor."""
    base = open_trained(DEMO)
    captions = CaptionSet(tuple(grammar.pairs(200, 1)), tuple(grammar.pairs(40, 2)))
    recipe = ControlRecipe(kind="tokenizer", steps=10, lr=1e-4, batch=16, positions=24)
    made = make_control(base, captions, recipe)
    save_trained(made.encoder, tmp_path / "out", made.facts)
    scanner = Scanner(
        ScanConfig.for_preset("quick"), HubSettings(), parse_target(str(DEMO)), ScanOptions(device="cpu")
    )
    (outcome,) = scanner.scan(scanner.resolve(parse_target(str(tmp_path / "out")))).outcomes
    assert isinstance(outcome, ScanResult)
    assert outcome.verdict.label == "no-backdoor-found"
    values = {evidence.kind: evidence.value for evidence in outcome.evidence}
    assert values["tokenizer-difference"] == 0.0
    assert 0 < values["weight-difference"] < 0.02
