"""The scan: every encoder of a target, one after the other, loaded, compared, measured and judged.

Knows the order of things and what is kept when they stop early. A partial report says that it is partial, and never
acquits.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import accelerate
import torch
from accelerate import Accelerator

import amdet_hub
from amdet_hub.config import ScanConfig, Thresholds
from amdet_hub.detect.lineage import lineage
from amdet_hub.detect.paper import run_paper
from amdet_hub.detect.prompts import PromptSet, SpecialTokens, random_prompts, tokenized_prompts
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.standard import StandardOutcome, run_standard, sweepable_ids
from amdet_hub.detect.weights import LONGEST_ASSEMBLY, weight_difference
from amdet_hub.encoders.digest import same_tower
from amdet_hub.encoders.discovery import Resolution
from amdet_hub.encoders.load import LoadedTower
from amdet_hub.encoders.tokenizer import PromptTokenizer, special_ids
from amdet_hub.errors import AmdetError, BadRepository, ConfigError, HubError, Interrupted, ResourceError
from amdet_hub.families import calibration
from amdet_hub.hub import HubSettings
from amdet_hub.records import (
    Environment,
    Evidence,
    ProgressCallback,
    Reference,
    RepoRef,
    RepoSource,
    ResolvedEncoder,
    ScanOutcome,
    ScanReport,
    ScanResult,
    SkippedScan,
    TriggerFinding,
)
from amdet_hub.scanner.characters import character_sequences
from amdet_hub.scanner.deduplicate import TowerDeduplicator
from amdet_hub.scanner.estimate import DEFAULT_OPTIONS, ScanOptions, open_target
from amdet_hub.scanner.evidence import (
    best_trigger,
    clearest_trigger,
    identity_evidence,
    paper_evidence,
    shown_ids,
    standard_evidence,
    weight_evidence,
)
from amdet_hub.scanner.feature_cache import FeatureCache
from amdet_hub.scanner.loading import PairLoader, pair_tokenizer, special_tokens
from amdet_hub.scanner.nearest_texts import read_target
from amdet_hub.scanner.references import ChosenReference, choose_reference
from amdet_hub.scanner.runtime import AcceleratedWorkers, TimeSpent, make_accelerator, scan_device, sweep_dtype
from amdet_hub.scanner.shared_references import SharedReferences
from amdet_hub.scanner.token_text import is_character, lexicon_of, typeable
from amdet_hub.verdict import judge, judge_repository


def scan_target(
    ref: RepoRef,
    *,
    config: ScanConfig,
    settings: HubSettings,
    reference: RepoRef | None = None,
    options: ScanOptions = DEFAULT_OPTIONS,
    progress: ProgressCallback | None = None,
    shared: SharedReferences | None = None,
) -> ScanReport:
    """Scan every text encoder of a target.

    Args:
        ref: the target, from `amdet_hub.hub.parse_target`.
        config: every number that can change the verdict.
        settings: how to reach the Hub.
        reference: the clean encoder to compare with; None chooses one (`amdet_hub.scanner.references`).
        options: device, dtype, time and memory.
        progress: called with (stage, done, total).
        shared: references that other scans loaded already, and may use after this one.

    Returns:
        The report. When the time budget ends first, it is partial (`complete` is False) and does not acquit.

    Raises:
        NothingToScan: there is no encoder of a supported family.
        BadRepository: something in the repository, or its weights, is broken or hostile.
        ConfigError: the reference or the device does not fit.
        ResourceError: disk or memory does not suffice.
        HubError: something could not be read.
        Interrupted: Ctrl-C; carries the partial report.
    """
    accelerator = make_accelerator(options.device)
    source, resolution = open_target(ref, settings, reference)
    silent: ProgressCallback = lambda stage, done, total: None  # noqa: E731
    shared = shared or SharedReferences()
    run = _Run(ref, source, resolution, config, settings, reference, options, accelerator, progress or silent, shared)
    try:
        run.scan_all()
    except TimeSpent:
        run.stop("the time budget ended")
    except KeyboardInterrupt:
        run.stop("interrupted")
        raise Interrupted(run.report()) from None
    return run.report()


@dataclass
class _Run:
    """One scan under way: what was asked, and what is finished."""

    ref: RepoRef
    source: RepoSource
    resolution: Resolution
    config: ScanConfig
    settings: HubSettings
    reference: RepoRef | None
    options: ScanOptions
    accelerator: Accelerator
    progress: ProgressCallback
    shared: SharedReferences
    outcomes: list[ScanOutcome] = field(default_factory=list)
    complete: bool = True
    started: float = field(default_factory=time.monotonic)
    seen: TowerDeduplicator = field(default_factory=TowerDeduplicator)

    def scan_all(self) -> None:
        """Scan the encoders in order.

        One that cannot be read does not cost the others their result, unless there is no other result.

        Raises:
            AmdetError: nothing could be scanned; the first encoder's error.
            TimeSpent: the budget ended.
        """
        # All references first: one that does not fit is said before minutes are spent on another encoder, not after.
        chosen = [self._reference_of(encoder) for encoder in self.resolution.encoders]
        errors: list[AmdetError] = []
        for encoder, reference in zip(self.resolution.encoders, chosen, strict=True):
            try:
                self.outcomes.append(_EncoderScan(self, encoder, reference).run())
            except (BadRepository, HubError, ResourceError) as error:
                errors.append(error)
                self.outcomes.append(
                    SkippedScan(encoder.repo_id, encoder.component, "unreadable", str(error), blocks_clearance=True)
                )
        if errors and not any(isinstance(outcome, ScanResult) for outcome in self.outcomes):
            raise errors[0]

    def _reference_of(self, encoder: ResolvedEncoder) -> ChosenReference:
        allowed = self.options.use_reference
        base = self.resolution.bases.get(encoder)
        return choose_reference(
            encoder, self.source, named=self.reference, allowed=allowed, settings=self.settings, base=base
        )

    def stop(self, why: str) -> None:
        """Name what was not finished."""
        self.complete = False
        for encoder in self.resolution.encoders[len(self.outcomes) :]:
            self.outcomes.append(
                SkippedScan(encoder.repo_id, encoder.component, "interrupted", why, blocks_clearance=True)
            )

    def report(self) -> ScanReport:
        """Everything found so far."""
        outcomes = (*self.outcomes, *self.resolution.skipped)
        return ScanReport(
            target=self.ref.raw,
            snapshot=self.source.snapshot,
            outcomes=outcomes,
            verdict=judge_repository(outcomes),
            config=self.config.to_dict(),
            config_fingerprint=self.config.fingerprint(),
            environment=_environment(self.accelerator, self.device, self.dtype),
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            complete=self.complete,
        )

    @property
    def device(self) -> torch.device:
        return scan_device(self.accelerator, self.options.device)

    @property
    def dtype(self) -> torch.dtype:
        return sweep_dtype(self.device, self.options.dtype)


@dataclass(frozen=True)
class _Detected:
    """A detector's evidence, and how to name the trigger should the verdict call for it."""

    evidence: list[Evidence]
    name_trigger: Callable[[], TriggerFinding] | None = None


