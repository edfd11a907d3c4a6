"""What a scan would do: encoders, references, expected time. Fetches no weights and imports no torch.

The time is an estimate from the operations of each stage and a coarse speed of this machine; it is meant to tell a
minute from an hour.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from amdet_hub.config import ScanConfig
from amdet_hub.encoders.discovery import Resolution, find_encoders
from amdet_hub.errors import ConfigError
from amdet_hub.hub import HubSettings, open_source
from amdet_hub.records import Reference, RepoRef, RepoSnapshot, RepoSource, ResolvedEncoder, SkippedScan, TowerConfig
from amdet_hub.scanner.lora_bases import with_merged_towers
from amdet_hub.scanner.references import ChosenReference, choose_reference
from amdet_hub.scanner.transfer import Travel, base_travel, reference_travel, suspect_travel, total_bytes


@dataclass(frozen=True)
class ScanOptions:
    """How to run a scan; nothing here is meant to change a verdict.

    Attributes:
        device: "auto", "cpu", "cuda" or "cuda:N".
        dtype: of the sweep's and the inversion's matrix products: "auto" (bfloat16 where the machine multiplies it
            faster), "float32", "bfloat16".
        timeout_s: time budget in seconds; when it is spent, the partial report is inconclusive.
        max_memory_bytes: memory the batches may take; they start smaller to stay below it.
        use_reference: False for `--no-reference`.
        on_stage: called with a stage's name when it begins and with "" when it ends (`bench speed` measures there).
        on_measure: called with (stage, step, value, label) while the standard detector works, for a plot that moves
            (`amdet_hub.detect.standard.run_standard` says with what). It must return at once and must not raise.
    """

    device: str = "auto"
    dtype: str = "auto"
    timeout_s: float | None = None
    max_memory_bytes: int | None = None
    use_reference: bool = True
    on_stage: Callable[[str], None] = lambda stage: None
    on_measure: Callable[[str, int, float, str], None] | None = None

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "cuda") and not (
            self.device.startswith("cuda:") and self.device[5:].isdigit()
        ):
            raise ConfigError("device", f"'{self.device}' is none of auto, cpu, cuda, cuda:N")
        if self.dtype not in ("auto", "float32", "bfloat16"):
            raise ConfigError("dtype", f"'{self.dtype}' is none of auto, float32, bfloat16")


DEFAULT_OPTIONS = ScanOptions()


@dataclass(frozen=True)
class PlannedEncoder:
    """One encoder that would be scanned, its reference, and the expected seconds on this machine.

    The weights that would travel are its own, the reference's, and for a LoRA those of the base that it is merged
    onto.
    """

    encoder: ResolvedEncoder
    reference: Reference
    estimate_s: float
    travel: Travel
    reference_travel: Travel | None
    base_travel: Travel | None


@dataclass(frozen=True)
class TargetPlan:
    """What a scan of one target would do."""

    snapshot: RepoSnapshot
    encoders: tuple[PlannedEncoder, ...]
    skipped: tuple[SkippedScan, ...]

    @property
    def download_bytes(self) -> int:
        """Bytes of the target's weights, and of the bases of its LoRAs, that would travel now."""
        return total_bytes(travel for planned in self.encoders for travel in (planned.travel, planned.base_travel))

    @property
    def reference_download_bytes(self) -> int:
        """Bytes of the references' weights that would travel now."""
        return total_bytes(planned.reference_travel for planned in self.encoders)


def open_target(
    ref: RepoRef, settings: HubSettings, reference: RepoRef | None = None
) -> tuple[RepoSource, Resolution]:
    """The pinned repository of a target and the encoders in it, LoRAs merged onto their bases among them.

    Raises: NothingToScan; BadRepository; HubError.
    """
    source = open_source(ref, settings)
    resolution = find_encoders(source, subfolder=ref.subfolder, filename=ref.filename)
    return source, with_merged_towers(source, resolution, named=reference, settings=settings)


def plan_target(
    ref: RepoRef,
    *,
    config: ScanConfig,
    settings: HubSettings,
    reference: RepoRef | None = None,
    options: ScanOptions = DEFAULT_OPTIONS,
) -> TargetPlan:
    """What `scan_target` with the same arguments would do.

    Raises:
        NothingToScan: there is no encoder of a supported family.
        BadRepository: a configuration, index or header is broken or hostile.
        ConfigError: the reference does not fit.
        HubError: something could not be read.
    """
    source, resolution = open_target(ref, settings, reference)
    planned = []
    for encoder in resolution.encoders:
        base = resolution.bases.get(encoder)
        chosen = choose_reference(
            encoder, source, named=reference, allowed=options.use_reference, settings=settings, base=base
        )
        travels = suspect_travel(encoder, source, chosen), reference_travel(encoder, chosen), base_travel(base, chosen)
        planned.append(
            PlannedEncoder(encoder, chosen.record, estimate_seconds(encoder.config, chosen, config), *travels)
        )
    return TargetPlan(source.snapshot, tuple(planned), resolution.skipped)


