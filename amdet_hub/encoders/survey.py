"""The notes of one look through a repository: encoders found, parts that cannot be scanned, files accounted for."""

from __future__ import annotations

from dataclasses import dataclass, field

from amdet_hub.encoders.key_layouts import TowerLayout
from amdet_hub.encoders.lora_files import LoraFile
from amdet_hub.encoders.resolve_tower import resolve_tower
from amdet_hub.encoders.weight_files import WeightSet
from amdet_hub.records import RepoSource, ResolvedEncoder, SkippedScan, SkipReason, TowerConfig

# Reasons that never keep a repository from being cleared.
HARMLESS: tuple[SkipReason, ...] = ("no-model-files", "not-clip-family", "textual-inversion")


@dataclass
class Survey:
    """A repository as far as it has been looked through.

    Attributes:
        source: the pinned repository.
        encoders: towers that can be scanned.
        skipped: text encoders and components that cannot, each with its reason.
        loras: LoRAs on text towers, whose base is still to be found.
        examined: folders and files that are accounted for.
        text_folders: folders whose config describes a supported text encoder.
        other_folders: folders whose config describes another kind of model.
    """

    source: RepoSource
    encoders: list[ResolvedEncoder] = field(default_factory=list)
    skipped: list[SkippedScan] = field(default_factory=list)
    loras: list[LoraFile] = field(default_factory=list)
    examined: set[str] = field(default_factory=set)
    text_folders: set[str] = field(default_factory=set)
    other_folders: set[str] = field(default_factory=set)

    def has(self, path: str) -> bool:
        """Whether the repository lists a file."""
        return self.source.snapshot.file(path) is not None

    def skip(self, component: str, reason: SkipReason, detail: str, *, blocks: bool = True) -> None:
        """Note a part that is not scanned; unless the reason is harmless, it blocks."""
        blocks = blocks and reason not in HARMLESS
        self.skipped.append(SkippedScan(self.source.snapshot.repo_id, component, reason, detail, blocks))

    def add(self, weights: WeightSet, layout: TowerLayout, config: TowerConfig, component: str, label: str) -> None:
        """Note a tower, checked against its config. Raises: BadWeights."""
        self.encoders.append(resolve_tower(self.source, weights, layout, config, component=component, label=label))

    def first(self, paths: list[str], most: int, folder: str) -> list[str]:
        """The first files of many; the others are noted as not examined, which blocks."""
        if len(paths) > most:
            self.skip(folder, "unreadable", f"{len(paths) - most} more weight files were not examined")
        return paths[:most]
