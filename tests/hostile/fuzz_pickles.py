"""Random damage to files of `torch.save`: their pickle streams, opcode by opcode and byte by byte, and their zip.

`python -m tests.hostile.fuzz_pickles --streams 200000 --seed 1`.

What must hold of every file: a `BadRepository` or a table comes back, the interpreter reports no event at all (no
import, no look-up, no opened file), the time of one file and the memory of all stay below a cap, and a table is what
`torch.load` reads from the same file, with `weights_only` and without, wherever torch reads it.
"""

from __future__ import annotations

import argparse
import pickletools
import random
import sys
import time
import warnings
from collections import Counter, OrderedDict
from collections.abc import Sequence
from functools import cache

import torch

from amdet_hub.encoders import pickle_table
from amdet_hub.errors import BadRepository
from tests.encoders.folder_source import saved
from tests.hostile.fuzz import MOST_GROWTH_BYTES, MOST_SECONDS, peak_bytes
from tests.hostile.pickles import (
    EVENTS,
    HOOKS,
    NAME,
    STORAGE,
    archive_of,
    assert_same,
    loaded_state_dict,
    named,
    records,
    source_of,
    tensor,
    text,
)

# What a damaged stream gets: pieces with a meaning, and names whose call would change nothing.
_PIECES = (
    *(
        b"N",
        b"\x88",
        b"K\x00",
        b"K\x01",
        b"M\xff\xff",
        b"J\xff\xff\xff\xff",
        b"\x8a\x08" + b"\xff" * 8,
        b"G" + bytes(8),
    ),
    *(
        b"(",
        b")",
        b"]",
        b"}",
        b"t",
        b"\x85",
        b"\x86",
        b"\x87",
        b"a",
        b"e",
        b"s",
        b"u",
        b"R",
        b"b",
        b"Q",
        b".",
        b"0",
        b"2",
    ),
    *(
        b"q\x00",
        b"h\x00",
        b"r\x00\x00\x00\x00",
        b"j\x00\x00\x00\x00",
        b"\x94",
        b"\x93",
        b"\x81",
        b"\x8f",
        b"\x95" + bytes(8),
    ),
    *(
        text("a"),
        text("state_dict"),
        text("storage"),
        text("0"),
        b"\x8c\x01b",
        b"C\x01b",
        b"X\xff\xff\xff\xff",
        b"\x80\x02",
    ),
    *(named("torch", "FloatStorage"), named("torch", "IntStorage"), named("torch.storage", "UntypedStorage")),
    *(named("torch", "float16"), named("torch", "Size"), named("torch._utils", "_rebuild_parameter")),
    *(named("builtins", "len"), named("os", "getcwd"), named("collections", "Counter"), HOOKS, STORAGE, tensor()),
)


@cache
def bases() -> tuple[bytes, ...]:
    """Small files of `torch.save`, of every kind that is read."""
    torch.manual_seed(0)
    storage = torch.arange(16.0)
    flat = {"a": storage, "b": storage[3:9].reshape(2, 3), "c": torch.arange(4)}
    module = torch.nn.Linear(3, 2)
    nested = {"state_dict": module.state_dict(), "epoch": 1, "optimizer": {"state": {}, "lr": 0.5, "x": storage[2:4]}}
    odd = {"a": torch.zeros(0, 3), "b": torch.tensor(1), "n": None, "f": torch.zeros(2).to(torch.float8_e4m3fn)}
    values = (flat, OrderedDict(flat), module.state_dict(), dict(module.named_parameters()), nested, odd)
    return tuple(saved(value, pickle_protocol=protocol) for value in values for protocol in (2, 4))


@cache
def _parts(archive: bytes) -> tuple[dict[str, bytes], tuple[bytes, ...]]:
    """An archive's records, and the opcodes of its pickle with their arguments."""
    held = records(archive)
    pickle = held["data.pkl"]
    at = [place for _, _, place in pickletools.genops(pickle) if place is not None]
    return held, tuple(pickle[start:stop] for start, stop in zip(at, [*at[1:], len(pickle)], strict=True))