def estimate_seconds(tower: TowerConfig, reference: ChosenReference, config: ScanConfig) -> float:
    """Expected seconds of a scan on this machine, loading aside.

    Not foreseen: an identical tower, which answers at once; a search that does not decide, after which `standard` goes
    on to the inversion.
    """
    encoders = 1 if reference.encoder is None else 2
    arithmetic = scan_positions(tower, config) * encoders * position_flop(tower) / machine_flops()
    return arithmetic + layer_calls(tower, config) * encoders * _LAYER_CALL_S


_LAYER_CALL_S = 0.001  # a layer's operators on next to no data, on one core; what small towers spend their time on


def layer_calls(tower: TowerConfig, config: ScanConfig) -> float:
    """How often one encoder's layers are entered in the stages with small batches: steps, grid points, candidates."""
    points = config.landscape.grid**2 / 25
    if config.preset == "paper":
        return tower.num_hidden_layers * (3.0 * config.inversion.steps + points)
    inversion, sweep = config.inversion, config.sweep
    candidates = sweep.n_candidates * len(sweep.copies) + 2 * sweep.n_paired * (sweep.n_paired - 1)
    descents = 2 * 3.0 * inversion.steps * -(-inversion.restarts // 4)
    inverted = 0.0 if config.stop_when_decided else descents + points
    return tower.num_hidden_layers * (inverted + 6 * candidates)


def position_flop(tower: TowerConfig) -> float:
    """Floating-point operations of one position through the layers: 2 per weight (attention scores are small beside them)."""
    d, m = tower.hidden_size, tower.intermediate_size
    return 2.0 * tower.num_hidden_layers * (4 * d * d + 2 * d * m)


def scan_positions(tower: TowerConfig, config: ScanConfig) -> float:
    """Positions one encoder runs in a scan; a step of the inversion counts three times (forward and backward)."""
    inversion, limit = config.inversion, tower.max_position_embeddings
    if config.preset == "paper":
        heldout = inversion.heldout_share * inversion.n_prompts
        return limit * (3.0 * inversion.steps * inversion.batch_size + heldout + config.landscape.grid**2)
    sweep = config.sweep
    length = sweep.prompt_tokens + 2 if tower.causal else limit
    per_form = [n + 1 if tower.causal else limit for n in sweep.copies]
    second = min(sweep.n_finalists + sweep.n_null, tower.vocab_size) * sweep.n_prompts * sum(per_form)
    screened = sweep.preview_share * tower.vocab_size + sweep.n_null
    swept = (tower.vocab_size * sweep.preview_prompts + screened * sweep.screen_prompts) * per_form[0] + second
    # Growing: some candidates a length; nulls: a few patterns; confirming: three places. All of about six positions
    # behind a cached prefix. Chosen so that the sum agrees with the benign scans timed in BENCHMARKS.md; a trigger of
    # many pieces takes more.
    tail = 6 if tower.causal else limit
    grown = (
        25 * sweep.max_pieces * (sweep.n_accretions + 1) * (sweep.n_prompts if tower.causal else sweep.screen_prompts)
    )
    grown += 4 * sweep.n_sequences * sweep.n_prompts + 3 * 100 * (sweep.n_prompts + sweep.n_heldout_prompts)
    swept += tail * (grown + (_CHARACTERS * sweep.screen_prompts if sweep.characters else 0))
    if config.stop_when_decided:
        return swept
    inverted = (
        2 * 3.0 * inversion.restarts * inversion.steps * inversion.batch_size * (length + inversion.pseudo_tokens)
    )
    return swept + inverted + length * config.landscape.grid**2


_CHARACTERS = 150_000  # assigned Unicode characters


@cache
def machine_flops() -> float:
    """Coarse floating-point operations per second of this machine in this work (not its peak): GPU, or cores times what a core does."""
    if Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi"):
        return 4e13  # a middling GPU at a fifth of its peak
    return (os.cpu_count() or 1) * (
        2.2e11 if _cpu_multiplies_bf16() else 4e10
    )  # measured per core on the 2-core build machine


def _cpu_multiplies_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
