"""Files that are small to publish and large to read: each in a process of its own, with a cap on memory and on
processor time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile.forge import CARD, CONFIG, INDEX, WEIGHTS, Files, framed

ADDRESS_SPACE_BYTES = 2 << 30
RESIDENT_BYTES = 1 << 30
PROCESSOR_S = 60
"""Far above what any case takes (some seconds at most), far below what an unchecked one would take."""


def tensors(count: int) -> bytes:
    """A well-made file of many empty tensors."""
    return framed(
        b"{"
        + b",".join(b'"text_model.%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(count))
        + b"}"
    )


def filled(piece: bytes, size_bytes: int) -> bytes:
    """A JSON object with a list of `piece` that takes `size_bytes`."""
    return b'{"a":[' + (piece + b",") * (size_bytes // (len(piece) + 1)) + b"0]}"


def modules(files: Files) -> Files:
    """One folder, named 15,000 times; each time its header would be read."""
    inside = {f"0_CLIPModel/{name}": data for name, data in files.items()}
    return {**inside, "modules.json": json.dumps([{"path": "0_CLIPModel", "type": "a.CLIPModel"}] * 15_000).encode()}


def crowd(files: Files) -> Files:
    """A pipeline of 250 components, 30 of them with the same weights, among 2,000 other files."""
    index: dict[str, object] = {
        f"text_encoder_{i}": ["transformers", "CLIPTextModelWithProjection"] for i in range(250)
    }
    made: Files = {f"text_encoder_{i}/{name}": files[name] for i in range(30) for name in (CONFIG, WEIGHTS)}
    return {**made, **{f"x/{i}.json": b"" for i in range(2000)}, "model_index.json": json.dumps(index).encode()}


BOMBS: dict[str, Callable[[Files], Files]] = {
    "header of empty lists": lambda f: {**f, WEIGHTS: framed(filled(b"[]", 25_000_000))},
    "header of short strings": lambda f: {**f, WEIGHTS: framed(filled(b'"ab"', 25_000_000))},
    "header of 29,000 tensors": lambda f: {**f, WEIGHTS: tensors(29_000)},
    "header of 350,000 tensors": lambda f: {**f, WEIGHTS: tensors(350_000)},
    "a number of 20 million digits": lambda f: {**f, WEIGHTS: framed(b'{"a":0.' + b"1" * 20_000_000 + b"}")},
    "config of empty lists": lambda f: {**f, CONFIG: filled(b"[]", 4_000_000)},
    "an index of 90,000 shards": lambda f: {
        **f,
        INDEX: json.dumps({"weight_map": {f"{i}": f"{i}.safetensors" for i in range(90_000)}}).encode(),
    },
    "modules": modules,
    "a crowd": crowd,
    "card: nested": lambda f: {CARD: b"---\na: " + b"[" * 65_000 + b"\n---\n"},
    "card: base 60": lambda f: {CARD: b"---\na: 1" + b":59" * 21_000 + b"\n---\n"},
    "card: a megabyte of openings": lambda f: {CARD: b"---\n" * 250_000},
    "card: merged keys": lambda f: {CARD: b"---\n" + b"{<<: " * 150 + b"{}" + b"}" * 150 + b"\n---\n"},
    "tokenizer of empty lists": lambda f: {"tokenizer": filled(b"[]", 60_000_000)},
    "tokenizer of just too few lists": lambda f: {"tokenizer": filled(b'["a","bc"]', 16_000_000)},
    "tokenizer of short strings": lambda f: {"tokenizer": filled(b'"ab"', 60_000_000)},
    "tokenizer of a long string": lambda f: {"tokenizer": b'{"a":"' + "\U0001f600".encode() * 15_000_000 + b'"}'},
}
_READ_TOKENIZER = """
import sys; from pathlib import Path
from amdet_hub.encoders.strict_json import parse_json_object
from amdet_hub.errors import BadRepository
try: parse_json_object(Path(sys.argv[1], "tokenizer").read_bytes(), "tokenizer.json")
except BadRepository: pass
sys.exit(3)
"""


MEASURED = f"""
import json, resource, subprocess, sys
resource.setrlimit(resource.RLIMIT_AS, ({ADDRESS_SPACE_BYTES}, {ADDRESS_SPACE_BYTES}))
resource.setrlimit(resource.RLIMIT_CPU, ({PROCESSOR_S}, {PROCESSOR_S}))
code = subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, used.ru_maxrss * 1024, used.ru_utime + used.ru_stime]))
"""
"""Starts the program with limits from a small process: a child counts what its parent held when it was started as
memory of its own.
"""


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_costs_little(clean: Files, tmp_path: Path, bomb: str) -> None:
    files = BOMBS[bomb](clean)
    for name, data in files.items():
        place = tmp_path / "model" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    target = str(tmp_path / "model")
    command = (
        ["-c", _READ_TOKENIZER, target]
        if "tokenizer" in files
        else ["-m", "amdet_hub", "resolve", target, "--no-reference"]
    )
    with (tmp_path / "said").open("w+b") as said:
        measured = subprocess.run(
            [sys.executable, "-c", MEASURED, *command], stdout=subprocess.PIPE, stderr=said, check=True
        )
        code, resident_bytes, processor_s = json.loads(measured.stdout)
        words = (tmp_path / "said").read_text()
    harmless = bomb in ("modules", "a crowd") or bomb.startswith("card")
    assert code in (0, 2, 3) if harmless else code in (2, 3), words
    assert "Traceback" not in words
    assert "defect" not in words
    assert "memory" not in words
    assert resident_bytes < RESIDENT_BYTES
    assert processor_s < PROCESSOR_S
