"""A scanned encoder and its reference, found and loaded again.

Of a result, which may come from a file, only names and digests are believed: the repositories are read anew at the
commits it names, and what is loaded must have the digests it names.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from amdet_hub.detect.prompts import SpecialTokens
from amdet_hub.detect.protocol import AttentiveTextEncoder, TextEncoder
from amdet_hub.encoders.discovery import Resolution, find_encoders
from amdet_hub.encoders.load import LoadedTower
from amdet_hub.encoders.lora_files import LoraBase
from amdet_hub.encoders.tokenizer import PromptTokenizer
from amdet_hub.errors import BadRepository, ConfigError, FileNotInRepo
from amdet_hub.families import TowerShape
from amdet_hub.hub import HubSettings, open_source, parse_target
from amdet_hub.records import SILENT, ProgressCallback, Reference, RepoRef, RepoSource, ResolvedEncoder, ScanResult
from amdet_hub.scanner.estimate import machine_flops, position_flop
from amdet_hub.scanner.loading import PairLoader, pair_tokenizer, special_tokens
from amdet_hub.scanner.lora_bases import with_merged_towers
from amdet_hub.scanner.nearest_texts import TargetReader
from amdet_hub.scanner.options import DEFAULT_OPTIONS, ScanOptions
from amdet_hub.scanner.references import ChosenReference
from amdet_hub.scanner.resolve import EncoderPair
from amdet_hub.scanner.runtime import make_accelerator, scan_device, sweep_dtype
from amdet_hub.weight_formats import is_read

# Positions that texts are read at; a caption has about 20 tokens.
_READ_POSITIONS, _READ_SEED = 24, 0
# Texts that prompts are read with: as many as this machine embeds in about so many seconds, as a visitor waits.
_MOST_TEXTS, _FEWEST_TEXTS, _READ_S = 900, 90, 15.0


@dataclass(frozen=True)
class LoadedPair:
    """A suspect and its reference in memory, with what is needed to read prompts in them.

    `reference` is None where the scan had none.
    """

    suspect: AttentiveTextEncoder
    reference: AttentiveTextEncoder | None
    tokenizer: PromptTokenizer
    special: SpecialTokens
    reader: TargetReader


class PairCache:
    """The pairs that were used last, so that the next prompt needs no loading. Not for several threads at once.

    Args:
        most: pairs kept. One of the largest towers takes 5.6 GB.
    """

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._pairs: OrderedDict[object, LoadedPair] = OrderedDict()
        self.n_loaded = 0

    def get(self, result: ScanResult, options: ScanOptions, load: Callable[[], LoadedPair]) -> LoadedPair:
        """The pair of a result, loaded with `load` unless it is here.

        Told apart by digests, commits and configuration; a local folder is not kept.
        """
        key = (result.tower_digest, result.reference, result.encoder, options.device, options.dtype)
        pair = self._pairs.pop(key, None)
        if pair is None:
            while len(self._pairs) >= max(
                1, self._most
            ):  # before loading: memory has to hold the new pair and no old one
                self._pairs.popitem(last=False)
            pair = load()
            self.n_loaded += 1
        if self._most > 0 and None not in (
            result.encoder.commit_sha,
            result.reference.commit_sha or not result.reference.repo_id,
        ):
            self._pairs[key] = pair
        return pair


def load_again(
    result: ScanResult,
    settings: HubSettings,
    options: ScanOptions = DEFAULT_OPTIONS,
    progress: ProgressCallback = SILENT.progress,
) -> LoadedPair:
    """Load what a result is about.

    `options` say where it goes, and in which dtype texts are embedded; prompts are looked at in float32.

    Raises:
        ConfigError: it holds no tokenizer, or the encoder is not where the result says.
        BadRepository: the weights are not those that were scanned; as `load_tower`.
        HubError: something could not be read.
    """
    source = open_source(_pinned(result.encoder.repo_id, result.encoder.commit_sha), settings)
    encoder, base = _suspect(result, source, settings)
    chosen = _reference(result.reference, encoder, settings)
    loader = PairLoader(EncoderPair(encoder, source, chosen, base), progress)
    tokenizer = pair_tokenizer(encoder, source, chosen)
    if tokenizer is None:
        raise ConfigError("prompt", "neither the repository nor its reference has a tokenizer, so no text can be read")
    suspect = _checked(loader.suspect(), result.tower_digest, encoder)
    reference = loader.reference(suspect)
    if reference is not None and chosen.encoder is not None:
        reference = _checked(reference, result.reference.tower_digest, chosen.encoder)
    where = scan_device(make_accelerator(options.device), options.device)
    ours, theirs = _placed(suspect, where), _placed(reference, where) if reference is not None else None
    special = special_tokens(encoder, chosen)
    progress("captions", 0, 1)
    return LoadedPair(
        ours,
        theirs,
        tokenizer,
        special,
        _reader(theirs or ours, tokenizer, special, sweep_dtype(where, options.dtype)),
    )


def _reader(
    encoder: TextEncoder, tokenizer: PromptTokenizer, special: SpecialTokens, dtype: torch.dtype
) -> TargetReader:
    length = (
        min(_READ_POSITIONS, encoder.config.max_position_embeddings)
        if encoder.config.causal
        else encoder.config.max_position_embeddings
    )
    affordable = int(_READ_S * machine_flops() / (length * position_flop(encoder.config)))
    texts = min(_MOST_TEXTS, max(_FEWEST_TEXTS, affordable))
    words = texts * 2 // 3
    return TargetReader(
        encoder.to(encoder.device, dtype),
        tokenizer,
        special,
        length=length,
        seed=_READ_SEED,
        n_texts=(words, texts - words),
    )


def _placed(tower: LoadedTower, device: torch.device) -> AttentiveTextEncoder:
    encoder: TextEncoder = tower.encoder.to(device, torch.float32)
    assert isinstance(encoder, AttentiveTextEncoder)
    return encoder


def _checked(tower: LoadedTower, digest: str | None, encoder: ResolvedEncoder) -> LoadedTower:
    if tower.digest != digest:
        raise BadRepository(encoder.weight_files[0].path, "its weights are not those that were scanned")
    return tower


def _pinned(repo_id: str, commit_sha: str | None) -> RepoRef:
    return RepoRef("hub", repo_id, repo_id, revision=commit_sha) if commit_sha is not None else parse_target(repo_id)


def _suspect(result: ScanResult, source: RepoSource, settings: HubSettings) -> tuple[ResolvedEncoder, LoraBase | None]:
    """The result's encoder as its repository describes it now, and what it is merged onto where it is a LoRA."""
    asked, adapter = result.encoder, result.encoder.adapter
    base = _pinned(adapter.base_repo_id, adapter.base_commit_sha) if adapter is not None else None
    for found in _surveys(source, asked.component):
        merged = with_merged_towers(source, found, named=base, settings=settings) if adapter is not None else found
        for encoder in merged.encoders:
            if _name(encoder) == _name(asked):
                return encoder, merged.bases.get(encoder)
    raise ConfigError("result", f"'{asked.repo_id}' has no encoder '{asked.label}' any more")


