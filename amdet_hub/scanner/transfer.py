"""Which weights of a scan travel, and how many bytes they are. Fetches none of them; imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from amdet_hub.encoders.adapters import LoraBase
from amdet_hub.encoders.transfer import plan_tower
from amdet_hub.records import FetchPlan, RepoSource, ResolvedEncoder
from amdet_hub.scanner.references import ChosenReference


def same_files(suspect: ResolvedEncoder, reference: ResolvedEncoder) -> bool:
    """Whether both are the same tower of the same weight files, by the sha256 that the listing states.

    One file may hold several towers.
    """
    ours = [f.sha256 for f in suspect.weight_files]
    alike = all(
        getattr(suspect, name) == getattr(reference, name) for name in ("config", "prefix", "key_layout", "adapter")
    )
    return alike and None not in ours and ours == [f.sha256 for f in reference.weight_files]


def transferred_whole(suspect: ResolvedEncoder, chosen: ChosenReference) -> tuple[bool, bool]:
    """Whether the suspect's and the reference's files must come whole, so that their sha256 is checked.

    That of a trusted reference is why it is believed. A suspect that states the same sha256 is taken for it, and so
    has to show it.
    """
    trusted = chosen.record.trust == "trusted" and chosen.encoder is not None
    return trusted and chosen.encoder is not None and same_files(suspect, chosen.encoder), trusted


@dataclass(frozen=True)
class Travel:
    """Weight files of one encoder (suspect or reference) and what getting each would transfer now."""

    repo_id: str
    commit_sha: str | None
    encoder: ResolvedEncoder
    plans: tuple[FetchPlan, ...]

    @property
    def transfer_bytes(self) -> int:
        """Bytes over the network, taken alone."""
        return sum(plan.transfer_bytes for plan in self.plans)


def suspect_travel(encoder: ResolvedEncoder, source: RepoSource, chosen: ChosenReference) -> Travel:
    """What the suspect's weights cost. Raises: BadRepository; HubError."""
    return _travel(encoder, source, whole_files=transferred_whole(encoder, chosen)[0])


def reference_travel(encoder: ResolvedEncoder, chosen: ChosenReference) -> Travel | None:
    """What the reference's weights cost; None where there is none, or where it is the suspect's own files.

    Raises: BadRepository; HubError.
    """
    if chosen.encoder is None or chosen.source is None or same_files(encoder, chosen.encoder):
        return None
    return _travel(chosen.encoder, chosen.source, whole_files=transferred_whole(encoder, chosen)[1])


def base_travel(base: LoraBase | None, chosen: ChosenReference) -> Travel | None:
    """What the base of a LoRA costs; None where there is none, or where it is the reference, which is counted there.

    Raises:
        BadRepository: a header is malformed.
        HubError: a header could not be read.
    """
    if base is None or (chosen.encoder is not None and same_files(base.encoder, chosen.encoder)):
        return None
    return _travel(base.encoder, base.source, whole_files=False)


def total_bytes(travels: Iterable[Travel | None]) -> int:
    """Bytes over the network of all of them: a whole file counts once, and so does one tower that several need."""
    whole: dict[tuple[str, str | None, str], int] = {}
    parts: dict[tuple[str, str | None, str, str], int] = {}
    for travel in filter(None, travels):
        for file, plan in zip(travel.encoder.weight_files, travel.plans, strict=True):
            key = (travel.repo_id, travel.commit_sha, file.path)
            if plan.whole:
                whole[key] = plan.transfer_bytes
            else:
                parts[(*key, travel.encoder.label)] = plan.transfer_bytes
    return sum(whole.values()) + sum(parts.values())


def _travel(encoder: ResolvedEncoder, source: RepoSource, *, whole_files: bool) -> Travel:
    plans: Sequence[FetchPlan] = plan_tower(encoder, source, whole_files=whole_files)
    return Travel(source.snapshot.repo_id, source.snapshot.commit_sha, encoder, tuple(plans))
