"""From a resolved encoder to a text tower in memory. The only place that opens weight files.

Unpickles nothing, and hands nothing of a repository to transformers but checked numbers and tensors: names, shapes,
dtypes and finiteness are verified here, so that a random-initialised leftover can never be scanned.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.encoders.canonical_names import POSITION_EMBEDDING, SECOND_POSITIONS, TOKEN_EMBEDDING, tower_shapes
from amdet_hub.encoders.clip import ClipTextEncoder
from amdet_hub.encoders.digest import tower_digest
from amdet_hub.encoders.key_layouts import LONG_KEPT, Part, TowerLayout, wanted_names
from amdet_hub.encoders.siglip import SiglipTextEncoder
from amdet_hub.encoders.strict_json import require
from amdet_hub.encoders.transfer import fetch_file
from amdet_hub.encoders.weight_files import WeightSet, check_slices
from amdet_hub.errors import BadWeights
from amdet_hub.records import ProgressCallback, RepoSource, ResolvedEncoder, TensorInfo, TowerConfig
from amdet_hub.weight_formats import weight_format

# Largest magnitude of float16, in which every published encoder is stored too. Larger values are there to overflow,
# which hides tokens.
LARGEST_VALUE = 65_504.0
# What a tower is stored in, its counting buffer included, by the names that safetensors has for it.
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
}
_PROBES, _PROBE_TOKENS = 4, 8


@dataclass(frozen=True)
class LoadedTower:
    """A text tower in memory.

    Attributes:
        encoder: ready to run, float32 on the CPU; move it with `encoder.to(device, dtype)`.
        digest: `tower_digest` of the tensors as they are stored.
        tensors: the weights by canonical name, in the stored dtype.
    """

    encoder: TextEncoder
    digest: str
    tensors: Mapping[str, Tensor]


def load_tower(
    resolved: ResolvedEncoder,
    source: RepoSource,
    progress: ProgressCallback | None = None,
    *,
    whole_files: bool = False,
) -> LoadedTower:
    """Fetch the text tower of `resolved` and load it, and no tensor outside of it where that saves much.

    Args:
        resolved: which tower.
        source: the repository it was found in.
        progress: called with ("download", bytes, bytes in all).
        whole_files: fetch whole files, whose sha256 is checked: where a pinned sha256 is why the tower is trusted.

    Raises:
        BadWeights: a tensor is missing, extra, misshapen, not finite, too large or not plain floating point.
        BadRepository: a file is not what it was when it was resolved, or the tower overflows or has one output for
            every text.
        HubError: a file could not be fetched.
    """
    layout, config = TowerLayout.of(resolved), resolved.config
    stored: dict[str, Tensor] = {}
    infos: dict[str, TensorInfo] = {}
    file_of: dict[str, str] = {}
    for file in resolved.weight_files:
        local, header = fetch_file(resolved, source, file, progress, whole_files=whole_files)
        read = read_tensors(local, file.path, header, wanted_names(resolved, header))
        if twice := next(iter(stored.keys() & read.keys()), None):
            raise BadWeights(file.path, twice, "lies in two files")
        stored |= read
        infos |= header
        file_of |= dict.fromkeys(read, file.path)
    weights = WeightSet("", resolved.weight_files, {name: infos[name] for name in stored}, file_of)
    check_slices(config, layout, weights)
    for name in layout.buffers:  # no weight of the tower; any other content would move positions in old versions
        ids, expected = stored.pop(name, None), torch.arange(config.max_position_embeddings)
        require(
            ids is None
            or (ids.shape in (expected.shape, expected[None].shape) and torch.equal(ids.flatten().long(), expected)),
            weights.path,
            "is not 0, 1, 2, ...",
            tensor=name,
        )
    for name, tensor in stored.items():
        check_values(tensor, name, file_of[name])
    tensors = {name: _part(stored[piece.stored], piece.part) for name, piece in layout.slices(config).items()}
    if (second := tensors.pop(SECOND_POSITIONS, None)) is not None:
        tensors[POSITION_EMBEDDING] = torch.cat([tensors[POSITION_EMBEDDING][:LONG_KEPT], second[LONG_KEPT:]])
    return finished_tower(config, tensors, weights.path)


def renumbered(tower: LoadedTower, config: TowerConfig, moved: Mapping[int, int]) -> LoadedTower:
    """The tower with its token embeddings under other ids: `moved` maps ids of its own, one to one, to new ones.

    Rows whose id is taken get the ids that became free, so that none is lost.
    """
    old, new = list(moved), list(moved.values())
    order = torch.arange(config.vocab_size)
    order[new + sorted({*old} - {*new})] = torch.tensor(old + sorted({*new} - {*old}))
    tensors = {**tower.tensors, TOKEN_EMBEDDING: tower.tensors[TOKEN_EMBEDDING][order]}
    return LoadedTower(build_encoder(config, tensors), tower.digest, tensors)


def _part(tensor: Tensor, part: Part) -> Tensor:
    if part in ("whole", "transposed"):
        return tensor if part == "whole" else tensor.T.contiguous()
    return tensor.chunk(3)[("query", "key", "value").index(part)].contiguous()  # (3 D, ...) -> (D, ...)


def finished_tower(config: TowerConfig, tensors: Mapping[str, Tensor], path: str) -> LoadedTower:
    """The tower of canonical tensors, its output looked at: a scan would find nothing in a tower that says nothing.

    Raises:
        BadRepository: its output is not finite, or the same for every text; `path` is named.
        BadWeights: as `build_encoder`.
    """
    encoder = build_encoder(config, tensors)
    shape = (_PROBES, min(_PROBE_TOKENS, config.max_position_embeddings))
    ids = torch.randint(config.vocab_size, shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = encoder.encode(encoder.token_embedding[ids] + encoder.position_embedding[: shape[1]])  # (B, T, D)
    finite, same = bool(torch.isfinite(features).all()), bool((features == features[:1]).all())
    require(finite, path, "the encoder's output is not finite, though its weights are")
    require(not same, path, "the encoder says the same of every text, as no trained model does")
    return LoadedTower(encoder, tower_digest(tensors), tensors)


def build_encoder(config: TowerConfig, tensors: Mapping[str, Tensor]) -> TextEncoder:
    """The encoder made of canonical tensors (see `amdet_hub.encoders.canonical_names`), float32, on the CPU.

    Raises:
        BadWeights: the names or shapes are not exactly those of `config`.
    """
    expected = tower_shapes(config)
    for name in expected.keys() | tensors.keys():
        shape = tuple(tensors[name].shape) if name in tensors else None  # None: it is not there
        require(
            shape == expected.get(name),
            "weights",
            f"has shape {shape}, the config asks for {expected.get(name)}",
            tensor=name,
        )
    made = SiglipTextEncoder if config.family == "siglip" else ClipTextEncoder
    return made.from_tensors(config, tensors, torch.device("cpu"), torch.float32)


def read_tensors(
    local: Path, path: str, header: Mapping[str, TensorInfo], names: Collection[str]
) -> dict[str, Tensor]:
    """Tensors of one file by stored name, each as the header describes it; nothing else is read.

    Raises:
        BadWeights: the file is not what its header was; `path` is named.
    """
    if weight_format(local.name, 0) == "pickle":
        return _read_pickled(local, path, {name: header[name] for name in sorted(names)})
    try:
        # "pread" copies: a file that changes meanwhile cannot change a tower that was already checked
        with safe_open(local, framework="pt", device="cpu", backend="pread") as file:
            there = set(file.keys())
            for name in names:
                info, part = header.get(name), file.get_slice(name) if name in there else None
                require(
                    info is not None
                    and part is not None
                    and (part.get_dtype(), tuple(part.get_shape())) == (info.dtype, info.shape),
                    path,
                    "is not what the header said: the file changed",
                    tensor=name,
                )
            return {name: _by_rows(file.get_tensor(name), header[name]) for name in sorted(names)}
    except SafetensorError as error:
        raise BadWeights(path, "header", f"cannot be read ({str(error)[:120]})") from error


def _read_pickled(local: Path, path: str, wanted: Mapping[str, TensorInfo]) -> dict[str, Tensor]:
    """These tensors of a pickled checkpoint: the bytes that its table (`amdet_hub.encoders.pickle_table`) gives."""
    found = {}
    with local.open("rb") as file:
        for name, info in wanted.items():
            if (dtype := _DTYPES.get(info.dtype)) is None:
                raise BadWeights(path, name, f"is stored as {info.dtype}, not as plain floating point")
            file.seek(info.start)
            content = bytearray(file.read(info.size_bytes))
            require(len(content) == info.size_bytes, path, "is not what the table said: the file changed", tensor=name)
            found[name] = _by_rows(torch.frombuffer(content, dtype=dtype).reshape(info.shape), info)
    return found


def _by_rows(tensor: Tensor, info: TensorInfo) -> Tensor:
    """A stored tensor whose bytes were taken to lie row by row, as it is."""
    return tensor.reshape(info.shape[::-1]).T.contiguous() if info.column_major else tensor


def check_values(tensor: Tensor, name: str, path: str) -> None:
    """Refuse values that no encoder has.

    Raises:
        BadWeights: `tensor` holds a value that is not finite or beyond `LARGEST_VALUE`.
    """
    require(bool(torch.isfinite(tensor.float()).all()), path, "holds values that are not finite", tensor=name)
    require(
        float(tensor.abs().max()) <= LARGEST_VALUE,
        path,
        f"holds values beyond {LARGEST_VALUE:,.0f}, which overflow",
        tensor=name,
    )
