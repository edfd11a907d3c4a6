"""Which weights of a scan are transferred, and how many bytes they are. Fetches none of them; imports no torch."""

from collections.abc import Iterable
from dataclasses import dataclass

from amdet_hub.encoders.transfer import plan_tower
from amdet_hub.records import FetchPlan, RepoSource, ResolvedEncoder
from amdet_hub.scanner.references import ChosenReference
from amdet_hub.scanner.resolve import EncoderPair


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
class TransferPlan:
    """Weight files of one encoder (suspect, reference or base), and the cost of getting each now."""

    encoder: ResolvedEncoder
    plans: tuple[FetchPlan, ...]

    @property
    def transfer_bytes(self) -> int:
        """Bytes over the network, taken alone."""
        return sum(plan.transfer_bytes for plan in self.plans)


def transfer_plans(pair: EncoderPair) -> tuple[TransferPlan, TransferPlan | None, TransferPlan | None]:
    """Plans of the suspect, of its reference, and of the base it is merged onto.

    None where there is none, and where it is the same files as one before it.

    Raises:
        BadRepository: a header is malformed.
        HubError: a header could not be read.
    """
    chosen, base = pair.reference, pair.lora_base
    whole, whole_reference = transferred_whole(pair.suspect, chosen)
    reference = base_plan = None
    if chosen.encoder is not None and chosen.source is not None and not same_files(pair.suspect, chosen.encoder):
        reference = _plan(chosen.encoder, chosen.source, whole_files=whole_reference)
    if base is not None and not (chosen.encoder is not None and same_files(base.encoder, chosen.encoder)):
        base_plan = _plan(base.encoder, base.source, whole_files=False)
    return _plan(pair.suspect, pair.source, whole_files=whole), reference, base_plan


def total_bytes(plans: Iterable[TransferPlan | None]) -> int:
    """Bytes over the network of all plans: a whole file counts once, and so does one tower that several need."""
    needed: dict[tuple[str, str | None, str, str], int] = {}
    for one in filter(None, plans):
        encoder = one.encoder
        for file, plan in zip(encoder.weight_files, one.plans, strict=True):
            tower = "" if plan.whole else encoder.label
            needed[encoder.repo_id, encoder.commit_sha, file.path, tower] = plan.transfer_bytes
    return sum(needed.values())


def _plan(encoder: ResolvedEncoder, source: RepoSource, *, whole_files: bool) -> TransferPlan:
    return TransferPlan(encoder, plan_tower(encoder, source, whole_files=whole_files))
