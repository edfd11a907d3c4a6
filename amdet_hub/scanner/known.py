"""What was scanned before is answered without scanning it again: from the target's listing alone, or from the tower's digest.

Knows: which facts of a target make it the same question (`amdet_hub.scanner.cache` keeps the answers). `open_known`
and `Known.recall` fetch no weights and import no torch; `Known.report` scans what no answer was kept for.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

from amdet_hub.config import ScanConfig
from amdet_hub.encoders.discovery import Resolution
from amdet_hub.hub import HubSettings
from amdet_hub.records import (
    ProgressCallback,
    RepoRef,
    RepoSource,
    ResolvedEncoder,
    ScanOutcome,
    ScanReport,
    ScanResult,
    fingerprint,
    to_dict,
)
from amdet_hub.scanner.cache import CachedResult, ResultsCache, Subject, TowerDigests
from amdet_hub.scanner.estimate import DEFAULT_OPTIONS, ScanOptions, open_target
from amdet_hub.scanner.references import ChosenReference, choose_reference
from amdet_hub.verdict import judge_repository

_log = logging.getLogger(__name__)
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Known:
    """A target pinned to one commit, and what is known of it. Made by `open_known`.

    Attributes:
        ref: the target, its revision replaced by the commit, so that what is scanned and loaded later is what was
            looked at.
        source: the pinned repository.
        resolution: its encoders.
        references: the reference of each encoder, in the same order.
    """

    ref: RepoRef
    source: RepoSource
    resolution: Resolution
    references: tuple[ChosenReference, ...]
    config: ScanConfig
    settings: HubSettings
    reference: RepoRef | None
    options: ScanOptions
    cache: ResultsCache

    @property
    def identities(self) -> tuple[str, ...]:
        """One sha256 for each encoder: of its config and of every file that makes it.

        Equal identities are equal encoders.
        """
        return tuple(_identity(encoder, self.source) for encoder in self.resolution.encoders)

    def recall(self) -> ScanReport | None:
        """The report that earlier scans of these very weights make, None when one of them is missing.

        Reads listings and our own folder.
        """
        digests = [self.cache.digests(identity) for identity in self.identities]
        return self._assemble([d for d in digests if d is not None]) if None not in digests else None

    def recall_by_digest(self, progress: ProgressCallback | None = None) -> ScanReport | None:
        """As `recall`, but loads towers in files that were never seen, and recognises them by their digest.

        Fetches weights, imports torch.

        Raises:
            BadRepository: the weights are broken.
            HubError: they could not be fetched.
        """
        from amdet_hub.encoders.digest import projection_digest
        from amdet_hub.encoders.load import load_tower

        digests = []
        for encoder, identity in zip(self.resolution.encoders, self.identities, strict=True):
            found = self.cache.digests(identity)
            if found is None:
                tower = load_tower(encoder, self.source, progress)
                found = TowerDigests(tower.digest, projection_digest(tower.tensors))
                with _no_cache_no_harm():
                    self.cache.remember(identity, found)
            digests.append(found)
        return self._assemble(digests)

    def scan(self, progress: ProgressCallback | None = None) -> ScanReport:
        """Scan the target at its pinned commit, and keep every whole result. Raises: as `scan_target`."""
        from amdet_hub.scanner.session import scan_target

        report = scan_target(
            self.ref,
            config=self.config,
            settings=self.settings,
            reference=self.reference,
            options=self.options,
            progress=progress,
        )
        self._keep(report)
        return report

    def _assemble(self, digests: list[TowerDigests]) -> ScanReport | None:
        kept = []
        for encoder, chosen, found in zip(self.resolution.encoders, self.references, digests, strict=True):
            subject = _subject(encoder, self.source, chosen)
            answer = self.cache.find(found, subject, self.config)
            if answer is None:
                return None
            kept.append(replace(answer, result=replace(answer.result, encoder=encoder)))
        if not kept:
            return None
        outcomes: tuple[ScanOutcome, ...] = (*(k.result for k in kept), *self.resolution.skipped)
        oldest = min(kept, key=lambda k: k.created)
        return ScanReport(
            target=self.ref.raw,
            snapshot=self.source.snapshot,
            outcomes=outcomes,
            verdict=judge_repository(outcomes),
            config=self.config.to_dict(),
            config_fingerprint=self.config.fingerprint(),
            environment=oldest.environment,
            created=oldest.created,
        )

    def _keep(self, report: ScanReport) -> None:
        """Keep what a scan found.

        The digest of a projection is known only of towers that were looked up by digest before the scan.
        """
        by_encoder = {_place(encoder): k for k, encoder in enumerate(self.resolution.encoders)}
        identities = self.identities
        for result in report.results:
            k = by_encoder.get(_place(result.encoder))
            if k is None or result.encoder != self.resolution.encoders[k]:
                continue
            digests = self.cache.digests(identities[k])
            if digests is None or digests.tower != result.tower_digest:
                digests = self._load_digests(self.resolution.encoders[k], result)
            subject = _subject(self.resolution.encoders[k], self.source, self.references[k])
            with _no_cache_no_harm():
                self.cache.remember(identities[k], digests)
                self.cache.keep(
                    CachedResult(result, report.environment, report.created), digests, subject, self.config
                )

    def _load_digests(self, encoder: ResolvedEncoder, result: ScanResult) -> TowerDigests:
        from amdet_hub.encoders.digest import projection_digest
        from amdet_hub.encoders.load import load_tower

        return TowerDigests(result.tower_digest, projection_digest(load_tower(encoder, self.source).tensors))


def open_known(
    ref: RepoRef,
    *,
    config: ScanConfig,
    settings: HubSettings,
    reference: RepoRef | None = None,
    options: ScanOptions = DEFAULT_OPTIONS,
) -> Known:
    """Pin a target, find its encoders and choose their references. Fetches no weights, imports no torch.

    Raises:
        NothingToScan: there is no encoder of a supported family.
        BadRepository: a configuration, index or header is broken or hostile.
        ConfigError: the reference does not fit.
        HubError: something could not be read.
    """
    source, resolution = open_target(ref, settings)
    chosen = tuple(
        choose_reference(encoder, source, named=reference, allowed=options.use_reference, settings=settings)
        for encoder in resolution.encoders
    )
    pinned = replace(ref, revision=source.snapshot.commit_sha) if source.snapshot.commit_sha is not None else ref
    cache = ResultsCache.of(settings)
    return Known(pinned, source, resolution, chosen, config, settings, reference, options, cache)


@contextlib.contextmanager
def _no_cache_no_harm() -> Iterator[None]:
    """A full or read-only disk costs the next scan its short cut, and this one nothing."""
    try:
        yield
    except OSError as error:
        _log.warning("a result was not kept: %s", (error.strerror or type(error).__name__).lower())


def _place(encoder: ResolvedEncoder) -> tuple[str, ...]:
    return (encoder.component, encoder.variant, encoder.prefix, *(f.path for f in encoder.weight_files))


def _identity(encoder: ResolvedEncoder, source: RepoSource) -> str:
    """sha256 over all that was resolved, the repository's name aside, and the content of the files."""
    data = to_dict(encoder)
    del data["repo_id"], data["commit_sha"], data["weight_files"]
    data["contents"] = [
        _content(path, source) for path in (*(f.path for f in encoder.weight_files), *encoder.tokenizer_files)
    ]
    return fingerprint(data)


def _subject(encoder: ResolvedEncoder, source: RepoSource, chosen: ChosenReference) -> Subject:
    record = chosen.record
    reference: dict[str, object] = {
        "trust": record.trust,
        "repo_id": record.repo_id,
        "commit_sha": record.commit_sha,
        "component": record.component,
    }
    if chosen.encoder is not None and chosen.source is not None and record.commit_sha is None:
        reference["identity"] = _identity(chosen.encoder, chosen.source)
    tokenizer = tuple(_content(path, source) for path in encoder.tokenizer_files)
    return Subject(to_dict(encoder.config), tokenizer, reference)


def _content(path: str, source: RepoSource) -> str:
    """What identifies a file's content: its sha256, which the Hub states of LFS files, or git's id of a small file at a pinned commit."""
    file = source.snapshot.file(path)
    if file is not None and file.sha256:
        return f"sha256:{file.sha256}"
    if file is not None and file.blob_id and source.snapshot.commit_sha is not None:
        return f"git:{file.blob_id}"
    digest = hashlib.sha256()
    with source.fetch(path).open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"
