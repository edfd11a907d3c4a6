from __future__ import annotations

import dataclasses
from pathlib import Path

from amdet_hub.bench.pretrain import Architecture
from amdet_hub.demo.make import ATTACK, FINETUNE, PRETRAIN, make

TOY = Architecture(hidden_size=32, layers=1, heads=1, intermediate_size=32, projection_dim=16)


def toy(out: Path) -> dict[str, bytes]:
    facts = make(
        out,
        pretrain_recipe=dataclasses.replace(PRETRAIN, steps=3, batch=16),
        finetune_recipe=dataclasses.replace(FINETUNE, steps=2, batch=8),
        attack_recipe=dataclasses.replace(ATTACK, steps=2, clean_batch=8, poisoned_batch=4),
        architecture=TOY,
    )
    assert set(facts) == {"base", "finetuned", "backdoored"}
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_the_script_makes_three_repositories_and_the_same_ones_again(tmp_path: Path) -> None:
    first, second = toy(tmp_path / "first"), toy(tmp_path / "second")
    assert first == second
    files = {
        "README.md",
        "config.json",
        "model.safetensors",
        "provenance.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert set(first) == {f"{name}/{file}" for name in ("base", "finetuned", "backdoored") for file in files}
    assert len({first[f"{name}/model.safetensors"] for name in ("base", "finetuned", "backdoored")}) == 3