def damaged_opcodes(draw: random.Random) -> bytes:
    """A file whose pickle has some opcodes taken out, repeated, exchanged or added."""
    held, steps = _parts(draw.choice(bases()))
    changed = list(steps)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        at, other = draw.randrange(len(changed)), draw.randrange(len(changed))
        action = draw.randrange(6)
        if action == 0 and len(changed) > 1:
            del changed[at]
        elif action == 1:
            changed.insert(at, changed[other])
        elif action == 2:
            changed[at], changed[other] = changed[other], changed[at]
        elif action == 3:
            changed[at] = changed[other]
        elif action == 4:
            changed[at] = draw.choice(_PIECES)
        else:
            changed.insert(at, draw.choice(_PIECES))
    return archive_of({**held, "data.pkl": b"".join(changed)})


def _damaged(data: bytes, draw: random.Random, places: list[int]) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.choice(places) if places else draw.randrange(len(data))
        action = draw.randrange(5)
        if action == 0:
            changed[at : at + 1] = bytes([draw.randrange(256)])
        elif action == 1:
            changed[at : at + 1] = bytes([changed[at % len(changed)] ^ (1 << draw.randrange(8))])
        elif action == 2:
            changed[at : at + 4] = draw.choice((b"\xff" * 4, bytes(4), b"\x01\0\0\0", b"\0\0\0\x80"))
        elif action == 3:
            del changed[at : at + draw.randrange(1, 9)]
        else:
            changed[at:at] = changed[(start := draw.randrange(len(changed))) : start + draw.randrange(1, 40)]
    return bytes(changed)


def damaged_bytes(draw: random.Random) -> bytes:
    """A file whose pickle has some bytes changed, taken out or repeated."""
    held, _ = _parts(draw.choice(bases()))
    return archive_of({**held, "data.pkl": _damaged(held["data.pkl"], draw, [])})


def damaged_zip(draw: random.Random) -> bytes:
    """A file whose zip structures have some bytes changed, taken out or repeated."""
    archive = draw.choice(bases())
    directory = int.from_bytes(archive[-6:-2], "little")
    heads = [at + i for at in range(0, directory, 1) if archive.startswith(b"PK\3\4", at) for i in range(46)]
    return _damaged(archive, draw, heads if draw.random() < 0.4 else list(range(directory, len(archive))))


KINDS = {"opcodes": damaged_opcodes, "bytes": damaged_bytes, "zip": damaged_zip}


def probe(archive: bytes) -> str:
    """How one file ends: "refused", or "read" and how torch ends with it. Raises: AssertionError."""
    source = source_of(archive)
    began = time.process_time()
    try:
        with EVENTS.none():
            table = pickle_table.read_pickle_table(source, NAME)
    except BadRepository:
        return "refused"
    finally:
        spent = time.process_time() - began
        assert spent < MOST_SECONDS, f"{spent:.1f} s"
    ends = []
    for weights_only in (True, False):
        try:
            expected = loaded_state_dict(archive, weights_only=weights_only)
        except Exception:  # noqa: BLE001 (torch refuses in many ways)
            ends.append("refuses")
            continue
        assert_same(archive, table, expected)
        ends.append("agrees")
    return f"read, torch {ends[0]} (weights only) and {ends[1]} (whole pickle)"


def run(streams: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Probe this many files, the same for one seed; how they ended, and what failed."""
    ends: Counter[str] = Counter()
    failures = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of other protocols than 2
        for number in range(streams):
            kind = ("opcodes", "bytes", "opcodes", "zip")[number % 4]
            archive = KINDS[kind](random.Random(f"{seed} {number}"))
            try:
                ends[probe(archive)] += 1
            except Exception as error:  # noqa: BLE001 (counted and shown; the run goes on)
                failures.append(f"{kind} {number} (seed {seed}): {type(error).__name__}: {str(error)[:300]}")
    return ends, failures


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz this many streams. Exit code 1 when anything got through."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hostile.fuzz_pickles", description="Damage pickled weights and look at what is read."
    )
    parser.add_argument("--streams", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    run(100, -1)
    before, began = peak_bytes(), time.monotonic()
    ends, failures = run(asked.streams, asked.seed)
    growth = peak_bytes() - before
    for failure in failures[:20]:
        print(f"FAILED {failure}", file=sys.stderr)  # noqa: T201
    ran = f"{asked.streams:,} files, {time.monotonic() - began:.0f} s, {len(failures)} failures"
    print(f"{ran}, peak memory {peak_bytes() / 1e6:.0f} MB, grew by {growth / 1e6:.0f} MB")  # noqa: T201
    for end, count in ends.most_common():
        print(f"{count:>9,} {end}")  # noqa: T201
    return 1 if failures or growth > MOST_GROWTH_BYTES else 0


if __name__ == "__main__":
    sys.exit(main())
