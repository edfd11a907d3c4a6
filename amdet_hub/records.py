"""Every frozen record that crosses a wall between rooms, and its dictionary form. Standard library only.

The data flows one way: `"org/model@rev"` -> `RepoRef` (asked) -> `RepoSnapshot` (pinned to one commit, no tensors) -> `ResolvedEncoder` ->
(tensors, in `amdet_hub.encoders` and `amdet_hub.detect`, never here) -> `Evidence` -> `Verdict` -> `ScanResult | SkippedScan` -> `ScanReport`.

Round-trip law, tested: `from_dict(type(r), to_dict(r)) == r` for every record `r`, and `to_dict(r)` is plain JSON data.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from amdet_hub.errors import ReportError

SCHEMA_VERSION = "1.0"
"""Version of the JSON report. The major number changes when a reader of the old form would misread the new one."""

RepoKind = Literal["hub", "local"]
Family = Literal["clip", "siglip"]
ReferenceTrust = Literal["trusted", "user", "declared", "none"]
VerdictLabel = Literal["backdoor-detected", "no-backdoor-found", "inconclusive"]
Confidence = Literal["normal", "reduced"]
KeyLayout = Literal["transformers", "openclip"]
AdapterNaming = Literal["kohya", "diffusers", "peft"]
SkipReason = Literal[
    "not-clip-family",
    "unsupported-architecture",
    "pickle-only",
    "no-weights",
    "duplicate",
    "unreadable",
    "interrupted",
    "textual-inversion",
]

ProgressCallback = Callable[[str, int, int], None]
"""Called as `progress(stage, done, total)`; `done` counts up to `total` in units of the stage's own work."""

R = TypeVar("R")

LATER: Mapping[str, bool] = {"later": True}
"""Metadata of a field that came after version 1.0 of the report: a report without it reads as the default."""


# ---------------------------------------------------------------- what was asked, and what the repository holds


@dataclass(frozen=True)
class RepoRef:
    """A scan target as asked, before anything was looked up.

    `repo_id` is `org/name` (or a legacy single name) for kind "hub", else the path as given. `revision` None means the default branch.
    `subfolder` ("" = root) and `filename` (one `.safetensors` file) narrow the search. `raw` is what the user typed.
    """

    kind: RepoKind
    repo_id: str
    raw: str
    revision: str | None = None
    subfolder: str = ""
    filename: str | None = None


@dataclass(frozen=True)
class RepoFile:
    """One file of a repository. `sha256` (64 hex) is known for LFS files and local files already hashed, else None; `blob_id` is git's id."""

    path: str
    size_bytes: int
    sha256: str | None = None
    blob_id: str | None = None


@dataclass(frozen=True)
class FileIssue:
    """A file that the Hub's own scanners object to. Both are hostile text: `level` is the Hub's word (`"unsafe"`), `path` the owner's."""

    path: str
    level: str


@dataclass(frozen=True)
class HubSecurity:
    """What the Hub's own scanners of files (viruses, pickle imports) say of a repository's main branch. Context; it never changes a verdict.

    `scans_done` is False while they are at work. `issues` are those found, at most 20; `n_issues` counts all.
    """

    scans_done: bool
    n_issues: int
    issues: tuple[FileIssue, ...] = ()


