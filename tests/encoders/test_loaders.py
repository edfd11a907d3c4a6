"""What the model of the loaders says that each takes, from names and small JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.loaders import Listing, all_takes, by_folder, loaded_by
from amdet_hub.testing.models import tiny_clip, tiny_pipeline
from tests.encoders.folder_source import FolderSource, edit_tensors

CONFIG, OPENCLIP = "config.json", "open_clip_config.json"
PLAIN, FP16, BIN = "model.safetensors", "model.fp16.safetensors", "pytorch_model.bin"
INDEX, SHARD = "model.safetensors.index.json", "model-00001-of-00001.safetensors"

# files, with their content where it counts -> the calls that load some, and what they load
CASES: dict[str, tuple[dict[str, Any], set[tuple[str, tuple[str, ...]]]]] = {
    "no configuration": ({PLAIN: None}, set()),
    "safetensors over a pickle": (
        {CONFIG: {}, PLAIN: None, BIN: None},
        {
            ("transformers", (PLAIN,)),
            ("transformers (use_safetensors=False)", (BIN,)),
            ("sentence-transformers", (PLAIN,)),
            ("sentence-transformers (use_safetensors=False)", (BIN,)),
        },
    ),
    "a variant, which has no other name to fall back to": (
        {f"a/{CONFIG}": {}, f"a/{FP16}": None, f"a/{BIN}": None},
        {("transformers (subfolder=a)", (f"a/{BIN}",)), ("transformers (subfolder=a, variant=fp16)", (f"a/{FP16}",))},
    ),
    "a file over an index": (
        {f"a/{CONFIG}": {}, f"a/{PLAIN}": None, f"a/{INDEX}": {"weight_map": {"x": SHARD}}, f"a/{SHARD}": None},
        {("transformers (subfolder=a)", (f"a/{PLAIN}",))},
    ),
    "an index over a pickle": (
        {f"a/{CONFIG}": {}, f"a/{BIN}": None, f"a/{INDEX}": {"weight_map": {"x": SHARD, "y": "b.txt"}}},
        {
            ("transformers (subfolder=a)", ("a/b.txt", f"a/{SHARD}")),
            ("transformers (subfolder=a, use_safetensors=False)", (f"a/{BIN}",)),
        },
    ),
    "weights that the configuration names": (
        {
            f"a/{CONFIG}": {"transformers_weights": "other.safetensors"},
            f"a/{PLAIN}": None,
            "a/other.safetensors": None,
        },
        {("transformers (subfolder=a)", ("a/other.safetensors",))},
    ),
    "an adapter": (
        {"a/adapter_config.json": {}, "a/adapter_model.bin": None, "a/adapter_model.safetensors": None},
        {("transformers (subfolder=a, with its adapter)", ("a/adapter_model.safetensors",))},
    ),
    "a pipeline whose component has no folder": (
        {
            "model_index.json": {"_class_name": "P", "text_encoder": ["transformers", "CLIPTextModel"]},
            CONFIG: {},
            PLAIN: None,
        },
        {
            ("transformers", (PLAIN,)),
            ("sentence-transformers", (PLAIN,)),
            ("diffusers (text_encoder)", (PLAIN,)),
        },
    ),
    "a modular pipeline": (
        {
            "modular_model_index.json": {"text_encoder": ["transformers", "CLIPTextModel", {"subfolder": "te"}]},
            f"te/{CONFIG}": {},
            f"te/{PLAIN}": None,
        },
        {("transformers (subfolder=te)", (f"te/{PLAIN}",)), ("diffusers (text_encoder)", (f"te/{PLAIN}",))},
    ),
    "modules of sentence-transformers": (
        {
            "modules.json": [{"path": "0_CLIPModel"}, "no module"],
            f"0_CLIPModel/{CONFIG}": {},
            f"0_CLIPModel/{BIN}": None,
        },
        {
            ("transformers (subfolder=0_CLIPModel)", (f"0_CLIPModel/{BIN}",)),
            ("sentence-transformers", (f"0_CLIPModel/{BIN}",)),
        },
    ),
    "the names of open_clip": (
        {OPENCLIP: {}, "open_clip_pytorch_model.bin": None, "open_clip_pytorch_model.safetensors": None},
        {
            ("open_clip (hf-hub:)", ("open_clip_pytorch_model.bin",)),
            ("open_clip (local-dir:)", ("open_clip_pytorch_model.safetensors",)),
        },
    ),
    "any name for open_clip": (
        {OPENCLIP: {}, "b.bin": None, "a.pth": None, "c.pt": None},
        {("open_clip (local-dir:)", ("a.pth",))},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_files_that_a_loader_chooses(tmp_path: Path, case: str) -> None:
    files, expected = CASES[case]
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(json.dumps(content))
    takes = by_folder(Listing(FolderSource(tmp_path), ""))
    assert {(take.label, take.files) for take in takes} == expected


def test_more_indexes_than_are_read_block(tmp_path: Path) -> None:
    for number in range(513):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / INDEX).write_text('{"weight_map": {}}')
    source = FolderSource(tmp_path)
    assert list(by_folder(Listing(source, ""))) == []
    assert [s.reason for s in find_encoders(source).skipped if s.blocks_clearance] == ["unreadable"]


def test_loaders_that_are_given_a_file_go_by_its_ending(tmp_path: Path) -> None:
    for name in ("a.SAFETENSORS", "b.sft", "c.ckpt", "d.txt"):
        (tmp_path / name).touch()
    takers: dict[str, set[str]] = {}
    for take in all_takes(FolderSource(tmp_path)):
        takers.setdefault(take.files[0], set()).add(take.loader)
    everywhere = {"diffusers from_single_file", "open_clip", "ComfyUI"}
    assert takers == {
        "a.SAFETENSORS": everywhere | {"A1111", "diffusers load_lora_weights"},
        "b.sft": everywhere,
        "c.ckpt": everywhere | {"A1111"},
    }


def loaders(folder: Path) -> list[set[str]]:
    source = FolderSource(folder)
    return [{t.loader for t in loaded_by(e, all_takes(source))} for e in find_encoders(source).encoders]


def test_a_tower_is_loaded_by_those_who_read_its_names(tmp_path: Path) -> None:
    pipeline = tiny_pipeline(tmp_path / "pipe", kind="sd15")
    assert loaders(pipeline) == [{"transformers", "diffusers", "ComfyUI"}]
    checkpoint = tiny_clip(tmp_path / "checkpoint", hidden_size=64)
    (checkpoint / "config.json").unlink()
    prefix = "conditioner.embedders.0.transformer."

    def move(tensors: dict[str, Any]) -> None:
        for name in list(tensors):
            tensors[prefix + name] = tensors.pop(name)

    edit_tensors(checkpoint / PLAIN, move)
    assert loaders(checkpoint) == [{"diffusers from_single_file", "ComfyUI", "A1111"}]


def test_a_clean_tower_under_a_name_that_no_loader_takes_is_shown_as_such(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "m")
    edit_tensors(folder / PLAIN, lambda tensors: tensors.update({f"x.{n}": tensors.pop(n) for n in list(tensors)}))
    (folder / PLAIN).rename(folder / "notes.safetensors")
    assert loaders(folder) == [set()]
