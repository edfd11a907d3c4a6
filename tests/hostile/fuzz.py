"""Random damage to every kind of file that a repository may hold, thousands of times.

`python -m tests.hostile.fuzz --minutes 5 --seed 1`.

A clean encoder's files are changed: values inside their JSON replaced, moved or taken out, bytes flipped, inserted and
cut. What must hold of every input: only an `AmdetError` leaves, only listed files are read, the time of one input and
the memory of all stay below a cap, and a tower that loads at all has exactly the finite numbers that the safetensors
library itself reads from the file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.key_layouts import TowerLayout
from amdet_hub.encoders.load import load_tower
from amdet_hub.encoders.tokenizer import load_tokenizer
from amdet_hub.errors import AmdetError, BadRepository
from amdet_hub.hub._front_matter import card_claims
from amdet_hub.hub._paths import checked_listing
from amdet_hub.records import FetchPlan, ProgressCallback, RepoFile, RepoSnapshot, ResolvedEncoder, TensorInfo
from amdet_hub.testing.models import tiny_clip, tiny_siglip
from tests.hostile.forge import CARD, CONFIG, INDEX, TOKENIZER, WEIGHTS, Files, broken_lora, framed, split

MOST_SECONDS = 5.0
"""Processor time of one input. The usual one takes some milliseconds."""
MOST_GROWTH_BYTES = 1 << 30
"""What the process may grow by over a whole run."""
TEXTS = ("a photo of a cat", "'" * 2000, "a" * 5000, "\u0301" * 500, " \t" * 500, "<|endoftext|>" * 50)
_JUNK: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2, 3, 1 << 31, 1 << 48, 1 << 63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "..", "../x", "/etc/passwd", "a\0b", "\ud800", "\u202e", "F16", "I64", WEIGHTS, "x" * 5000, "!!bool"),
    *([], {}, [[]], [0, 0], [1, 1 << 40], {"a": None}, [["a", "b"], "c"]),
)
_BITS = (
    b"",
    b"\0",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"\xff",
    b"9" * 400,
    b"[" * 100,
    b"- ",
    b"!!",
    b"&a ",
    b"*a",
    b"\n",
)


class MemorySource:
    """Files in memory as a `RepoSource`. Asking for one that is not listed is a failure of the code under test."""

    def __init__(self, files: Files, folder: Path) -> None:
        self._files, self._folder = files, folder
        rows = checked_listing(RepoFile(path, len(data)) for path, data in files.items())
        self.snapshot = RepoSnapshot("org/model", "hub", "0" * 40, rows)

    def read_small(self, path: str, *, max_bytes: int) -> bytes:
        data = self._files[path]
        if len(data) > max_bytes:
            raise BadRepository(path, "it is too large")
        return data

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        return self._files[path][start:stop]

    def fetch(self, path: str, progress: ProgressCallback | None = None) -> Path:
        place = self._folder / f"{abs(hash(path))}.safetensors"
        place.write_bytes(self._files[path])
        return place

    def fetch_tensors(
        self, path: str, tensors: Mapping[str, TensorInfo], progress: ProgressCallback | None = None
    ) -> Path:
        return self.fetch(path, progress)

    def plan_fetch(self, path: str, tensors: Mapping[str, TensorInfo] | None) -> FetchPlan:
        return FetchPlan(0, 0, whole=True)

    def check_unchanged(self) -> None:
        pass


# ---------------------------------------------------------------- damage


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    items = value.items() if isinstance(value, dict) else enumerate(value[:12]) if isinstance(value, list) else ()
    for key, inner in list(items)[:60]:
        found += _places(inner, (*at, key))
    return found


def _damaged(value: Any, picks: Sequence[tuple[int, int, Any]]) -> Any:
    """`value` with some places replaced by junk, taken out, renamed or copied elsewhere."""
    root = json.loads(json.dumps(value))
    for where, action, picked in picks:
        junk = json.loads(json.dumps(picked))  # a copy: it may be damaged in its turn
        places = _places(root)
        if not places:
            return junk
        *way, last = places[where % len(places)]
        holder = root
        for key in way:
            holder = holder[key]
        if action == 0:
            del holder[last]
        elif action == 1 and isinstance(holder, dict):
            holder[str(junk)] = holder.pop(last)
        elif action == 2 and isinstance(holder, list):
            holder.insert(0, junk)
        else:
            holder[last] = junk
    return root


_numbers = st.integers(0, 1 << 16)
_picks = st.lists(st.tuples(_numbers, st.integers(0, 5), st.sampled_from(_JUNK)), min_size=1, max_size=4)
_cuts = st.lists(st.tuples(_numbers, st.integers(0, 3), st.sampled_from(_BITS)), max_size=4)


def _cut(data: bytes, cuts: Sequence[tuple[int, int, bytes]]) -> bytes:
    for where, length, bits in cuts:
        at = where * len(data) >> 16
        data = data[:at] + bits + data[at + length :]
    return data


def _json_file(clean: Any, *, raw: bool = True) -> st.SearchStrategy[bytes]:
    """A JSON file: damaged as a value, sometimes damaged as bytes too."""
    text = _picks.map(lambda picks: json.dumps(_damaged(clean, picks)).encode("utf-8", "replace"))
    return st.builds(_cut, text, _cuts if raw else st.just([]))


def _kinds(clean: Files) -> dict[str, st.SearchStrategy[Files]]:
    """What is damaged, and the repositories that come of it."""
    header, data = split(clean[WEIGHTS])
    tokenizer = json.loads(clean[TOKENIZER])
    index = {"metadata": {}, "weight_map": {name: WEIGHTS for name in header if name != "__metadata__"}}
    pipe = {
        "_class_name": "X",
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "unet": ["diffusers", "U"],
    }
    modules = [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}]
    front = b"license: mit\nbase_model:\n- a/b\n- 'c'\ntags: {a: 1, b: [x, 2026-01-01, 1:2]}\n? k\n: !!str v\n"
    lora_header, lora_data = split(broken_lora("ranks"))
    unigram = siglip_files()
    inside = {f"0_CLIPModel/{name}": blob for name, blob in clean.items()}
    component = {f"text_encoder/{name}": blob for name, blob in clean.items()}

    def put(name: str, base: Files = clean) -> Callable[[bytes], Files]:
        return lambda blob: {**base, name: blob}

    return {
        "header": _json_file(header, raw=False).map(lambda h: {**clean, WEIGHTS: framed(h, data)}),
        "header bytes": (
            st.builds(_cut, st.just(clean[WEIGHTS][: len(clean[WEIGHTS]) - len(data)]), _cuts).map(
                lambda h: {**clean, WEIGHTS: h + data}
            )
        ),
        "weight bytes": (
            st.builds(_cut, st.just(data), _cuts).map(
                lambda d: {**clean, WEIGHTS: framed(json.dumps(header).encode(), d)}
            )
        ),
        "index": _json_file(index).map(put(INDEX)),
        "config": _json_file(json.loads(clean[CONFIG])).map(put(CONFIG)),
        "tokenizer": _json_file(tokenizer, raw=False).map(put(TOKENIZER)),
        "tokenizer model": (
            _json_file(tokenizer["model"], raw=False).map(lambda m: {**clean, TOKENIZER: b'{"model":' + m + b"}"})
        ),
        "SigLIP tokenizer": (
            _json_file(json.loads(unigram[TOKENIZER])["model"], raw=False).map(
                lambda m: {**unigram, TOKENIZER: b'{"model":' + m + b"}"}
            )
        ),
        "SigLIP config": _json_file(json.loads(unigram[CONFIG])).map(put(CONFIG, unigram)),
        "model_index": _json_file(pipe).map(put("model_index.json", component)),
        "modules": _json_file(modules).map(put("modules.json", inside)),
        "card": st.builds(_cut, st.just(front), _cuts).map(lambda f: {**clean, CARD: b"---\n" + f + b"\n---\n"}),
        "LoRA": (
            _json_file(lora_header, raw=False).map(
                lambda h: {**clean, "pytorch_lora_weights.safetensors": framed(h, lora_data)},
            )
        ),
        "adapter": (
            _json_file({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}).map(
                put("adapter_config.json")
            )
        ),
    }


# ---------------------------------------------------------------- what must hold


def probe(files: Files, folder: Path) -> str:
    """Do with `files` what a scan does up to the tower in memory, and say how it ended.

    Raises: AssertionError; whatever should not have left.
    """
    began = time.process_time()
    try:
        card_claims(files.get(CARD, b""))
        source = MemorySource(files, folder)
        for encoder in find_encoders(source).encoders:
            _check_encoder(encoder, source, files)
        ended = "loaded"
    except AmdetError as error:
        ended = type(error).__name__ if str(error) else ""
    assert ended, "an error says something"
    spent = time.process_time() - began
    assert spent < MOST_SECONDS, f"{spent:.1f} s"
    return ended


def _check_encoder(encoder: ResolvedEncoder, source: MemorySource, files: Files) -> None:
    loaded = load_tower(encoder, source)
    # What a plain tower holds is held against the format's own library; one that was merged from several files has no
    # such counterpart.
    read = safetensors.torch.load(files[encoder.weight_files[0].path])
    cut = TowerLayout.of(encoder).slices(encoder.config)
    for name, tensor in loaded.tensors.items():
        assert torch.isfinite(tensor.float()).all(), name
        stored = read.get(cut[name].stored)
        if len(encoder.weight_files) == 1 and cut[name].part == "whole" and stored is not None:
            assert torch.equal(stored, tensor), name
    tokenizer = load_tokenizer(encoder, source)
    if tokenizer is not None:
        for text in TEXTS:
            ids = tokenizer.encode(text)
            assert all(0 <= i < encoder.config.vocab_size for i in ids)
            tokenizer.decode(ids)


def clean_files() -> Files:
    """A clean encoder's files, small enough to be damaged a hundred times a second."""
    with tempfile.TemporaryDirectory() as folder:
        made = tiny_clip(Path(folder), layers=1, hidden_size=16, positions=16, projection_dim=8)
        return {path.name: path.read_bytes() for path in made.iterdir()}


