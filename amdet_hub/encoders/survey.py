"""The notes of one look through a repository: encoders found, parts that cannot be scanned, files accounted for."""

from dataclasses import dataclass, field

from amdet_hub.encoders.key_layouts import TowerLayout
from amdet_hub.encoders.lora_files import LoraFile
from amdet_hub.encoders.resolve_tower import resolve_tower
from amdet_hub.encoders.weight_files import WeightSet
from amdet_hub.errors import BadRepository
from amdet_hub.records import RepoSource, ResolvedEncoder, SkippedScan, SkipReason, TowerConfig
from amdet_hub.weight_formats import is_trainer_state

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
        examined: files that are accounted for.
        text_folders: folders whose config describes a supported text encoder, and its class.
    """

    source: RepoSource
    encoders: list[ResolvedEncoder] = field(default_factory=list)
    skipped: list[SkippedScan] = field(default_factory=list)
    loras: list[LoraFile] = field(default_factory=list)
    examined: set[str] = field(default_factory=set)
    text_folders: dict[str, str] = field(default_factory=dict)

    def has(self, path: str) -> bool:
        """Whether the repository lists a file."""
        return self.source.snapshot.file(path) is not None

    def skip(self, component: str, reason: SkipReason, detail: str, *, blocks: bool = True) -> None:
        """Note a part that is not scanned; unless the reason is harmless, it blocks."""
        blocks = blocks and reason not in HARMLESS
        self.skipped.append(SkippedScan(self.source.snapshot.repo_id, component, reason, detail, blocks))

    def blocks(self, component: str) -> bool:
        """Whether a component is noted as one that keeps the repository from being cleared."""
        return any(s.component == component and s.blocks_clearance for s in self.skipped)

    def refuse(self, path: str, error: BadRepository) -> None:
        """Note a pickle that is not read. The state that a trainer leaves beside a checkpoint may be one."""
        self.examined.add(path)
        self.skip(path, "refused-pickle", str(error), blocks=not is_trainer_state(path))

    def add(self, weights: WeightSet, layout: TowerLayout, config: TowerConfig, component: str, label: str) -> None:
        """Note a tower, checked against its config. Raises: BadWeights."""
        self.encoders.append(resolve_tower(self.source, weights, layout, config, component=component, label=label))

    def first(self, paths: list[str], most: int, folder: str) -> list[str]:
        """The first files of many; the others are noted as not examined, which blocks."""
        if len(paths) > most:
            self.skip(folder, "unreadable", f"{len(paths) - most} more weight files were not examined")
        return paths[:most]
