"""Which safetensors files of a folder make one set of weights, and whether a set holds exactly the tower its config describes.

Knows transformers' file names (single files, variants, shards with an index) and headers. Refuses to read tensors;
imports no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from amdet_hub.encoders.key_layouts import belongs, pieces, position_ids_name
from amdet_hub.encoders.safetensors_header import TensorInfo, read_header
from amdet_hub.encoders.strict_json import read_json_object
from amdet_hub.errors import BadRepository, BadWeights
from amdet_hub.records import KeyLayout, RepoFile, RepoSource, TowerConfig

MAX_SETS = 32
"""Weight sets in one folder; real ones hold up to six variants.

Each is read and scanned, so their number is the repository's price for us.
"""
MAX_SHARDS = 256
"""Far above any text encoder (the largest real one has 2 shards)."""
_COUNTING_DTYPES = ("I64", "I32", "F32", "F16", "BF16")
"""Dtypes in which the buffer of position ids was ever stored: integers, and what a cast of a whole checkpoint makes of them."""
FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")
"""Stored dtypes a plain tower may have.

Anything else (8-bit, integers) is quantised and means something only together with other data.
"""

_SINGLE = re.compile(r"model(?:\.(?P<variant>[A-Za-z0-9_]+))?\.safetensors")
_INDEX = re.compile(r"model(?:\.(?P<a>[A-Za-z0-9_]+))?\.safetensors\.index(?:\.(?P<b>[A-Za-z0-9_]+))?\.json")
_PLAIN_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class WeightSet:
    """Files that are loaded together.

    `variant` is `""`, `"fp16"`, ... (`"sharded"` beside an unsharded twin); `tensors` are all their tensors, `file_of`
    says where each lies.
    """

    variant: str
    files: tuple[RepoFile, ...]
    tensors: Mapping[str, TensorInfo]
    file_of: Mapping[str, str]

    def holding(self, names: Collection[str]) -> tuple[RepoFile, ...]:
        """The files that hold one of these tensors, in shard order."""
        needed = {self.file_of[name] for name in names}
        return tuple(f for f in self.files if f.path in needed)


def join(folder: str, name: str) -> str:
    """Repository path of `name` in `folder` ("" is the root)."""
    return f"{folder}/{name}" if folder else name


def names_in(source: RepoSource, folder: str) -> list[str]:
    """Names of the files directly in `folder`, sorted."""
    start = f"{folder}/" if folder else ""
    names = (f.path.removeprefix(start) for f in source.snapshot.files if f.path.startswith(start))
    return sorted(name for name in names if "/" not in name)


def weight_sets(source: RepoSource, folder: str) -> list[WeightSet]:
    """Every set of standard-named safetensors weights directly in `folder`, the default one first.

    Reads headers and indexes only.

    Raises:
        BadRepository: a header or an index is malformed, an index names files that are not there or not plain, or
            there are too many sets.
        HubError: one could not be read.
    """
    singles: dict[str, WeightSet] = {}
    sharded: dict[str, WeightSet] = {}
    names = names_in(source, folder)
    if (count := sum(bool(_SINGLE.fullmatch(name) or _INDEX.fullmatch(name)) for name in names)) > MAX_SETS:
        raise BadRepository(
            folder or "the root folder",
            f"it holds {count} variants of the weights, more than the {MAX_SETS} that are looked at",
        )
    for name in names:
        if match := _SINGLE.fullmatch(name):
            singles[match["variant"] or ""] = single_file(source, join(folder, name), match["variant"] or "")
        elif match := _INDEX.fullmatch(name):
            variant = match["a"] or match["b"] or ""
            label = variant if variant not in singles else " ".join(filter(None, (variant, "sharded")))
            sharded[label] = _sharded(source, folder, name, label)
    return sorted([*singles.values(), *sharded.values()], key=lambda s: s.variant)


def single_file(source: RepoSource, path: str, variant: str) -> WeightSet:
    """The set that one listed file is. Raises: BadRepository, HubError."""
    tensors = read_header(source, path)
    return WeightSet(variant, (_listed(source, path, path),), tensors, dict.fromkeys(tensors, path))


def _sharded(source: RepoSource, folder: str, index_name: str, variant: str) -> WeightSet:
    index = join(folder, index_name)
    weight_map = read_json_object(source, index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise BadRepository(index, "it has no 'weight_map'")
    shards = _shard_names(weight_map, index)
    files = tuple(_listed(source, join(folder, shard), index) for shard in shards)
    tensors: dict[str, TensorInfo] = {}
    file_of: dict[str, str] = {}
    for file in files:
        for name, info in read_header(source, file.path).items():
            if name in tensors:
                raise BadRepository(index, f"tensor '{name[:80]}' lies in two shards")
            tensors[name], file_of[name] = info, file.path
    for name in tensors.keys() | weight_map.keys():
        if file_of.get(name) != join(folder, weight_map.get(name, "")):
            raise BadRepository(index, f"tensor '{name[:80]}' is not where the index says")
    return WeightSet(variant, files, tensors, file_of)


def _shard_names(weight_map: Mapping[str, Any], index: str) -> list[str]:
    shards = set()
    for shard in weight_map.values():
        if not isinstance(shard, str) or not _PLAIN_NAME.fullmatch(shard) or not shard.endswith(".safetensors"):
            raise BadRepository(
                index, f"it names the shard {str(shard)[:80]!r}, which is not a plain .safetensors name"
            )
        shards.add(shard)
    if len(shards) > MAX_SHARDS:
        raise BadRepository(index, f"it names {len(shards)} shards")
    if len({shard.casefold() for shard in shards}) != len(shards):
        raise BadRepository(index, "two of its shards differ in upper and lower case only")
    return sorted(shards)


def _listed(source: RepoSource, path: str, named_by: str) -> RepoFile:
    file = source.snapshot.file(path)
    if file is None:
        raise BadRepository(named_by, f"it names '{path[:120]}', which is not in the repository")
    return file


def check_tower(
    config: TowerConfig,
    key_layout: KeyLayout,
    prefix: str,
    tensors: Mapping[str, TensorInfo],
    file_of: Mapping[str, str],
    path: str,
) -> None:
    """Check that the tensors are exactly the tower of `config`: every name, every shape, plain float dtypes, nothing else under the prefix.

    Args:
        config: the tower.
        key_layout: how the tensors are named and cut.
        prefix: what precedes the tower's names.
        tensors: everything the files hold.
        file_of: where each tensor lies, for errors.
        path: the file to name when a tensor is missing.

    Raises:
        BadWeights: names the first tensor that is missing, extra, misshapen or not plain.
    """
    check_pieces(config, key_layout, prefix, tensors, file_of, path)
    expected = {piece.stored for piece in pieces(config, key_layout, prefix).values()}
    tolerated = position_ids_name(key_layout, prefix)
    buffer = tensors.get(tolerated) if tolerated is not None else None
    if tolerated is not None and buffer is not None:
        counts = math.prod(buffer.shape) == config.max_position_embeddings and buffer.dtype in _COUNTING_DTYPES
        if not counts:
            raise BadWeights(
                file_of[tolerated], tolerated, "is not 0, 1, 2, ..."
            )  # said before a buffer of any size is read
    for name in tensors:
        if name not in expected and name != tolerated and belongs(name, key_layout, prefix):
            raise BadWeights(file_of[name], name[:120], "is not part of the tower that the config describes")


def check_pieces(
    config: TowerConfig,
    key_layout: KeyLayout,
    prefix: str,
    tensors: Mapping[str, TensorInfo],
    file_of: Mapping[str, str],
    path: str,
) -> None:
    """Check that everything the tower of `config` is made of is there, as `check_tower` does; what else there is does not matter.

    Raises:
        BadWeights: names the first tensor that is missing, misshapen or not plain.
    """
    for piece in pieces(config, key_layout, prefix).values():
        name = piece.stored
        if name not in tensors:
            raise BadWeights(path, name, "is missing")
        if tensors[name].shape != piece.shape:
            raise BadWeights(
                file_of[name], name, f"has shape {tensors[name].shape}, the config asks for {piece.shape}"
            )
        if tensors[name].dtype not in FLOAT_DTYPES:
            raise BadWeights(file_of[name], name, f"is stored as {tensors[name].dtype}, not as plain floating point")