@dataclass(frozen=True)
class RepoSnapshot:
    """A repository pinned to one commit: its listing and the few facts of its card that the scan uses. All strings are hostile text.

    `commit_sha` is 40 hex digits for a Hub repository and None for a local folder. `base_models` are the card's claims, never trusted.
    `security` is None where the Hub says nothing, and for a local folder.
    """

    repo_id: str
    kind: RepoKind
    commit_sha: str | None
    files: tuple[RepoFile, ...]
    base_models: tuple[str, ...] = ()
    gated: bool = False
    private: bool = False
    license: str | None = None
    security: HubSecurity | None = field(default=None, metadata=LATER)

    def file(self, path: str) -> RepoFile | None:
        """The listed file at exactly `path`, or None."""
        return self._by_path.get(path)

    @cached_property
    def _by_path(self) -> dict[str, RepoFile]:
        return {f.path: f for f in reversed(self.files)}  # asked for often: some listings have 50,000 rows


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a checked safetensors header: dtype as stored (`"F16"`), shape, and its bytes as offsets into the whole file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor as stored."""
        return self.stop - self.start


@dataclass(frozen=True)
class FetchPlan:
    """What getting a file, or some tensors of it, would cost now: bytes over the network, and in how many requests.

    `whole` is True when the whole file would travel or is here already. Nothing travels where `transfer_bytes` is 0.
    """

    transfer_bytes: int
    n_requests: int
    whole: bool


class RepoSource(Protocol):
    """Read access to one pinned repository, on the Hub or on disk. Implemented by `amdet_hub.hub`, used by `amdet_hub.encoders`."""

    @property
    def snapshot(self) -> RepoSnapshot:
        """The pinned listing."""
        ...

    def read_small(self, path: str, *, max_bytes: int) -> bytes:
        """Whole content of a small file. Raises: FileNotInRepo; BadRepository when larger than `max_bytes`; any HubError."""
        ...

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Bytes `start <= i < stop` of a file, fewer only at its end. Raises: FileNotInRepo; DownloadCorrupt; any HubError."""
        ...

    def fetch(self, path: str, progress: ProgressCallback | None = None) -> Path:
        """A local path of the whole file, checked against its size and, where known, its sha256. Raises: ResourceError (disk); any HubError."""
        ...

    def fetch_tensors(self, path: str, tensors: Mapping[str, TensorInfo], progress: ProgressCallback | None = None) -> Path:
        """A local safetensors file with these tensors of a file, byte for byte; the whole file where that is at hand or little larger.

        `tensors` are entries of the file's checked header: the bytes of no others are relied on. Raises: as `fetch`.
        """
        ...

    def plan_fetch(self, path: str, tensors: Mapping[str, TensorInfo] | None) -> FetchPlan:
        """What `fetch_tensors` (`fetch` for None) would transfer now; asks nothing. Raises: FileNotInRepo."""
        ...


# ---------------------------------------------------------------- encoders


@dataclass(frozen=True)
class TowerConfig:
    """The allow-listed, range-checked facts of a text tower's config; everything else in a `config.json` is ignored.

    `projection_dim` is None when the checkpoint stores no text projection. `eos_token_id` 2 is CLIP's legacy value and means
    "the position of the largest id" (Source: transformers `CLIPTextModel` pooling). SigLIP pools the last position.
    """

    family: Family
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    vocab_size: int
    hidden_act: str
    layer_norm_eps: float
    bos_token_id: int
    eos_token_id: int
    pad_token_id: int
    projection_dim: int | None = None

    @property
    def causal(self) -> bool:
        """Whether a position sees only itself and earlier ones."""
        return self.family == "clip"

    @property
    def dims(self) -> str:
        """Short human form, e.g. `"12 x 768, 77 positions, 49,408 tokens"`."""
        return f"{self.num_hidden_layers} x {self.hidden_size}, {self.max_position_embeddings} positions, {self.vocab_size:,} tokens"


@dataclass(frozen=True)
class Adapter:
    """A LoRA on a text tower: a matrix `W` becomes `W + scale * up @ down`, in float32. What is scanned is the merged tower.

    Attributes:
        naming: whose tensor names the file uses.
        prefix: what precedes the module names in the file (`"lora_te1_"`, `"text_encoder."`).
        rank: the largest rank of its matrices.
        n_matrices: how many matrices of the tower it changes.
        scale: what `adapter_config.json` multiplies with; None where each matrix has its own alpha in the file, or none (then 1).
        base_repo_id: repository or path of the tower it was merged onto.
        base_commit_sha: its commit, 40 hex digits; None for local folders.
        base_component: its component there.
    """

    naming: AdapterNaming
    prefix: str
    rank: int
    n_matrices: int
    scale: float | None
    base_repo_id: str
    base_commit_sha: str | None
    base_component: str = ""


