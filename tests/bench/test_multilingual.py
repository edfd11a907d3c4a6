from __future__ import annotations

import pytest

from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.control_recipe import ControlRecipe, Language
from amdet_hub.bench.multilingual import learn_language, translate
from amdet_hub.bench.trained import TrainedEncoder


def test_listed_words_are_translated_and_others_are_spelled_in_the_script() -> None:
    assert translate("A dog and a zebra, running.", "ru") == "один собака и один зебра, руннинг."
    assert translate("a cat on the moon", "el") == "ένα γάτα πάνω το μοον"
    assert translate("a red zebra", "de") == "ein rot zebra"


@pytest.mark.parametrize("language", ["ru", "el", "de"])
def test_a_language_is_learned_and_english_is_kept(
    language: Language, base: TrainedEncoder, captions: CaptionSet
) -> None:
    recipe = ControlRecipe(kind="multilingual", language=language, steps=60, lr=3e-3, batch=24, bf16=False)
    trained = learn_language(base, captions, recipe)
    assert trained.facts["learned_similarity"] > trained.facts["learned_similarity_before"] + 0.2
    texts, positions = captions.held_out_captions(), trained.facts["positions"]
    kept = (trained.encoder.embed(texts, positions) * base.embed(texts, positions)).sum(-1)
    assert kept.mean().item() > 0.95
