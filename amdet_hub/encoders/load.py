"""From a resolved encoder to a text tower in memory. The only place that opens weight files.

Knows safetensors. Refuses pickles, and hands nothing of a repository to transformers but checked numbers and tensors:
names, shapes, dtypes and finiteness are verified here, so that a random-initialised leftover can never be scanned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.encoders.canonical_names import tower_shapes
from amdet_hub.encoders.clip import ClipTextEncoder
from amdet_hub.encoders.digest import tower_digest
from amdet_hub.encoders.key_layouts import Part, pieces, position_ids_name, wanted_names
from amdet_hub.encoders.safetensors_header import TensorInfo
from amdet_hub.encoders.siglip import SiglipTextEncoder
from amdet_hub.encoders.transfer import fetch_file
from amdet_hub.encoders.weight_files import check_pieces
from amdet_hub.errors import BadRepository, BadWeights
from amdet_hub.records import Family, ProgressCallback, RepoSource, ResolvedEncoder, TowerConfig

LARGEST_VALUE = 65_504.0
"""Largest magnitude of float16, in which every published encoder is stored too.

Larger values are there to overflow, which hides tokens.
"""
_PROBES, _PROBE_TOKENS = 4, 8
_DTYPE_NAMES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}

_ENCODERS: Mapping[Family, type[ClipTextEncoder] | type[SiglipTextEncoder]] = {
    "clip": ClipTextEncoder,
    "siglip": SiglipTextEncoder,
}


@dataclass(frozen=True)
class LoadedTower:
    """A text tower in memory.

    Attributes:
        encoder: ready to run, float32 on the CPU; move it with `encoder.to(device, dtype)`.
        digest: `tower_digest(tensors)`.
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
    """Fetch the text tower of `resolved` and load it; tensors outside the tower are not read and, where that saves much, not fetched.

    Args:
        resolved: which tower.
        source: the repository it was found in.
        progress: called with ("download", bytes, bytes in all).
        whole_files: fetch whole files, whose sha256 is checked: where a pinned sha256 is why the tower is believed.

    Raises:
        BadWeights: a tensor is missing, extra, misshapen, not finite, too large or not plain floating point.
        BadRepository: a file is not what it was when it was resolved, or the tower overflows or says the same of every
            text.
        HubError: a file could not be fetched.
    """
    stored: dict[str, Tensor] = {}
    file_of: dict[str, str] = {}
    for file in resolved.weight_files:
        local, header = fetch_file(resolved, source, file, progress, whole_files=whole_files)
        wanted = {name: header[name] for name in wanted_names(resolved, header)}
        read = _read_file(local, file.path, wanted)
        if twice := next(iter(stored.keys() & read.keys()), None):
            raise BadWeights(file.path, twice, "lies in two files")
        stored |= read
        file_of |= dict.fromkeys(read, file.path)
    path = resolved.weight_files[0].path
    described = {
        name: TensorInfo(_DTYPE_NAMES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape), 0, 0)
        for name, tensor in stored.items()
    }
    check_pieces(resolved.config, resolved.key_layout, resolved.prefix, described, file_of, path)
    if (buffer := position_ids_name(resolved.key_layout, resolved.prefix)) is not None:
        _check_position_ids(stored.pop(buffer, None), buffer, resolved.config, path)
    for name, tensor in stored.items():
        check_values(tensor, name, file_of[name])
    tensors = canonical_tensors(resolved, stored)
    return LoadedTower(build_checked(resolved.config, tensors, path), tower_digest(tensors), tensors)


def build_checked(config: TowerConfig, tensors: Mapping[str, Tensor], path: str) -> TextEncoder:
    """`build_encoder`, and a look at whether what was built says anything at all.

    Raises:
        BadRepository: its output is not finite, or the same for every text; `path` is named.
        BadWeights: as `build_encoder`.
    """
    encoder = build_encoder(config, tensors)
    _check_alive(encoder, path)
    return encoder


