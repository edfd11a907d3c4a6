"""From a target to pairs of a suspect and its reference, pinned to commits. Fetches no weights, imports no torch."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.lora_files import LoraBase
from amdet_hub.hub import HubSettings, open_source
from amdet_hub.hub.time_limit import TimeSpent, time_limit
from amdet_hub.records import RepoRef, RepoSnapshot, RepoSource, ResolvedEncoder, SkippedScan
from amdet_hub.scanner.lora_bases import with_merged_towers
from amdet_hub.scanner.options import ScanOptions
from amdet_hub.scanner.references import ChosenReference, choose_reference


@dataclass(frozen=True)
class EncoderPair:
    """One text encoder of a target, and the clean encoder that it is compared with.

    Attributes:
        suspect: the encoder, located but not loaded.
        source: its repository, pinned.
        reference: the clean encoder, with its own repository; empty where there is none.
        lora_base: what the suspect is merged onto, where it is a LoRA.
    """

    suspect: ResolvedEncoder
    source: RepoSource
    reference: ChosenReference
    lora_base: LoraBase | None = None


@dataclass(frozen=True)
class ResolvedTarget:
    """A target pinned to one commit.

    Attributes:
        ref: the target, its revision replaced by the commit.
        snapshot: the pinned listing; empty and without a commit where the time budget ended before it was there.
        pairs: what is scanned.
        skipped: what is not, each part with its reason.
        resolve_s: seconds of the time budget that are spent.
    """

    ref: RepoRef
    snapshot: RepoSnapshot
    pairs: tuple[EncoderPair, ...]
    skipped: tuple[SkippedScan, ...]
    resolve_s: float = 0.0


def resolve_target(
    ref: RepoRef, settings: HubSettings, options: ScanOptions, *, named: RepoRef | None
) -> ResolvedTarget:
    """Pin a target, find its encoders, LoRAs merged onto their bases among them, and choose their references.

    Args:
        ref: the target.
        settings: how to reach the Hub.
        options: the time budget, and whether to compare with anything.
        named: the clean encoder that the user names, also the first base that a LoRA is tried on.

    Raises:
        BadRepository: a configuration, index or header is broken or hostile.
        ConfigError: the reference does not fit.
        HubError: something could not be read.
    """
    began, snapshot = time.monotonic(), RepoSnapshot(ref.repo_id, ref.kind, None, ())
    pairs: list[EncoderPair] = []
    try:
        with time_limit(options.timeout_s):
            source = open_source(ref, settings)
            snapshot = source.snapshot
            found = find_encoders(source, subfolder=ref.subfolder, filename=ref.filename)
            found = with_merged_towers(source, found, named=named, settings=settings)
            for suspect in found.encoders:
                base = found.bases.get(suspect)
                chosen = choose_reference(
                    suspect, source, named=named, allowed=options.use_reference, settings=settings, base=base
                )
                pairs.append(EncoderPair(suspect, source, chosen, base))
        skipped = unchanged_files_pass(found.skipped, source, pairs)
    except TimeSpent:
        said = "the time budget ended before its encoders and their references were found"
        pairs, skipped = [], (SkippedScan(ref.repo_id, "", "time-spent", said, blocks_clearance=True),)
    pinned = replace(ref, revision=snapshot.commit_sha or ref.revision)
    return ResolvedTarget(pinned, snapshot, tuple(pairs), skipped, time.monotonic() - began)


def unchanged_files_pass(
    skipped: Iterable[SkippedScan], source: RepoSource, pairs: Iterable[EncoderPair]
) -> tuple[SkippedScan, ...]:
    """What was skipped. A file that cannot be read blocks no more where a reference has the same file, by its sha256.

    Counts for references that are trusted or the user's own: OpenAI's repositories hold the weights for TensorFlow and
    Flax too, and so do copies of them.
    """
    trusted = [p.reference.source for p in pairs if p.reference.source and p.reference.record.trust != "declared"]
    known = {file.sha256 for reference in trusted for file in reference.snapshot.files if file.sha256}
    unread = {file.path for file in source.snapshot.files if file.sha256 in known}
    return tuple(
        replace(skip, blocks_clearance=False, detail=f"{skip.detail}; it is the reference's, unchanged")
        if skip.reason in ("unsupported-format", "refused-pickle") and skip.component in unread
        else skip
        for skip in skipped
    )