class _EncoderScan:
    """One encoder: load it and its reference, answer by identity or run the preset's detector."""

    def __init__(self, run: _Run, encoder: ResolvedEncoder, chosen: ChosenReference) -> None:
        self._run, self._encoder, self._chosen = run, encoder, chosen
        self._workers = AcceleratedWorkers(
            run.accelerator, run.options, started=run.started, hidden_size=encoder.config.hidden_size
        )
        self._timings: dict[str, float] = {}
        base = run.resolution.bases.get(encoder)
        self._loader = PairLoader(encoder, run.source, chosen, base, run.progress, self._in_turn, run.shared)

    def run(self) -> ScanOutcome:
        """Raises: TimeSpent; BadRepository; HubError; ResourceError."""
        with self._timed("load"):
            suspect = self._loader.suspect()
        if (repeat := self._run.seen.repeat_of(self._encoder, suspect)) is not None:
            return repeat
        result = self._scan(suspect)
        self._run.seen.keep(self._encoder, suspect, self._run.resolution.encoders[len(self._run.outcomes) + 1 :])
        return result

    def _scan(self, suspect: LoadedTower) -> ScanResult:
        with self._timed("load"):
            anchor, chosen = self._loader.reference(suspect), self._chosen
        if anchor is not None:
            chosen = replace(chosen, record=replace(chosen.record, tower_digest=anchor.digest))
        evidence: list[Evidence] = []
        detected = _Detected([])
        identical = (
            anchor is not None
            and chosen.encoder is not None
            and _same_encoder(self._encoder, suspect, chosen.encoder, anchor)
        )
        if identical and chosen.record.trust == "declared":
            # Whoever planted a backdoor can publish it twice and call one copy the base of the other.
            note = (
                f"the declared base model {chosen.record.repo_id} is this same tower, which says nothing: lower"
                " confidence"
            )
            chosen, anchor, identical = ChosenReference(Reference("none", note)), None, False
        origin = lineage(suspect.tensors, anchor.tensors, same=identical) if anchor is not None else None
        if anchor is not None and origin is not None:
            cast_to = origin.dtype if origin.relation == "cast" else None
            evidence = [identity_evidence(identical=identical, trust=chosen.record.trust, cast_to=cast_to)]
            evidence += [] if identical else [weight_evidence(weight_difference(suspect.tensors, anchor.tensors))]
        if not identical:
            detected = self._detect(suspect, anchor, chosen)
            evidence += detected.evidence
        verdict = judge(evidence, chosen.record)
        return ScanResult(
            encoder=self._encoder,
            tower_digest=suspect.digest,
            reference=chosen.record,
            verdict=verdict,
            evidence=tuple(evidence),
            triggers=(
                (detected.name_trigger(),) if verdict.label == "backdoor-detected" and detected.name_trigger else ()
            ),
            batch_sizes=dict(self._workers.batch_sizes),
            timings_s={
                stage: round(s, 3) for stage, s in (*self._timings.items(), *self._workers.stage_seconds.items())
            },
            lineage=origin,
        )

    def _in_turn(self, load: Callable[[], LoadedTower]) -> LoadedTower:
        self._workers.check_time()
        with self._run.accelerator.local_main_process_first():  # the others find the files in the cache
            try:
                return load()
            except AmdetError as error:
                problem = error  # raised below: accelerate's context lets the others in only when its body ends well
        raise problem

    def _tick(self, stage: str, done: int, total: int) -> None:
        """Progress of a detector; also where a spent time budget is noticed."""
        self._run.progress(stage, done, total)
        self._workers.check_time()

    def _detect(self, suspect: LoadedTower, anchor: LoadedTower | None, chosen: ChosenReference) -> _Detected:
        run = self._run
        tokenizer = pair_tokenizer(self._encoder, run.source, chosen)
        special = special_tokens(self._encoder, tokenizer)
        ours = suspect.encoder.to(run.device, torch.float32)
        theirs = anchor.encoder.to(run.device, torch.float32) if anchor is not None else None
        fast = (ours.to(run.device, run.dtype), theirs.to(run.device, run.dtype) if theirs is not None else None)
        sweep = run.config.sweep
        if run.config.preset == "paper":
            prompts = self._prompts(run.config.inversion.n_prompts, sweep.prompt_tokens, tokenizer, special)
            with self._timed("paper"):
                outcome = run_paper(*fast, prompts, run.config, workers=self._workers, progress=self._tick)
            return _Detected(paper_evidence(outcome, run.config))
        prompts = self._prompts(sweep.n_prompts + sweep.n_heldout_prompts, sweep.prompt_tokens, tokenizer, special)
        ids = sweepable_ids(self._encoder.config.vocab_size, special.all())
        calibrated = calibration(self._encoder.config.family, with_reference=theirs is not None).thresholds
        thresholds = run.config.thresholds.over(calibrated)
        more = (
            character_sequences(tokenizer, longest=sweep.max_pieces)
            if sweep.characters and tokenizer is not None
            else []
        )
        with self._timed("standard"):
            found = run_standard(
                ours,
                theirs,
                fast,
                prompts,
                ids,
                run.config,
                thresholds,
                more=more,
                lexicon=lexicon_of(tokenizer, longest=sweep.max_pieces),
                halves=FeatureCache(run.settings, anchor.digest) if anchor is not None else None,
                workers=self._workers,
                progress=self._tick,
                measure=run.options.on_measure,
            )
        pieces = {i: tokenizer.piece(i) for i in shown_ids(found)} if tokenizer is not None else {}
        reader = fast[1] or fast[0]
        return _Detected(
            standard_evidence(found, thresholds, pieces),
            lambda: self._trigger(found, thresholds, prompts, fast[0], reader, tokenizer),
        )

    def _trigger(
        self,
        found: StandardOutcome,
        thresholds: Thresholds,
        prompts: PromptSet,
        suspect: TextEncoder,
        reader: TextEncoder,
        tokenizer: PromptTokenizer | None,
    ) -> TriggerFinding:
        best = best_trigger(found, thresholds, typeable(tokenizer), is_character(tokenizer))
        start, middle, end = best.success_rates
        with self._timed("target"):
            spoken = clearest_trigger(found, thresholds).token_ids
            seed = self._run.config.seed
            nearest = (
                read_target(spoken, prompts, suspect, reader, tokenizer, seed=seed) if tokenizer is not None else ()
            )
        return TriggerFinding(
            token_ids=best.token_ids,
            text=tokenizer.decode(best.token_ids) if tokenizer is not None else None,
            success_start_rate=start,
            success_middle_rate=middle,
            success_end_rate=end,
            n_prompts=best.n_prompts,
            nearest_captions=nearest,
        )

    def _prompts(self, n: int, tokens: int, tokenizer: PromptTokenizer | None, special: SpecialTokens) -> PromptSet:
        positions = self._encoder.config.max_position_embeddings
        sweep = self._run.config.sweep
        inserted = max(*sweep.copies, sweep.max_pieces, LONGEST_ASSEMBLY)
        tokens = min(tokens, positions - inserted - 2)  # BOS and EOS
        if tokens < 1:
            raise BadRepository(
                "config.json", f"{positions} positions are too few to scan: a prompt and a trigger need {inserted + 3}"
            )
        if tokenizer is None:
            return random_prompts(n, tokens, self._encoder.config, special, seed=self._run.config.seed)
        try:
            return tokenized_prompts(n, tokens, tokenizer.encode, special, seed=self._run.config.seed)
        except ConfigError as error:
            raise BadRepository(
                self._encoder.tokenizer_files[0] if self._encoder.tokenizer_files else "tokenizer", error.reason
            ) from error

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self._timings[stage] = self._timings.get(stage, 0.0) + time.monotonic() - start


def _same_encoder(
    config: ResolvedEncoder, suspect: LoadedTower, reference_config: ResolvedEncoder, reference: LoadedTower
) -> bool:
    """Whether suspect and reference are one encoder: the same weights, read with the same epsilon and pooled at the same token."""
    ours, theirs = config.config, reference_config.config
    reads_alike = ours.layer_norm_eps == theirs.layer_norm_eps and special_ids(ours)[1] == special_ids(theirs)[1]
    return reads_alike and same_tower(suspect.tensors, reference.tensors)


def _environment(accelerator: Accelerator, device: torch.device, dtype: torch.dtype) -> Environment:
    return Environment(
        amdet_hub=amdet_hub.__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=importlib.metadata.version("transformers"),
        accelerate=accelerate.__version__,
        huggingface_hub=importlib.metadata.version("huggingface_hub"),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        dtype=str(dtype).removeprefix("torch."),
        num_processes=int(accelerator.num_processes),
        num_threads=torch.get_num_threads(),
    )
