"""Repositories of their real size, as the shared facts describe them: headers with every tensor, and no data.

Knows `layouts.json` (see the README beside it). What a file holds besides text towers is one tensor that fills it to
its size.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from amdet_hub.testing.local_hub import SparseFile

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8}
SLACK = 4096  # bytes that a header may be padded with
RANK = 4  # of every LoRA, where the facts say "r"

Tensors = list[tuple[str, list[int], str]]


def expanded(rows: list[dict[str, Any]], dtype: str | None = None) -> Tensors:
    """Names with `{a..b}` written out; free sizes are `RANK`; `dtype` replaces every stored float type."""
    tensors: Tensors = []
    for row in rows:
        spans = [range(int(a), int(b) + 1) for a, b in re.findall(r"\{(\d+)\.\.(\d+)\}", row["name"])]
        shape = [RANK if size in ("r", "n") else size for size in row["shape"]]
        kind = row["dtype"] if dtype is None or row["dtype"] == "I64" else dtype
        for numbers in itertools.product(*spans):
            pieces = iter(numbers)
            name = re.sub(r"\{\d+\.\.\d+\}", lambda _: str(next(pieces)), row["name"])  # noqa: B023 called at once
            tensors.append((name, shape, kind))
    return tensors


def weight_file(tensors: Tensors, size: int | None, sha256: str | None, name: str) -> SparseFile:
    """A safetensors file of exactly `size` bytes (None: as small as it can be) whose data are zeros."""
    data = sum(math.prod(shape) * SIZES[kind] for _, shape, kind in tensors)
    short = 0 if size is None else size - data - 8 - len(_header(tensors, 0))
    filler = short - SLACK if short > 2 * SLACK else 0
    header = _header(tensors, filler)
    if size is not None:
        header += b" " * (size - data - filler - 8 - len(header))  # as writers pad it, only more
    digest = sha256 or hashlib.sha256(name.encode()).hexdigest()
    return SparseFile(len(header).to_bytes(8, "little") + header, 8 + len(header) + data + filler, digest)


def _header(tensors: Tensors, filler: int) -> bytes:
    entries: dict[str, Any] = {}
    at = 0
    for name, shape, kind in [*tensors, ("other.weight", [filler], "U8")]:
        stop = at + math.prod(shape) * SIZES.get(kind, 1)
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, stop]}
        at = stop
    if not filler:
        del entries["other.weight"]
    return json.dumps(entries, separators=(",", ":")).encode()


def repository(layout: Mapping[str, Any], layouts: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes | SparseFile]:
    """The files of one entry."""
    configs = layout["config_json"] or {}
    by_path = (
        configs if any(str(key).endswith(".json") for key in configs) else {"config.json": configs} if configs else {}
    )
    if layout["kind"] == "clip_text_model_with_projection":
        by_path = {"text_encoder_2/config.json": configs}
    free = {"r": RANK, "a": RANK}
    files: dict[str, bytes | SparseFile] = {}
    for path, data in by_path.items():
        filled = (
            {key: free.get(value, value) if isinstance(value, str) else value for key, value in data.items()}
            if isinstance(data, dict)
            else data
        )
        files[path] = json.dumps(filled).encode()
    if layout["model_index"]:
        files["model_index.json"] = json.dumps(layout["model_index"]).encode()
    for row in layout["files"]:
        path = row["path"].replace("<name>", "style")
        if path.endswith(".safetensors"):
            files[path] = weight_file(
                list(_tensors_of(path, layout, layouts)),
                row.get("size_bytes"),
                row.get("sha256"),
                layout["repo_id"] + path,
            )
        elif path.endswith((".bin", ".pt")):
            files[path] = b"PK\x03\x04"
    return files


def _tensors_of(
    path: str, layout: Mapping[str, Any], layouts: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, list[int], str]]:
    folder, _, name = path.rpartition("/")
    half = "F16" if "fp16" in name else None
    checkpoints = {p["base"]: p for p in layouts["single_file_checkpoint"]["prefixes"]}
    singles = {
        "v1-5": ("SD 1.x",),
        "sd_xl_base": ("SDXL base, encoder 1", "SDXL base, encoder 2"),
        "v2-1": ("SD 2.x",),
    }
    bases = next((found for start, found in singles.items() if name.startswith(start)), ())
    for base in bases:
        yield from expanded(checkpoints[base]["tensors"])
    if (
        bases
        or "unet" in path
        or "vae" in path
        or "t5xxl" in name
        or folder in ("transformer", "safety_checker", "text_encoder_3")
    ):
        return
    if layout["kind"] == "openclip_native" and name == "model.safetensors":
        yield from expanded(layouts["sentence_transformers_clip"]["text_tensors"])
    elif folder == "text_encoder_2" or name == "clip_g.safetensors":
        own = (
            layout["text_tensors"]
            if layout["kind"] == "clip_text_model_with_projection"
            else layout.get("text_tensors_2", [])
        )
        yield from expanded(own, half)
    elif folder in ("text_encoder", "text_encoders", "", "0_CLIPModel") and not name.startswith(
        ("sd3", "sd_xl", "ae.")
    ):
        for row in expanded(layout["text_tensors"], half):
            if not (name == "clip_l.safetensors" and row[0] == "text_projection.weight"):
                yield row