@cache
def siglip_files() -> Files:
    """The same in SigLIP's layout, with a Unigram tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        made = tiny_siglip(Path(folder), layers=1, hidden_size=16, positions=16)
        return {path.name: path.read_bytes() for path in made.iterdir()}


def run(kind: str, clean: Files, *, examples: int, number: int | None) -> Counter[str]:
    """Probe `examples` inputs of one kind; how they ended, counted. `number` None gives the same inputs every time.

    Raises: what `probe` raises.
    """
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:

        @settings(
            max_examples=examples,
            derandomize=number is None,
            database=None,
            deadline=None,
            phases=[Phase.generate] if number is not None else [Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(_kinds(clean)[kind])
        def attempt(files: Files) -> None:
            ends[probe(files, Path(name))] += 1

        (seed(number)(attempt) if number is not None else attempt)()
    return ends


def kinds() -> tuple[str, ...]:
    """The names of what is damaged."""
    return tuple(_kinds(clean_files()))


def peak_bytes() -> int:
    """The most memory this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    """Fuzz for some minutes. Exit code 1 when anything got through."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hostile.fuzz", description="Damage repositories at random and look at what happens."
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    clean, began, number, failures = clean_files(), time.monotonic(), asked.seed * 1_000_003, 0
    run("config", clean, examples=1, number=0)
    before, ends = peak_bytes(), Counter[str]()
    for kind in itertools.cycle(_kinds(clean)):
        number += 1
        try:
            ends += run(kind, clean, examples=100, number=number)
        except Exception as error:  # noqa: BLE001 (counted and shown; the run goes on)
            failures += 1
            print(f"FAILED {kind} (seed {number}): {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)  # noqa: T201
        if time.monotonic() - began >= 60 * asked.minutes:
            break
    growth = peak_bytes() - before
    failures += growth > MOST_GROWTH_BYTES
    how = ", ".join(f"{count:,} {end}" for end, count in ends.most_common())
    ran = f"{ends.total():,} inputs, {time.monotonic() - began:.0f} s"
    print(f"{ran}, {failures} failures, memory grew by {growth / 1e6:.0f} MB")  # noqa: T201
    print(f"ended as: {how}")  # noqa: T201
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
