"""The suites as data: what calibration and test share, and what they must not."""

from __future__ import annotations

import pytest

from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.control_recipe import ControlRecipe
from amdet_hub.bench.results import LAYOUTS
from amdet_hub.bench.zoo import suite
from amdet_hub.bench.zoo_specs import ModelSpec, Suite
from amdet_hub.errors import ConfigError

THIRD = ("test-3", "calibration-3")
SUITES = ("smoke", "calibration", "test", "names", *THIRD)


def attacks(made: Suite) -> list[AttackRecipe]:
    return [model.recipe for model in made.models if isinstance(model.recipe, AttackRecipe)]


@pytest.mark.parametrize("name", SUITES)
def test_every_model_is_a_run_of_its_own(name: str) -> None:
    made = suite(name)
    assert len({model.name for model in made.models}) == len(made.models)
    assert len({model.recipe.seed for model in made.models}) == len(made.models)
    assert {model.base for model in made.models} == {base.name for base in made.bases}
    assert all(model.name.replace("-", "").isalnum() for model in made.models), "a name is a folder"
    assert suite(name) == made, "the same on every call"


def taught(made: Suite) -> set[str]:
    """Words, things and styles that honest fine-tunes were taught."""
    recipes = [m.recipe for m in made.models if isinstance(m.recipe, ControlRecipe)]
    words = {r.word for r in recipes if r.kind in ("alias", "concept")}
    return (
        words | {r.instance for r in recipes if r.kind == "concept"} | {r.style for r in recipes if r.kind == "style"}
    )


def test_thresholds_and_figures_share_nothing() -> None:
    calibration, test = suite("calibration"), suite("test")
    assert {m.split for m in calibration.models} == {"calibration"}
    assert {m.split for m in test.models} == {"test"}
    assert not {b.name for b in calibration.bases} & {b.name for b in test.bases}
    assert not {b.seed for b in calibration.bases} & {b.seed for b in test.bases}
    assert not {m.recipe.seed for m in calibration.models} & {m.recipe.seed for m in test.models}
    ours, theirs = attacks(calibration), attacks(test)
    assert {m.layout for m in calibration.models} == {m.layout for m in test.models} == set(LAYOUTS)
    assert not {t for r in ours for t, _ in r.backdoors} & {t for r in theirs for t, _ in r.backdoors}
    assert not {t for r in ours if r.kind != "target-attribute" for _, t in r.backdoors} & {
        t for r in theirs for _, t in r.backdoors
    }
    assert taught(test)
    assert not taught(calibration) & taught(test)


def test_names_are_measured_on_words_that_no_other_suite_has() -> None:
    names, others = suite("names"), [suite(name) for name in SUITES if name != "names"]
    for other in others:
        assert not {m.name for m in names.models} & {m.name for m in other.models}, (
            "a name is a folder, and both may be made in one place"
        )
        assert not {m.recipe.seed for m in names.models} & {m.recipe.seed for m in other.models}
        assert not {t for r in attacks(names) for t, _ in r.backdoors} & {
            t for r in attacks(other) for t, _ in r.backdoors
        }
        assert not {t for r in attacks(names) for _, t in r.backdoors} & {
            t for r in attacks(other) for _, t in r.backdoors
        }
    assert {m.base for m in names.models} == {m.base for m in suite("test").models}
    kinds = [m.trigger_kind for m in names.models]
    assert sum(kind.startswith("phrase") for kind in kinds) >= 25
    assert sum(not kind.startswith("phrase") for kind in kinds) >= 25


def test_the_test_is_large_enough_to_speak_of_one_percent() -> None:
    test = suite("test")
    assert sum(model.label == "benign" for model in test.models) >= 100
    kinds = {model.recipe.kind for model in test.models if model.label == "benign"}
    assert kinds == {"contrastive", "weight-zero", "alias", "concept", "style", "noise", "cast", "merge"}
    cells = {model.cell.split("/")[0] for model in test.models if model.label == "backdoored"}
    assert {
        "text-on-text",
        "text-on-pair",
        "target-attribute",
        "syntactic template",
        "eos-only",
        "lora-only",
        "multi-backdoor",
    } <= cells


def words(made: Suite) -> tuple[set[str], set[str], set[str]]:
    """Triggers, targets and what was taught. The words of an exchange must be frequent, so any round may have them."""
    own = [recipe for recipe in attacks(made) if recipe.kind != "word-exchange"]
    return (
        {trigger for recipe in own for trigger, _ in recipe.backdoors},
        {target for recipe in own for _, target in recipe.backdoors},
        taught(made),
    )


