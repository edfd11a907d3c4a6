"""The sets of weights in a folder, and the check that a set holds exactly the tower of its config.

Knows transformers' file names (single files, variants, shards with an index) and headers. Refuses to read tensors;
imports no torch.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from amdet_hub.encoders.key_layouts import TowerLayout
from amdet_hub.encoders.strict_json import read_json_object, require
from amdet_hub.encoders.tensor_table import read_table
from amdet_hub.errors import BadRepository, BadWeights
from amdet_hub.records import RepoFile, RepoSource, TensorInfo, TowerConfig

# Weight sets in one folder; real ones hold up to six variants. Each is read and scanned.
MAX_SETS = 32
# Far above any text encoder (the largest real one has 2 shards).
MAX_SHARDS = 256
# Stored dtypes a plain tower may have. Anything else (8-bit, integers) is quantised and means something only together
# with other data.
FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")
# Dtypes of the buffer of position ids: integers, and what a cast of a whole checkpoint makes of them.
_COUNTING_DTYPES = ("I64", "I32", "F32", "F16", "BF16")

# Names that transformers loads from a folder: one file, or the index of several, each with a variant or without.
_VARIANT = r"(?:\.([A-Za-z0-9_]+))?"
_SINGLE = re.compile(rf"(?:model{_VARIANT}\.safetensors|pytorch_model{_VARIANT}\.bin)")
_INDEX = re.compile(rf"{_SINGLE.pattern}\.index{_VARIANT}\.json")
_PLAIN_SHARD = re.compile(r"[^/\\\x00-\x1f\x7f]+\.(?:safetensors|bin)")


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

    @property
    def path(self) -> str:
        """The first file, which errors name."""
        return self.files[0].path

    def holding(self, names: Collection[str]) -> tuple[RepoFile, ...]:
        """The files that hold one of these tensors, in shard order."""
        needed = {self.file_of[name] for name in names}
        return tuple(f for f in self.files if f.path in needed)


def join(folder: str, name: str) -> str:
    """Repository path of `name` in `folder` ("" is the root)."""
    return f"{folder}/{name}" if folder else name


def folder_of(path: str) -> str:
    """The folder that holds `path`, "" for the root."""
    return path.rpartition("/")[0]


def paths_under(source: RepoSource, folder: str) -> list[str]:
    """Paths of all files under `folder`, sorted."""
    return sorted(f.path for f in source.snapshot.files if f.path.startswith(join(folder, "")))


def names_in(source: RepoSource, folder: str) -> list[str]:
    """Names of the files directly in `folder`, sorted."""
    names = (path.removeprefix(join(folder, "")) for path in paths_under(source, folder))
    return [name for name in names if "/" not in name]


def weight_sets(source: RepoSource, folder: str, refuse: Callable[[str, BadRepository], object]) -> list[WeightSet]:
    """Every set of standard-named weights directly in `folder`, safetensors first and the default one before variants.

    Reads tables of tensors and indexes only. `refuse` is told of pickles that are not read, and why.

    Raises:
        BadRepository: a safetensors header or an index is malformed, an index names files that are not there or not
            plain, or there are too many sets.
        HubError: one could not be read.
    """
    matches = [m for name in names_in(source, folder) if (m := _SINGLE.fullmatch(name) or _INDEX.fullmatch(name))]
    require(
        len(matches) <= MAX_SETS,
        folder or "the root folder",
        f"it holds {len(matches)} variants of the weights, more than the {MAX_SETS} that are looked at",
    )
    sets: list[WeightSet] = []
    for match in sorted(matches, key=lambda match: match[0].endswith(".json")):
        variant = " ".join((*filter(None, match.groups()), *(["bin"] if match[0].startswith("pytorch_model") else [])))
        try:
            if match[0].endswith(".json"):
                twin = variant in [weights.variant for weights in sets]
                sets.append(_sharded(source, folder, match[0], f"{variant} sharded".strip() if twin else variant))
            else:
                sets.append(single_file(source, join(folder, match[0]), variant))
        except BadRepository as error:
            if not match[0].startswith("pytorch_model"):
                raise
            refuse(join(folder, match[0]), error)
    return sorted(sets, key=lambda weights: (weights.path.endswith(".bin"), weights.variant))


def single_file(source: RepoSource, path: str, variant: str = "") -> WeightSet:
    """The set that one listed file is. Raises: BadRepository, HubError."""
    tensors = read_table(source, path)
    return WeightSet(variant, (_listed(source, path, path),), tensors, dict.fromkeys(tensors, path))


def _sharded(source: RepoSource, folder: str, index_name: str, variant: str) -> WeightSet:
    index = join(folder, index_name)
    weight_map: Any = read_json_object(source, index).get("weight_map")
    require(isinstance(weight_map, dict) and bool(weight_map), index, "it has no 'weight_map'")
    files = tuple(_listed(source, join(folder, shard), index) for shard in _shard_names(weight_map, index))
    headers = {file.path: read_table(source, file.path) for file in files}
    file_of = {name: path for path, header in headers.items() for name in header}
    tensors = {name: info for header in headers.values() for name, info in header.items()}
    require(len(tensors) == sum(map(len, headers.values())), index, "a tensor lies in two shards")
    stated = {name: join(folder, shard) for name, shard in weight_map.items()}
    astray = sorted(name for name, _ in stated.items() ^ file_of.items())
    require(not astray, index, f"of its tensors, {str(astray[:1])[:90]} is not where the index says")
    return WeightSet(variant, files, tensors, file_of)


def _shard_names(weight_map: Mapping[str, Any], index: str) -> list[str]:
    for shard in weight_map.values():
        if not isinstance(shard, str) or not _PLAIN_SHARD.fullmatch(shard):
            raise BadRepository(index, f"it names the shard {str(shard)[:80]!r}, not a plain name of a weight file")
    shards = set(weight_map.values())
    require(len(shards) <= MAX_SHARDS, index, f"it names {len(shards)} shards")
    require(
        len({shard.casefold() for shard in shards}) == len(shards),
        index,
        "two of its shards differ in upper and lower case only",
    )
    return sorted(shards)


def _listed(source: RepoSource, path: str, named_by: str) -> RepoFile:
    file = source.snapshot.file(path)
    if file is None:
        raise BadRepository(named_by, f"it names '{path[:120]}', which is not in the repository")
    return file


def check_tower(config: TowerConfig, layout: TowerLayout, weights: WeightSet) -> None:
    """Check that a set holds exactly the tower of `config`: every name and shape, plain floats, nothing else of it.

    Raises:
        BadWeights: names the first tensor that is missing, extra, misshapen or not plain.
    """
    check_slices(config, layout, weights)
    expected = {piece.stored for piece in layout.slices(config).values()}
    for name, info in weights.tensors.items():
        if name in layout.buffers:  # refused before a buffer of any size is read
            require(
                math.prod(info.shape) == config.max_position_embeddings and info.dtype in _COUNTING_DTYPES,
                weights.file_of[name],
                "is not 0, 1, 2, ...",
                tensor=name,
            )
        elif name not in expected and layout.claims(name):
            raise BadWeights(weights.file_of[name], name[:120], "is not part of the tower that the config describes")


def check_slices(config: TowerConfig, layout: TowerLayout, weights: WeightSet) -> None:
    """Check that a set holds all that the tower of `config` is made of, whatever else there is.

    Raises:
        BadWeights: names the first tensor that is missing, misshapen or not plain.
    """
    for piece in layout.slices(config).values():
        name, info = piece.stored, weights.tensors.get(piece.stored)
        if info is None:
            raise BadWeights(weights.path, name, "is missing")
        require(
            info.shape == piece.shape,
            weights.file_of[name],
            f"has shape {info.shape}, the config asks for {piece.shape}",
            tensor=name,
        )
        require(
            info.dtype in FLOAT_DTYPES,
            weights.file_of[name],
            f"is stored as {info.dtype}, not as plain floating point",
            tensor=name,
        )