@dataclass(frozen=True)
class ResolvedEncoder:
    """One text encoder of a pinned repository, located but not loaded.

    Attributes:
        repo_id: repository or local path.
        commit_sha: 40 hex digits, None for local folders.
        component: `""` for a plain model, else the pipeline component (`"text_encoder_2"`), the subfolder, or the file name.
        architecture: class name found (`"CLIPTextModelWithProjection"`), for people.
        config: the checked tower facts.
        weight_files: the safetensors files holding the tower, in shard order; all variants of a component are separate encoders.
        variant: `""` or e.g. `"fp16"`.
        prefix: what precedes the canonical tensor names in the files (`"text_model."`), `""` if nothing.
        tokenizer_files: paths of `tokenizer.json`, or `vocab.json` + `merges.txt`, where found.
        tower_bytes: bytes of the tower's tensors as stored.
        dtypes: the stored dtypes of the tower, sorted, e.g. `("F16",)`.
        key_layout: how the files name and cut the tensors (`amdet_hub.encoders.key_layouts`).
        adapter: set when `weight_files` are a LoRA; config, prefix and key layout are then those of the base.
    """

    repo_id: str
    commit_sha: str | None
    component: str
    architecture: str
    config: TowerConfig
    weight_files: tuple[RepoFile, ...]
    variant: str = ""
    prefix: str = ""
    tokenizer_files: tuple[str, ...] = ()
    tower_bytes: int = 0
    dtypes: tuple[str, ...] = ()
    key_layout: KeyLayout = field(default="transformers", metadata=LATER)
    adapter: Adapter | None = field(default=None, metadata=LATER)

    @property
    def label(self) -> str:
        """How people call it: `"text_encoder_2 (fp16)"`, or `"text encoder"` for a plain model."""
        name = self.component or "text encoder"
        return f"{name} ({self.variant})" if self.variant else name


@dataclass(frozen=True)
class Reference:
    """The clean encoder the suspect is compared with (the paper's "anchor").

    `trust`: "trusted" = a row of `families.py`, pinned revision and sha256; "user" = `--reference`; "declared" = the suspect's own
    `base_model` metadata, which its author controls; "none" = no reference, lower confidence. `note` says why in one sentence.
    """

    trust: ReferenceTrust
    note: str
    repo_id: str | None = None
    commit_sha: str | None = None
    component: str = ""
    tower_digest: str | None = None


# ---------------------------------------------------------------- evidence and verdict


@dataclass(frozen=True)
class NullDistribution:
    """What a statistic looks like when there is nothing to find: where it came from, its centre and spread, and how many values made it."""

    source: str
    n: int
    median: float
    mad: float
    maximum: float | None = None


@dataclass(frozen=True)
class Evidence:
    """One finding of one detector.

    Attributes:
        kind: stable identifier, e.g. `"identity"`, `"weight-difference"`, `"vocabulary-sweep"`, `"trigger-confirmation"`, `"inversion"`,
            `"landscape"`, `"paper-gate-assimilation"`.
        value: the statistic.
        unit: what the value is in, e.g. `"robust z"`, `"similarity"`, `"rate"`.
        threshold: the line it is held against, None when the evidence only informs.
        exceeds: whether the value lies beyond the threshold on the backdoor side, None when it only informs.
        n: how many samples made the value.
        null: the null distribution, where there is one.
        summary: one plain sentence for people; never holds repository text.
        details: further JSON data of this kind, documented where the detector makes it.
    """

    kind: str
    value: float
    unit: str
    n: int
    summary: str
    threshold: float | None = None
    exceeds: bool | None = None
    null: NullDistribution | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"evidence '{self.kind}' has the non-finite value {self.value}")
        if (self.threshold is None) != (self.exceeds is None):
            raise ValueError(f"evidence '{self.kind}': threshold and exceeds come together")


