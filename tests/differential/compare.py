"""The towers that are loaded against the towers that are scanned, repository by repository."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from tests.differential.environment import SCRATCH, publish  # isort: skip # before the libraries

from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.load import load_tower
from amdet_hub.encoders.loaders import all_takes, loaded_by
from amdet_hub.encoders.lora_merge import load_merged
from amdet_hub.errors import AmdetError, RepoNotFound
from amdet_hub.hub import HubSettings
from amdet_hub.records import RepoRef, RepoSource, ResolvedEncoder
from amdet_hub.scanner.lora_bases import with_merged_towers
from tests.differential.loaded import Identity, LoadedTower
from tests.differential.loaders import load_all
from tests.differential.repositories import BASE_REPO, Repository, make_base
from tests.encoders.folder_source import FolderSource


@dataclass(frozen=True)
class Comparison:
    """One repository: what was loaded, what was scanned, what blocks ("" where nothing does).

    `modelled` are the scanned towers that lie in the repository itself, each with the loaders that take it by the
    model of the loaders.
    """

    repository: Repository
    loaded: tuple[LoadedTower, ...]
    errors: dict[str, str]
    scanned: tuple[Identity, ...]
    blocked_by: str
    modelled: tuple[tuple[Identity, frozenset[str]], ...]

    @property
    def unseen(self) -> tuple[LoadedTower, ...]:
        """The loaded towers that no scan looked at: mismatches, where nothing blocks."""
        if self.blocked_by:
            return ()
        return tuple(t for t in self.loaded if not any(t.identity.same_as(scanned) for scanned in self.scanned))

    @property
    def unmodelled(self) -> tuple[LoadedTower, ...]:
        """The loaded towers that lie in the repository, and that no tower is which this library takes by the model."""
        found = []
        for tower in self.loaded:
            takers = [loaders for identity, loaders in self.modelled if tower.identity.same_as(identity)]
            if takers and library(tower.loader) not in frozenset().union(*takers):
                found.append(tower)
        return tuple(found)


def library(way: str) -> str:
    """The name that the model of the loaders has for the library of a way to load."""
    if way.startswith("diffusers single file"):
        return "diffusers from_single_file"
    return {"peft": "transformers"}.get(way.split()[0], way.split()[0])


def compare(repository: Repository) -> Comparison:
    """Load a repository with every library, scan it, and hold the two against each other."""
    publish_base()
    loaded, errors = load_all(repository.folder, f"org/r{repository.seed}")
    source = FolderSource(repository.folder, f"org/r{repository.seed}")
    scanned, blocked_by = scan(source)
    takes = all_takes(source)
    modelled = tuple(
        (identity, frozenset(take.loader for take in loaded_by(encoder, takes)))
        for encoder, identity in scanned
        if encoder.repo_id == source.snapshot.repo_id
    )
    identities = tuple(identity for _, identity in scanned)
    return Comparison(repository, tuple(loaded), errors, identities, blocked_by, modelled)


def scan(source: RepoSource) -> tuple[list[tuple[ResolvedEncoder, Identity]], str]:
    """The towers that a scan looks at, and why the repository is not cleared, "" where it may be.

    The base that a LoRA is merged onto counts: it is the reference, which the report names with its trust.
    """
    try:
        with mock.patch("amdet_hub.scanner.lora_bases.open_source", _open):
            found = with_merged_towers(source, find_encoders(source), named=None, settings=HubSettings())
        blocks = [f"{s.reason} {s.component!r}: {s.detail}" for s in found.skipped if s.blocks_clearance]
        towers = []
        for encoder in found.encoders:
            base = found.bases.get(encoder)
            if base is None:
                towers.append((encoder, load_tower(encoder, source)))
            else:
                towers.append((encoder, load_merged(encoder, base, source)))
                towers.append((base.encoder, load_tower(base.encoder, base.source)))
    except AmdetError as error:
        return [], f"{type(error).__name__}: {error}"
    return [(encoder, Identity.of(tower.tensors)) for encoder, tower in towers], "; ".join(blocks)


def _open(ref: RepoRef, settings: HubSettings) -> RepoSource:
    """The one repository that adapters name, without the Hub. Raises: RepoNotFound."""
    if ref.repo_id != BASE_REPO:
        raise RepoNotFound(ref.repo_id, token_sent=False)
    return FolderSource(publish_base(), BASE_REPO)


@functools.cache
def publish_base() -> Path:
    """The folder of the repository that adapters name, written and published once."""
    folder = SCRATCH / "base"
    make_base(folder)
    publish(folder, BASE_REPO)
    return folder
