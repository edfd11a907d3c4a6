"""One suspect against its reference: loaded, answered by identity or by the preset's detector, judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from amdet_hub.config_stages import Thresholds
from amdet_hub.detect.context import DetectionContext, TowerPair, Towers
from amdet_hub.detect.detector import Detection, StandardDetector
from amdet_hub.detect.paper import PaperDetector
from amdet_hub.detect.prompts import PromptSet, SpecialTokens, random_prompts, tokenized_prompts
from amdet_hub.detect.search.sweep import sweepable_ids
from amdet_hub.detect.splice import PLACES, place_index
from amdet_hub.detect.weights import LONGEST_ASSEMBLY, lineage, weight_difference
from amdet_hub.encoders.digest import same_projection, same_tower
from amdet_hub.encoders.load import LoadedTower, renumbered
from amdet_hub.encoders.tokenizer import PromptTokenizer
from amdet_hub.encoders.tower_config import pooled_id
from amdet_hub.errors import BadRepository, ConfigError
from amdet_hub.families import MEANING, calibration, read_out_thresholds
from amdet_hub.records import ChangedMeaning, Evidence, ReadOut, Reference, ScanResult, TriggerFinding
from amdet_hub.scanner.characters import character_sequences
from amdet_hub.scanner.evidence import (
    identity_evidence,
    shown_ids,
    standard_evidence,
    tokenizer_evidence,
    weight_evidence,
)
from amdet_hub.scanner.feature_cache import FeatureCache
from amdet_hub.scanner.loading import PairLoader, pair_tokenizer, special_tokens, tokenizer_difference
from amdet_hub.scanner.meanings import in_words, meaning_evidence
from amdet_hub.scanner.nearest_texts import read_target
from amdet_hub.scanner.paper_evidence import paper_evidence
from amdet_hub.scanner.references import ChosenReference
from amdet_hub.scanner.resolve import EncoderPair
from amdet_hub.scanner.runtime import timed
from amdet_hub.scanner.token_classes import lookalike_characters
from amdet_hub.scanner.token_text import is_character, lexicon_of, typeable
from amdet_hub.scanner.trigger_choice import choose_trigger, clearest_trigger
from amdet_hub.verdict import judge

if TYPE_CHECKING:
    from amdet_hub.scanner.session import ScanSession


# A detector's evidence, the tokens whose meaning changed, and how to name the trigger should the verdict call for it.
_Detected = tuple[list[Evidence], tuple[ChangedMeaning, ...], Callable[[], TriggerFinding] | None]


class PairScan:
    """The scan of one pair within a session."""

    def __init__(self, session: ScanSession, pair: EncoderPair) -> None:
        self._session, self._pair, self._config = session, pair, session.scanner.config
        self._workers = session.workers(pair.suspect.config.hidden_size)
        self._timings: dict[str, float] = {}
        self._loader = PairLoader(pair, session.monitor.progress, self._in_turn, session.scanner.shared)

    def load_suspect(self) -> LoadedTower:
        """The suspect in memory. Raises: TimeSpent; BadRepository; HubError; ResourceError."""
        with timed(self._timings, "load"):
            return self._loader.suspect()

    def scan(self, suspect: LoadedTower) -> ScanResult:
        """Compare the loaded suspect with its reference. Raises: as `load_suspect`."""
        encoder, chosen = self._pair.suspect, self._pair.reference
        with timed(self._timings, "load"):
            reference = self._loader.reference(suspect)
        if reference is not None:
            chosen = replace(chosen, record=replace(chosen.record, tower_digest=reference.digest))
        own, read = suspect, tokenizer_difference(self._pair, chosen, suspect, reference)
        if read is not None and read.moved:
            suspect = renumbered(suspect, encoder.config, read.moved)
        identical = reference is not None and self._is_reference(suspect, reference)
        if identical and chosen.record.trust == "declared":
            # An attacker can publish a backdoored encoder twice and call one copy the base of the other.
            note = f"the declared base model {chosen.record.repo_id} is this same tower: lower confidence"
            suspect, chosen, reference, identical = own, ChosenReference(Reference("none", note)), None, False
            read = tokenizer_difference(self._pair, chosen, suspect, reference)
        origin = lineage(suspect.tensors, reference.tensors, same=identical) if reference is not None else None
        evidence: list[Evidence] = []
        if reference is not None and origin is not None:
            cast_to = origin.dtype if origin.relation == "cast" else None
            evidence.append(identity_evidence(identical=identical, trust=chosen.record.trust, cast_to=cast_to))
        if reference is not None and not identical:
            evidence.append(weight_evidence(weight_difference(suspect.tensors, reference.tensors)))
        if read is not None:
            evidence.append(tokenizer_evidence(read))
        detected, meanings, name_trigger = ([], (), None) if identical else self._detect(suspect, reference, chosen)
        evidence += detected
        verdict = judge(evidence, chosen.record)
        return ScanResult(
            encoder=encoder,
            tower_digest=suspect.digest,
            reference=chosen.record,
            verdict=verdict,
            evidence=tuple(evidence),
            triggers=(name_trigger(),) if name_trigger is not None and verdict.code == "trigger-confirmed" else (),
            batch_sizes=dict(self._workers.batch_sizes),
            timings_s={k: round(s, 3) for k, s in (*self._timings.items(), *self._workers.stage_seconds.items())},
            lineage=origin,
            meanings=meanings,
        )

    def _is_reference(self, suspect: LoadedTower, reference: LoadedTower) -> bool:
        """Whether both are one encoder: the same weights, read with the same epsilon, pooled at the same token."""
        assert self._pair.reference.encoder is not None
        one, other = self._pair.suspect.config, self._pair.reference.encoder.config
        reads_alike = one.layer_norm_eps == other.layer_norm_eps and pooled_id(one) == pooled_id(other)
        return reads_alike and same_tower(suspect.tensors, reference.tensors)

    def _in_turn(self, load: Callable[[], LoadedTower]) -> LoadedTower:
        self._workers.check_time()
        return self._session.in_turn(load)

    def _tick(self, stage: str, done: int, total: int) -> None:
        """Progress of a detector; also where a spent time budget is noticed."""
        self._session.monitor.progress(stage, done, total)
        self._workers.check_time()

    def _detect(self, suspect: LoadedTower, reference: LoadedTower | None, chosen: ChosenReference) -> _Detected:
        session, config, encoder = self._session, self._config, self._pair.suspect
        tokenizer = pair_tokenizer(encoder, self._pair.source, chosen)
        special = special_tokens(encoder, chosen)
        pair = TowerPair(suspect.encoder, reference.encoder if reference is not None else None)
        towers, sweep = Towers.on(pair, session.device, session.dtype), config.sweep
        calibrated = calibration(encoder.config.family, with_reference=reference is not None).thresholds
        characters = lookalike_characters(tokenizer, longest=sweep.max_pieces) if tokenizer is not None else {}
        context = DetectionContext(
            config=config,
            thresholds=config.thresholds.over(calibrated),
            read_outs=self._read_outs(suspect, reference),
            token_ids=sweepable_ids(encoder.config.vocab_size, special.all()),
            lexicon=lexicon_of(tokenizer, longest=sweep.max_pieces),
            characters=tuple(characters),
            extra_candidates=(
                character_sequences(tokenizer, longest=sweep.max_pieces) if sweep.characters and tokenizer else ()
            ),
            feature_store=FeatureCache(session.scanner.hub, reference.digest) if reference is not None else None,
            workers=self._workers,
            monitor=replace(session.monitor, progress=self._tick),
        )
        if config.preset == "paper":
            prompts = self._prompts(config.inversion.n_prompts, tokenizer, special)
            with timed(self._timings, "paper"):
                found_paper = PaperDetector().detect(towers, prompts, context)
            return paper_evidence(found_paper, config), (), None
        prompts = self._prompts(sweep.n_prompts + sweep.n_heldout_prompts, tokenizer, special)
        with timed(self._timings, "standard"):
            found = StandardDetector().detect(towers, prompts, context)
        pieces = {i: tokenizer.piece(i) for i in shown_ids(found)} if tokenizer is not None else {}
        meanings = in_words(found.meanings, tokenizer, characters, (reference or suspect).encoder.config)
        evidence = standard_evidence(found, context.thresholds, pieces, context.read_outs)
        return (
            [*evidence, *meaning_evidence(meanings, MEANING[encoder.config.family], len(context.token_ids))],
            meanings,
            lambda: self._name_trigger(found.deciding(context), context, prompts, towers.fast, tokenizer),
        )

    def _read_outs(self, suspect: LoadedTower, reference: LoadedTower | None) -> dict[ReadOut, Thresholds]:
        """The read-outs that are looked at beside the pooled feature, with their thresholds.

        Behind the reference's own projection, the projected feature is a linear image of the pooled one.
        """
        config, own = self._pair.suspect.config, self._config.thresholds
        found = read_out_thresholds(config.family, with_reference=reference is not None)
        if config.num_hidden_layers < 2:
            found.pop("penultimate", None)
        both = reference is not None and None not in (config.projection_dim, reference.encoder.config.projection_dim)
        if reference is not None and (not both or same_projection(suspect.tensors, reference.tensors)):
            del found["projected"]
        return {read_out: own.over(calibrated) for read_out, calibrated in found.items()}

    def _name_trigger(
        self,
        found: Detection,
        context: DetectionContext,
        prompts: PromptSet,
        towers: TowerPair,
        tokenizer: PromptTokenizer | None,
    ) -> TriggerFinding:
        thresholds = context.thresholds_in(found.read_out)
        towers = towers.reading(found.read_out)
        best = choose_trigger(found, thresholds, partial(typeable, tokenizer), partial(is_character, tokenizer))
        start, middle, end = best.success_rates
        with timed(self._timings, "target"):
            spoken = clearest_trigger(found, thresholds).token_ids
            if best.view in PLACES:
                prompts, spoken = prompts.holding(spoken, place_index(prompts, best.view)), ()
            suspect, reader, seed = towers.suspect, towers.reference or towers.suspect, self._config.seed
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
            read_out=found.read_out,
        )

    def _prompts(self, n: int, tokenizer: PromptTokenizer | None, special: SpecialTokens) -> PromptSet:
        encoder, sweep, seed = self._pair.suspect, self._config.sweep, self._config.seed
        positions = encoder.config.max_position_embeddings
        inserted = max(*sweep.copies, sweep.max_pieces, LONGEST_ASSEMBLY)
        tokens = min(sweep.prompt_tokens, positions - inserted - 2)  # BOS and EOS
        if tokens < 1:
            raise BadRepository(
                "config.json",
                f"{positions} positions are too few to scan: a prompt and a trigger need {inserted + 3}",
            )
        if tokenizer is None:
            return random_prompts(n, tokens, encoder.config, special, seed=seed)
        try:
            return tokenized_prompts(n, tokens, tokenizer.encode, special, seed=seed)
        except ConfigError as error:
            raise BadRepository(
                encoder.tokenizer_files[0] if encoder.tokenizer_files else "tokenizer", error.reason
            ) from error