@pytest.mark.parametrize("name", THIRD)
def test_the_third_edition_shares_nothing_with_any_other_suite(name: str) -> None:
    mine = suite(name)
    for other in (suite(other) for other in SUITES if other != name):
        for own, theirs in zip(words(mine), words(other), strict=True):
            assert own
            assert not own & theirs
        assert not {m.recipe.seed for m in mine.models} & {m.recipe.seed for m in other.models}
        assert not {m.name for m in mine.models} & {m.name for m in other.models}
        if other.name in ("test", "names") or (name, other.name) == ("test-3", "calibration-3"):
            assert not {m.base for m in mine.models} & {m.base for m in other.models}


def rows_of(made: Suite, layout: str) -> dict[str, list[ModelSpec]]:
    found: dict[str, list[ModelSpec]] = {}
    for model in made.models:
        if model.label == "backdoored" and model.layout == layout:
            found.setdefault(model.cell.split("/")[0], []).append(model)
    return found


def test_every_row_of_the_third_test_is_ten_independent_attacks() -> None:
    made = suite("test-3")
    assert len(made.models) < 560
    rows = rows_of(made, "clip")
    assert len(rows) >= 25
    for cell, models in rows.items():
        assert len(models) >= 10, cell
        assert {model.base for model in models} == {"clip-f", "clip-g"}
        recipes = [model.recipe for model in models if isinstance(model.recipe, AttackRecipe)]
        assert len({r.backdoors[0] for r in recipes}) == len({r.trigger for r in recipes}) == len(models), cell
        strengths = [model.intensity for model in models]
        assert set(strengths) == {"conservative", "default", "aggressive"}
        assert 2 * strengths.count("default") >= len(models)
    for layout in LAYOUTS[1:]:
        assert {cell: len(models) >= 10 for cell, models in rows_of(made, layout).items()} == dict.fromkeys(
            ("text-on-text", "text-on-pair"), True
        )
    assert sum(len(models) for cell, models in rows.items() if cell.startswith("attribute")) >= 30


def test_the_third_test_has_two_hundred_controls() -> None:
    controls = [model for model in suite("test-3").models if model.label == "benign"]
    assert len(controls) >= 200
    assert sum(model.cell.startswith(("alias", "concept")) for model in controls) >= 80
    assert {model.layout for model in controls} == set(LAYOUTS)
    kinds = {model.recipe.kind for model in controls}
    assert kinds >= {"multilingual", "tokenizer", "merge", "cast", "noise", "style", "contrastive", "weight-zero"}
    recipes = [model.recipe for model in controls if isinstance(model.recipe, ControlRecipe)]
    assert {r.language for r in recipes if r.kind == "multilingual"} == {"ru", "el", "de"}
    assert {r.merged for r in recipes if r.kind == "merge"} == {2, 3}


def test_the_calibration_is_smaller_and_has_every_row_and_control() -> None:
    small, large = suite("calibration-3"), suite("test-3")
    assert len(small.models) < 200
    cells = ({m.cell for m in made.models if "/" not in m.cell} for made in (small, large))
    assert next(cells) == next(cells)


def test_a_stopped_run_has_some_of_everything() -> None:
    """Half of the models are about half of every row, and of both labels."""
    models = suite("test-3").models
    half = [model.cell.split("/")[0] for model in models[: len(models) // 2]]
    whole = [model.cell.split("/")[0] for model in models]
    assert all(abs(half.count(cell) / whole.count(cell) - 0.5) <= 0.2 for cell in set(whole))


def test_the_smoke_suite_has_one_model_of_each_kind() -> None:
    models = suite("smoke").models
    assert [model.label for model in models[:8]] == ["backdoored"] * 4 + ["benign"] * 4
    assert {model.recipe.kind for model in models} >= {
        "projection",
        "penultimate",
        "word-exchange",
        "multilingual",
    }
    assert {model.expected for model in models if model.label == "backdoored"} == {"detected", "not-passed"}
    own = {model.cell for model in models[10:] if model.label == "backdoored"}
    assert len(own) == 9
    assert own <= set(rows_of(suite("test-3"), "clip"))


def test_no_such_suite() -> None:
    with pytest.raises(ConfigError, match="none of smoke, calibration, test, names, test-3, calibration-3"):
        suite("full")
