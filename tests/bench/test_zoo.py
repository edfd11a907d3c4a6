"""The suites as data: what calibration and test share, and what they must not."""

from __future__ import annotations

import pytest

from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.control_recipe import ControlRecipe
from amdet_hub.bench.results import LAYOUTS
from amdet_hub.bench.zoo import suite
from amdet_hub.bench.zoo_specs import Suite
from amdet_hub.errors import ConfigError

SUITES = ("smoke", "calibration", "test", "names")


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


def test_the_smoke_suite_is_four_and_four_and_one_of_each_other_read_out() -> None:
    models = suite("smoke").models
    assert [model.label for model in models] == ["backdoored"] * 4 + ["benign"] * 4 + ["backdoored"] * 2
    assert [model.recipe.kind for model in models[-2:]] == ["projection", "penultimate"]


def test_no_such_suite() -> None:
    with pytest.raises(ConfigError, match="none of smoke, calibration, test, names"):
        suite("full")