@dataclass(frozen=True)
class TriggerFinding:
    """A recovered trigger: token ids and their text (hostile text), with the share of held-out prompts it captures at each place, in [0, 1].

    `text` is None when no tokenizer was at hand. `nearest_captions` read the target: the texts whose reference features lie closest, best first.
    """

    token_ids: tuple[int, ...]
    text: str | None
    success_start_rate: float
    success_middle_rate: float
    success_end_rate: float
    n_prompts: int
    nearest_captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class GroupDistance:
    """How far one group of tensors lies from the reference's.

    `name` is `"token embeddings"`, `"position embeddings"`, `"layer 3 attention"`, `"layer 3 mlp"`, `"layer 3 norms"`, `"final norm"`,
    `"projection"` or `"other"`. `relative_change` is the Frobenius norm of the differences over that of the reference's tensors, in [0, inf).
    """

    name: str
    relative_change: float
    n_changed: int
    n_tensors: int


@dataclass(frozen=True)
class Lineage:
    """How a tower came from its reference, as far as the weights tell. Informs; never convicts, never acquits.

    Attributes:
        relation: "identical" (every bit), "cast" (the reference's weights in another dtype), "changed".
        dtype: the suspect's stored dtypes, `"float16"` or several joined by `"/"`.
        reference_dtype: the reference's.
        groups: the groups that changed, in the order of the tower; none unless "changed".
        n_rows_changed: rows of the token embedding with any difference.
        n_rows: its rows.
        layers_changed: numbers of the layers with any difference.
        n_matrices_changed: matrices of layers with any difference.
        adapter_rank: largest rank of those differences, where all of them are of low rank as a merged adapter's are; else None. The rank
            of a matrix is the number of directions that hold 99 % of the squares of its difference.
    """

    relation: Literal["identical", "cast", "changed"]
    dtype: str
    reference_dtype: str
    groups: tuple[GroupDistance, ...] = ()
    n_rows_changed: int = 0
    n_rows: int = 0
    layers_changed: tuple[int, ...] = ()
    n_matrices_changed: int = 0
    adapter_rank: int | None = None


@dataclass(frozen=True)
class Verdict:
    """The judgement of one encoder. `reasons` are plain sentences, the deciding one first. There is no label that means "safe"."""

    label: VerdictLabel
    confidence: Confidence
    reasons: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.reasons:
            raise ValueError("a verdict needs at least one reason")


@dataclass(frozen=True)
class Environment:
    """Versions and hardware that made a result. Never holds host names, user names or paths."""

    amdet_hub: str
    python: str
    torch: str
    transformers: str
    accelerate: str
    huggingface_hub: str
    device: str
    dtype: str
    num_processes: int
    num_threads: int


@dataclass(frozen=True)
class ScanResult:
    """One encoder, scanned (or answered by identity), with everything needed to run the scan again.

    `batch_sizes` records what the out-of-memory retry settled on per stage. `timings_s` are seconds per stage: the only fields, with
    the report's `created`, that differ between two runs of the same scan on the same machine. `lineage` is None without a reference.
    """

    encoder: ResolvedEncoder
    tower_digest: str
    reference: Reference
    verdict: Verdict
    evidence: tuple[Evidence, ...]
    triggers: tuple[TriggerFinding, ...] = ()
    batch_sizes: Mapping[str, int] = field(default_factory=dict)
    timings_s: Mapping[str, float] = field(default_factory=dict)
    kind: Literal["result"] = "result"
    lineage: Lineage | None = field(default=None, metadata=LATER)


@dataclass(frozen=True)
class SkippedScan:
    """An encoder or component that was not scanned, and why.

    `blocks_acquittal` is True when it is of a CLIP family (or may be), so that the report cannot say "no backdoor found" of the repository.
    """

    repo_id: str
    component: str
    reason: SkipReason
    detail: str
    blocks_acquittal: bool
    kind: Literal["skipped"] = "skipped"


ScanOutcome = ScanResult | SkippedScan


