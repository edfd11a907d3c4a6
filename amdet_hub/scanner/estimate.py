"""What a scan would do: encoders, references, expected time. Fetches no weights and imports no torch.

The time is an estimate from the operations of each stage and a coarse speed of this machine; it is meant to tell a
minute from an hour.
"""

import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from amdet_hub.config import ScanConfig
from amdet_hub.encoders.loaders import Take, all_takes, loaded_by
from amdet_hub.records import Reference, RepoSnapshot, ResolvedEncoder, SkippedScan, TowerConfig
from amdet_hub.scanner.references import ChosenReference
from amdet_hub.scanner.resolve import ResolvedTarget
from amdet_hub.scanner.transfer import TransferPlan, total_bytes, transfer_plans


@dataclass(frozen=True)
class PlannedEncoder:
    """One encoder that would be scanned, its reference, and the expected seconds on this machine.

    Weights are transferred of the suspect, of its reference, and of the base that a LoRA is merged onto. `loaded_by`
    names the calls of common loaders that load this encoder.
    """

    encoder: ResolvedEncoder
    reference: Reference
    estimate_s: float
    transfer: TransferPlan
    reference_transfer: TransferPlan | None
    base_transfer: TransferPlan | None
    loaded_by: tuple[Take, ...]


@dataclass(frozen=True)
class TargetPlan:
    """What a scan of one target would do."""

    snapshot: RepoSnapshot
    encoders: tuple[PlannedEncoder, ...]
    skipped: tuple[SkippedScan, ...]

    @property
    def download_bytes(self) -> int:
        """Bytes of the target's weights, and of the bases of its LoRAs, that would be transferred now."""
        return total_bytes(plan for planned in self.encoders for plan in (planned.transfer, planned.base_transfer))

    @property
    def reference_download_bytes(self) -> int:
        """Bytes of the references' weights that would be transferred now."""
        return total_bytes(planned.reference_transfer for planned in self.encoders)


def plan_target(target: ResolvedTarget, config: ScanConfig) -> TargetPlan:
    """The plan of a scan. Raises: BadRepository or HubError where a header of the weights cannot be read."""
    planned, takes = [], all_takes(target.pairs[0].source) if target.pairs else ()
    for pair in target.pairs:
        seconds = estimate_seconds(pair.suspect.config, pair.reference, config)
        loaders = loaded_by(pair.suspect, takes)
        planned.append(PlannedEncoder(pair.suspect, pair.reference.record, seconds, *transfer_plans(pair), loaders))
    return TargetPlan(target.snapshot, tuple(planned), target.skipped)


def estimate_seconds(tower: TowerConfig, reference: ChosenReference, config: ScanConfig) -> float:
    """Expected seconds of a scan on this machine, loading aside: between those of a clear and of a detected encoder.

    Not foreseen: an identical tower, which answers at once; a search that does not decide, after which `standard` goes
    on to the inversion.
    """
    encoders = 1 if reference.encoder is None else 2
    arithmetic = scan_positions(tower, config) * encoders * position_flop(tower) / machine_flops()
    return arithmetic + layer_calls(tower, config) * encoders * _LAYER_CALL_S


# A layer's operators on next to no data, on one core, which small towers spend their time on: 1 ms, and as much again
# for confirming, ranking and naming a finding. A clear scan of the demonstration takes 2.6 s, a detected one 5 to 6.
_LAYER_CALL_S = 0.002


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
    """Floating-point operations of one position through the layers: 2 per weight; attention scores are small."""
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
    """Coarse floating-point operations per second of this machine in this work: a GPU, or the CPUs we may use."""
    if Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi"):
        return 4e13  # a middling GPU at a fifth of its peak
    return len(os.sched_getaffinity(0)) * (
        2.2e11 if _cpu_multiplies_bf16() else 4e10
    )  # measured per core on the 2-core build machine


def _cpu_multiplies_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
