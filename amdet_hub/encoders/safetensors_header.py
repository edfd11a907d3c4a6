"""The header of a safetensors file, read and checked without its tensors. Standard library only.

Knows the file format. Refuses to know what the tensors mean. Checks at least what the safetensors library checks (it
has no partial reader), so that a file is judged before it is downloaded: size as declared, no hole, no overlap,
nothing after the last tensor.

Source: the safetensors format description and `safetensors` 0.8: 8 bytes length (little endian), JSON, then the data.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from amdet_hub.encoders.strict_json import parse_json_object, require
from amdet_hub.errors import BadRepository
from amdet_hub.records import RepoSource, TensorInfo

# The Hub client's own cap. The largest real header (a 700-tensor tower) is about 100 kB.
MAX_HEADER_BYTES = 25 << 20
# Enough for the whole header of a two-tower CLIP model, so that one request per file is the rule.
FIRST_READ_BYTES = 128 << 10
# Ten times what a checkpoint of a whole pipeline lists (SDXL: about 2,500). Checking more takes seconds a file.
MAX_TENSORS = 30_000
MAX_NAME_LENGTH = 512
MAX_DIMENSIONS = 8

# Bits per value of every dtype the format knows. Source: `safetensors` 0.8, enum Dtype.
DTYPE_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}


def read_header(source: RepoSource, path: str) -> Mapping[str, TensorInfo]:
    """Name -> `TensorInfo` of every tensor in a listed safetensors file, in file order.

    Raises:
        BadRepository: the file is not listed, or its header is malformed, lies about sizes, overlaps or leaves holes.
        HubError: it could not be read.
    """
    raw, size_bytes = _raw_header(source, path)
    return check_header(raw, path, size_bytes)


def read_metadata(source: RepoSource, path: str) -> Mapping[str, str]:
    """The strings under `__metadata__` of a listed safetensors file, whose header was read before. Hostile text.

    Raises:
        BadRepository, HubError: as `read_header`.
    """
    raw, _ = _raw_header(source, path)
    metadata = parse_json_object(raw, path).get("__metadata__", {})
    return {str(k): v for k, v in metadata.items() if isinstance(v, str)} if isinstance(metadata, dict) else {}


def _raw_header(source: RepoSource, path: str) -> tuple[bytes, int]:
    """The JSON bytes of a header, and the size of the file."""
    listed = source.snapshot.file(path)
    if listed is None:
        raise BadRepository(path, "it is not in the repository")
    first = source.read_range(path, 0, min(FIRST_READ_BYTES, listed.size_bytes))
    require(len(first) >= 8, path, "it is too short to be a safetensors file")
    length = int.from_bytes(first[:8], "little")
    require(2 <= length <= MAX_HEADER_BYTES, path, f"it states a header of {length} bytes")
    require(8 + length <= listed.size_bytes, path, f"its header of {length} bytes ends after the file")
    raw = first[8 : 8 + length]
    if len(raw) < length:
        raw += source.read_range(path, 8 + len(raw), 8 + length)
    require(len(raw) == length, path, f"its header ends early ({len(raw)} of {length} bytes)")
    return raw, listed.size_bytes


def check_header(raw: bytes, path: str, file_bytes: int) -> dict[str, TensorInfo]:
    """Parse header JSON and check it against the size of the whole file, which includes the 8 length bytes.

    Raises:
        BadRepository: as `read_header`.
    """
    # before millions of objects are made of it
    require(
        not (raw.count(b'"data_offsets"') > MAX_TENSORS or raw.count(b",") > 20 * MAX_TENSORS),
        path,
        f"it describes more than {MAX_TENSORS:,} tensors",
    )
    entries = parse_json_object(raw, path)
    metadata = entries.pop("__metadata__", {})
    require(
        isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values()),
        path,
        "its __metadata__ is not a map of strings",
    )
    require(len(entries) <= MAX_TENSORS, path, f"it lists {len(entries)} tensors")
    base = 8 + len(raw)
    infos = {name: _tensor_info(name, entry, path, base) for name, entry in entries.items()}
    ordered = dict(sorted(infos.items(), key=lambda item: (item[1].start, item[1].stop)))
    position = base
    for name, info in ordered.items():
        require(info.start == position, path, f"tensor '{name}' leaves a hole or overlaps before byte {info.start}")
        position = info.stop
    require(position == file_bytes, path, f"its tensors end at byte {position}, the file has {file_bytes}")
    return ordered


def _tensor_info(name: str, entry: Any, path: str, base: int) -> TensorInfo:
    tensor = f"tensor '{name[:80]}'"
    require(
        0 < len(name) <= MAX_NAME_LENGTH and not re.search(r"[\x00-\x1f\x7f]", name),
        path,
        f"the tensor name '{name[:80]}' is not acceptable",
    )
    require(
        isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"},
        path,
        f"{tensor} is not described by dtype, shape and data_offsets",
    )
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    require(isinstance(dtype, str) and dtype in DTYPE_BITS, path, f"{tensor} has an unknown dtype")
    require(
        _whole_numbers(shape, at_most=MAX_DIMENSIONS) and _whole_numbers(offsets, at_most=2) and len(offsets) == 2,
        path,
        f"{tensor} has a malformed shape or data_offsets",
    )
    bits, size_bytes = math.prod(shape) * DTYPE_BITS[dtype], offsets[1] - offsets[0]
    require(bits == 8 * size_bytes, path, f"{tensor} says {dtype} {shape} but spans {size_bytes} bytes")
    return TensorInfo(dtype, tuple(shape), base + offsets[0], base + offsets[1])


def _whole_numbers(value: Any, *, at_most: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= at_most
        and all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 48 for v in value)
    )