def canonical_tensors(resolved: ResolvedEncoder, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tower's tensors by canonical name, cut out of what its files store; the values and dtypes are untouched.

    `stored` must hold every tensor of `wanted_names` in its shape.
    """
    cut = pieces(resolved.config, resolved.key_layout, resolved.prefix)
    return {name: _part(stored[piece.stored], piece.part) for name, piece in cut.items()}


def _part(tensor: Tensor, part: Part) -> Tensor:
    if part == "whole":
        return tensor
    if part == "transposed":
        return tensor.T.contiguous()
    return tensor.chunk(3)[("query", "key", "value").index(part)].contiguous()  # (3 D, ...) -> (D, ...)


def build_encoder(config: TowerConfig, tensors: Mapping[str, Tensor]) -> TextEncoder:
    """The encoder made of canonical tensors (see `amdet_hub.encoders.canonical_names`), float32, on the CPU.

    Raises:
        BadWeights: the names or shapes are not exactly those of `config`.
    """
    expected = tower_shapes(config)
    for name in expected.keys() | tensors.keys():
        if name not in tensors:
            raise BadWeights("weights", name, "is missing")
        if name not in expected:
            raise BadWeights("weights", name, "is not part of the tower that the config describes")
        if tuple(tensors[name].shape) != expected[name]:
            raise BadWeights(
                "weights", name, f"has shape {tuple(tensors[name].shape)}, the config asks for {expected[name]}"
            )
    return _ENCODERS[config.family].from_tensors(config, tensors, torch.device("cpu"), torch.float32)


def _read_file(local: Path, path: str, wanted: Mapping[str, TensorInfo]) -> dict[str, Tensor]:
    """The wanted tensors of one file by stored name, each as the repository's header describes it; nothing else is read."""
    try:
        # "pread" copies: a file that changes under us cannot change a tower that was already checked
        with safe_open(local, framework="pt", device="cpu", backend="pread") as file:
            there = set(file.keys())
            for stored, info in wanted.items():
                part = file.get_slice(stored) if stored in there else None
                if part is None or (part.get_dtype(), tuple(part.get_shape())) != (info.dtype, info.shape):
                    raise BadWeights(path, stored, "is not what the header said: the file changed")
            return {name: file.get_tensor(name) for name in sorted(wanted)}
    except SafetensorError as error:
        raise BadWeights(path, "header", f"cannot be read ({str(error)[:120]})") from error


def check_values(tensor: Tensor, name: str, path: str) -> None:
    """Refuse values that no encoder has.

    Raises:
        BadWeights: `tensor` holds a value that is not finite or beyond `LARGEST_VALUE`.
    """
    if not torch.isfinite(tensor.float()).all():
        raise BadWeights(path, name, "holds values that are not finite")
    if float(tensor.abs().max()) > LARGEST_VALUE:
        raise BadWeights(path, name, f"holds values beyond {LARGEST_VALUE:,.0f}, which overflow")


@torch.inference_mode()
def _check_alive(encoder: TextEncoder, path: str) -> None:
    """A tower that overflows, or says the same of every text, has nothing that a scan could find, and must not be acquitted for it."""
    config = encoder.config
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(
        config.vocab_size, (_PROBES, min(_PROBE_TOKENS, config.max_position_embeddings)), generator=generator
    )
    features = encoder.encode(encoder.token_embedding[ids] + encoder.position_embedding[: ids.shape[1]])  # (B, T, D)
    if not torch.isfinite(features).all():
        raise BadRepository(path, "the encoder's output is not finite, though its weights are")
    if bool((features == features[:1]).all()):
        raise BadRepository(
            path, "the encoder says the same of every text, so its weights are not those of a trained model"
        )


def _check_position_ids(ids: Tensor | None, name: str, config: TowerConfig, path: str) -> None:
    # transformers before 4.31 stored this buffer; it is not a weight, and any other content would move positions in
    # old versions
    expected = torch.arange(config.max_position_embeddings)
    if ids is not None and not (
        ids.shape in ((1, len(expected)), expected.shape) and torch.equal(ids.flatten().long(), expected)
    ):
        raise BadWeights(path, name, "is not 0, 1, 2, ...")