@dataclass(frozen=True)
class ScanReport:
    """Everything one `scan` of one target found. `complete` is False for the partial report of an interrupted scan.

    `config` is `ScanConfig.to_dict()` of the run and `config_fingerprint` its sha256; `created` is RFC 3339 UTC.
    """

    target: str
    snapshot: RepoSnapshot
    outcomes: tuple[ScanOutcome, ...]
    verdict: Verdict
    config: Mapping[str, Any]
    config_fingerprint: str
    environment: Environment
    created: str
    complete: bool = True
    schema_version: str = SCHEMA_VERSION

    @property
    def results(self) -> tuple[ScanResult, ...]:
        """The outcomes that were scanned."""
        return tuple(o for o in self.outcomes if isinstance(o, ScanResult))

    @property
    def skipped(self) -> tuple[SkippedScan, ...]:
        """The outcomes that were not."""
        return tuple(o for o in self.outcomes if isinstance(o, SkippedScan))


# ---------------------------------------------------------------- dictionary form


def to_dict(record: Any) -> Any:
    """Plain JSON data of a record: dataclasses become dicts, tuples become lists, mappings keep their order."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {f.name: to_dict(getattr(record, f.name)) for f in dataclasses.fields(record)}
    if isinstance(record, Mapping):
        return {str(k): to_dict(v) for k, v in record.items()}
    if isinstance(record, tuple | list):
        return [to_dict(v) for v in record]
    return record


def from_dict(cls: type[R], data: Any) -> R:
    """The record of class `cls` that `to_dict` made `data` from.

    Raises:
        ReportError: a field is missing, unknown or of the wrong type; the message names it.
    """
    return typing.cast(R, _decode(cls, data, cls.__name__))


def fingerprint(data: Mapping[str, Any]) -> str:
    """sha256 (64 hex digits) of the canonical JSON of `data`: sorted keys, no spaces, UTF-8."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()


def _decode(kind: Any, data: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if kind is Any:
        return data
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(typing.cast(type, kind), data, where)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(typing.get_args(kind), data, where)
    if origin is Literal:
        if data not in typing.get_args(kind):
            raise ReportError(f"{where}: {data!r} is not one of {', '.join(map(repr, typing.get_args(kind)))}")
        return data
    if origin is tuple:
        if not isinstance(data, list):
            raise ReportError(f"{where}: expected a list")
        return tuple(_decode(typing.get_args(kind)[0], v, f"{where}[{i}]") for i, v in enumerate(data))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(data, dict):
            raise ReportError(f"{where}: expected an object")
        return {k: _decode(typing.get_args(kind)[1], v, f"{where}.{k}") for k, v in data.items()}
    return _decode_scalar(kind, data, where)


def _decode_scalar(kind: Any, data: Any, where: str) -> Any:
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        try:
            return float(data)
        except OverflowError as error:
            raise ReportError(f"{where}: {str(data)[:20]}... is too large a number") from error
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise ReportError(f"{where}: expected {kind.__name__}, found {type(data).__name__}")
    return data


def _decode_union(options: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in options:
        return None
    options = tuple(o for o in options if o is not type(None))
    if len(options) > 1 and isinstance(data, dict):  # records in a union carry a literal `kind`
        for option in options:
            if typing.get_args(typing.get_type_hints(option)["kind"])[0] == data.get("kind"):
                return _decode(option, data, where)
        raise ReportError(f"{where}: unknown kind {data.get('kind')!r}")
    return _decode(options[0], data, where)


def _decode_dataclass(cls: type, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise ReportError(f"{where}: expected an object")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    if unknown := sorted(set(data) - set(fields)):
        raise ReportError(f"{where}: unknown field '{unknown[0]}'")
    if missing := [name for name, f in fields.items() if name not in data and "later" not in f.metadata]:
        raise ReportError(f"{where}: missing field '{missing[0]}'")
    try:
        return cls(**{name: _decode(hints[name], data[name], f"{where}.{name}") for name in fields if name in data})
    except ValueError as error:
        raise ReportError(f"{where}: {error}") from error
