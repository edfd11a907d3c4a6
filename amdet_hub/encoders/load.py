"""From a resolved encoder to a text tower in memory. The only place that opens weight files.

Knows safetensors. Refuses pickles, and hands nothing of a repository to transformers but checked numbers and tensors: names, shapes, dtypes
and finiteness are verified here, so that a random-initialised leftover can never be scanned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.encoders.clip import ClipTextEncoder
from amdet_hub.encoders.digest import tower_digest
from amdet_hub.encoders.header import TensorInfo
from amdet_hub.encoders.names import POSITION_IDS, canonical_name, stored_name, tower_shapes
from amdet_hub.encoders.siglip import SiglipTextEncoder
from amdet_hub.encoders.travel import fetch_file, wanted_names
from amdet_hub.encoders.weight_files import check_tower
from amdet_hub.errors import BadRepository, BadWeights
from amdet_hub.records import Family, ProgressCallback, RepoSource, ResolvedEncoder, TowerConfig

LARGEST_VALUE = 65_504.0
"""Largest magnitude of float16, in which every published encoder is stored too. Larger values are there to overflow, which hides tokens."""
_PROBES, _PROBE_TOKENS = 4, 8

_ENCODERS: Mapping[Family, type[ClipTextEncoder] | type[SiglipTextEncoder]] = {"clip": ClipTextEncoder, "siglip": SiglipTextEncoder}


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
    resolved: ResolvedEncoder, source: RepoSource, progress: ProgressCallback | None = None, *, whole_files: bool = False
) -> LoadedTower:
    """Fetch the text tower of `resolved` and load it; tensors outside the tower are not read and, where that saves much, not fetched.

    Args:
        resolved: which tower.
        source: the repository it was found in.
        progress: called with ("download", bytes, bytes in all).
        whole_files: fetch whole files, whose sha256 is checked: where a pinned sha256 is why the tower is believed.

    Raises:
        BadWeights: a tensor is missing, extra, misshapen, not finite, too large or not plain floating point.
        BadRepository: a file is not what it was when it was resolved, or the tower overflows or says the same of every text.
        HubError: a file could not be fetched.
    """
    tensors: dict[str, Tensor] = {}
    infos: dict[str, TensorInfo] = {}
    file_of: dict[str, str] = {}
    for file in resolved.weight_files:
        local, described = fetch_file(resolved, source, file, progress, whole_files=whole_files)
        wanted = {name: described[name] for name in wanted_names(resolved, described)}
        read = _read_file(local, file.path, resolved.prefix, wanted)
        if twice := next(iter(infos.keys() & described.keys()), None):
            raise BadWeights(file.path, twice, "lies in two files")
        tensors |= read
        infos |= described
        file_of |= dict.fromkeys(described, file.path)
    path = resolved.weight_files[0].path
    check_tower(resolved.config, resolved.prefix, infos, file_of, path)
    _check_position_ids(tensors.pop(POSITION_IDS, None), resolved, path)
    for name, tensor in tensors.items():
        stored = stored_name(name, resolved.prefix)
        if not torch.isfinite(tensor.float()).all():
            raise BadWeights(file_of[stored], stored, "holds values that are not finite")
        if float(tensor.abs().max()) > LARGEST_VALUE:
            raise BadWeights(file_of[stored], stored, f"holds values beyond {LARGEST_VALUE:,.0f}, which overflow")
    encoder = build_encoder(resolved.config, tensors)
    _check_alive(encoder, path)
    return LoadedTower(encoder, tower_digest(tensors), tensors)


def build_encoder(config: TowerConfig, tensors: Mapping[str, Tensor]) -> TextEncoder:
    """The encoder made of canonical tensors (see `amdet_hub.encoders.names`), float32, on the CPU.

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
            raise BadWeights("weights", name, f"has shape {tuple(tensors[name].shape)}, the config asks for {expected[name]}")
    return _ENCODERS[config.family].from_tensors(config, tensors, torch.device("cpu"), torch.float32)


def _read_file(local: Path, path: str, prefix: str, wanted: Mapping[str, TensorInfo]) -> dict[str, Tensor]:
    """The wanted tensors of one file by canonical name; each as the repository's header describes it."""
    tensors: dict[str, Tensor] = {}
    try:
        # "pread" copies: a file that changes under us cannot change a tower that was already checked
        with safe_open(local, framework="pt", device="cpu", backend="pread") as file:
            there = set(file.keys())
            for stored, info in wanted.items():
                part = file.get_slice(stored) if stored in there else None
                if part is None or (part.get_dtype(), tuple(part.get_shape())) != (info.dtype, info.shape):
                    raise BadWeights(path, stored, "is not what the header said: the file changed")
                if (name := canonical_name(stored, prefix)) is not None:
                    tensors[name] = file.get_tensor(stored)
    except SafetensorError as error:
        raise BadWeights(path, "header", f"cannot be read ({str(error)[:120]})") from error
    return tensors


@torch.inference_mode()
def _check_alive(encoder: TextEncoder, path: str) -> None:
    """A tower that overflows, or says the same of every text, has nothing that a scan could find, and must not be acquitted for it."""
    config = encoder.config
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(config.vocab_size, (_PROBES, min(_PROBE_TOKENS, config.max_position_embeddings)), generator=generator)
    features = encoder.encode(encoder.token_embedding[ids] + encoder.position_embedding[: ids.shape[1]])  # (B, T, D)
    if not torch.isfinite(features).all():
        raise BadRepository(path, "the encoder's output is not finite, though its weights are")
    if bool((features == features[:1]).all()):
        raise BadRepository(path, "the encoder says the same of every text, so its weights are not those of a trained model")


def _check_position_ids(ids: Tensor | None, resolved: ResolvedEncoder, path: str) -> None:
    # transformers before 4.31 stored this buffer; it is not a weight, and any other content would move positions in old versions
    expected = torch.arange(resolved.config.max_position_embeddings)
    if ids is not None and not (ids.shape in ((1, len(expected)), expected.shape) and torch.equal(ids.flatten().long(), expected)):
        raise BadWeights(path, stored_name(POSITION_IDS, resolved.prefix), "is not 0, 1, 2, ...")