def _name(encoder: ResolvedEncoder) -> tuple[object, ...]:
    return encoder.component, encoder.variant, encoder.adapter is None, tuple(f.path for f in encoder.weight_files)


def _reference(record: Reference, suspect: ResolvedEncoder, settings: HubSettings) -> ChosenReference:
    """The reference of a result; of several encoders with its name, the one that a scan takes."""
    if record.trust == "none" or record.repo_id is None:
        return ChosenReference(record)
    source, shape = open_source(_pinned(record.repo_id, record.commit_sha), settings), TowerShape.of(suspect.config)
    for found in _surveys(source, record.component):
        fitting = [e for e in found.encoders if e.component == record.component and TowerShape.of(e.config) == shape]
        if fitting:
            return ChosenReference(record, min(fitting, key=lambda e: ("F32" not in e.dtypes, e.label)), source)
    raise ConfigError("result", f"the reference '{record.repo_id}' has no such encoder any more")


def _surveys(source: RepoSource, component: str) -> Iterator[Resolution]:
    """The encoders of the whole repository, then those of the component's own file or folder."""
    file = component.partition(":")[0]
    narrow = {"filename": file} if is_read(file) else {"subfolder": component}
    for where in ({}, narrow) if component else ({},):
        try:
            yield find_encoders(source, **where)
        except FileNotInRepo:
            continue
