"""Which tower is a LoRA merged onto? Torch-free; fetches no weights.

In this order: the base that its `adapter_config.json` names; a tower of the LoRA's own repository; the reference that
the user names; the base that the card claims, where no config names one; the trusted encoder of its width and depth,
where nothing is named at all. A LoRA without a base blocks, and so does one whose base is an adapter again.
"""

import dataclasses

from amdet_hub.encoders.discovery import Resolution, find_encoders
from amdet_hub.encoders.lora_files import ADAPTER_CONFIG, LoraBase, LoraFile, best_base, fits, merged_encoder
from amdet_hub.encoders.weight_files import folder_of, join
from amdet_hub.errors import (
    BadRepository,
    FileNotInRepo,
    OfflineMiss,
    RepoGated,
    RepoNotFound,
    RevisionNotFound,
)
from amdet_hub.families import TrustedReference, all_trusted
from amdet_hub.hub import HubSettings, open_at, open_source
from amdet_hub.records import RepoRef, RepoSource, ResolvedEncoder, SkippedScan

# What makes another repository unavailable rather than a scan impossible.
ABSENT = (RepoNotFound, RepoGated, RevisionNotFound, FileNotInRepo, OfflineMiss, BadRepository)


def with_merged_towers(
    source: RepoSource, resolution: Resolution, *, named: RepoRef | None, settings: HubSettings
) -> Resolution:
    """The resolution with each LoRA joined to its base: a further encoder, or a skip that says which bases were tried.

    Raises:
        HubError: the Hub does not answer.
    """
    if not resolution.loras:
        return resolution
    encoders, skipped = list(resolution.encoders), list(resolution.skipped)
    bases: dict[ResolvedEncoder, LoraBase] = {}
    for adapter in resolution.loras:
        found, tried = _bases(adapter, source, resolution, named, settings)
        if not found:
            what = (
                f"none of {', '.join(tried)} holds a text tower that it fits"
                if tried
                else "its repository names no base model"
            )
            skipped.append(
                SkippedScan(
                    source.snapshot.repo_id,
                    adapter.component,
                    "lora-without-base",
                    f"a LoRA on a text encoder without a base to merge it onto: {what}; name one with --reference",
                    blocks_clearance=True,
                )
            )
        if others := _with_another_config(adapter, found):
            skipped.append(
                SkippedScan(
                    source.snapshot.repo_id,
                    others[0].component,
                    "loads-from-elsewhere",
                    f"sentence-transformers reads '{others[0].weight_files[0].path}' with the configuration of"
                    f" '{adapter.claims[0]}', which is another one",
                    blocks_clearance=True,
                )
            )
        for base, base_source in found:
            merged = merged_encoder(adapter, source, base, base_source)
            if len(found) > 1:
                merged = dataclasses.replace(merged, component=f"{adapter.component} on {base.repo_id} {base.label}")
            bases[merged] = LoraBase(base, base_source, adapter.lora)
            encoders.append(merged)
    return dataclasses.replace(resolution, encoders=tuple(encoders), skipped=tuple(skipped), loras=(), bases=bases)


def _with_another_config(adapter: LoraFile, bases: list[tuple[ResolvedEncoder, RepoSource]]) -> list[ResolvedEncoder]:
    """The bases beside an adapter whose own configuration is not that of the first base, which it names.

    Source: sentence-transformers 6.2 `Transformer._load_config`.
    """
    return [e for e, _ in bases[1:] if adapter.claims and e.config != bases[0][0].config]


def _bases(
    adapter: LoraFile, source: RepoSource, resolution: Resolution, named: RepoRef | None, settings: HubSettings
) -> tuple[list[tuple[ResolvedEncoder, RepoSource]], list[str]]:
    """Every tower that a loader merges the LoRA onto, with its repository; and the repositories that were tried.

    Where an `adapter_config.json` names a repository, transformers and PEFT take the base from its root, and from the
    adapter's own folder when that is loaded as a folder. Source: transformers 5.23 `integrations/peft.py`.
    """
    own = resolution.encoders or _elsewhere(source)
    elsewhere = [claim for claim in adapter.claims if claim != source.snapshot.repo_id]
    folder = folder_of(adapter.file.path)
    places = (folder,) if elsewhere else ("", folder) if adapter.claims else ()
    beside = [(e, source) for e in own if folder_of(e.weight_files[0].path) in places and fits(adapter, e)]
    chained = bool(adapter.claims and folder) and source.snapshot.file(ADAPTER_CONFIG) is not None
    base = best_base(adapter, own)
    if base is not None and not elsewhere and not chained:
        return beside or [(base, source)], []
    refs = [RepoRef("hub", claim, claim) for claim in elsewhere or dict.fromkeys(source.snapshot.base_models)]
    refs = [ref for ref in refs if ref.repo_id != source.snapshot.repo_id]
    if named is not None:
        refs.insert(len(elsewhere), named)
        refs = [named if ref.repo_id == named.repo_id else ref for ref in refs]  # in the revision that is named
    for ref in refs:
        if (found := _in_repository(adapter, ref, settings)) is not None:
            return [found, *beside], []
    trusted = None if refs or adapter.claims else _trusted(adapter, settings)
    return ([trusted] if trusted is not None else []), [ref.raw for ref in refs]


def _elsewhere(source: RepoSource) -> tuple[ResolvedEncoder, ...]:
    """The towers of the whole repository, for a LoRA whose file or folder was named on its own."""
    try:
        return find_encoders(source).encoders
    except ABSENT:
        return ()


def _in_repository(
    adapter: LoraFile, ref: RepoRef, settings: HubSettings
) -> tuple[ResolvedEncoder, RepoSource] | None:
    try:
        source = open_source(ref, settings)
        if source.snapshot.file(join(ref.subfolder, ADAPTER_CONFIG)) is not None:  # an adapter on another base again
            return None
        base = best_base(adapter, find_encoders(source, subfolder=ref.subfolder, filename=ref.filename).encoders)
    except ABSENT:
        return None
    return None if base is None else (base, source)


def _trusted(adapter: LoraFile, settings: HubSettings) -> tuple[ResolvedEncoder, RepoSource] | None:
    lora = adapter.lora
    wanted = (lora.width, lora.layers, False)
    rows = [r for r in all_trusted() if (r.shape.hidden_size, r.shape.num_hidden_layers, r.by_name_only) == wanted]
    for row in sorted(rows, key=lambda r: (r.component != lora.component, r.dtype != "F32", -r.confidence)):
        try:
            encoders, source = trusted_encoders(row, settings)
        except ABSENT:
            continue
        base = best_base(adapter, encoders)
        if base is not None:
            return base, source
    return None


def trusted_encoders(row: TrustedReference, settings: HubSettings) -> tuple[list[ResolvedEncoder], RepoSource]:
    """The encoders in the file of a trusted row, and its repository.

    Raises:
        BadRepository: the file is not the pinned one.
        HubError: it could not be read.
    """
    source = open_at(row.repo_id, row.revision, settings)
    file = source.snapshot.file(row.path)
    if file is None or file.sha256 != row.sha256:
        raise BadRepository(row.path, "its sha256 is not the pinned one")
    encoders = find_encoders(source, subfolder=row.path.rpartition("/")[0]).encoders
    return [e for e in encoders if any(f.path == row.path for f in e.weight_files)], source
