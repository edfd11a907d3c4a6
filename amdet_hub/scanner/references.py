"""Which clean encoder is the suspect held against, and how far is that choice to be trusted?

Torch-free; fetches no weights.

In this order: the one the user names; the trusted base of the same family and dimensions (`amdet_hub.families`, pinned
revision and sha256), of several the one that the card names; the base model that the suspect's own card claims; none.
A claim is the suspect's author's word, and is reported as such.
"""

from dataclasses import dataclass

from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.lora_files import LoraBase
from amdet_hub.errors import BadRepository, ConfigError, HubError
from amdet_hub.families import TowerShape, TrustedReference, trusted_file, trusted_reference
from amdet_hub.hub import HubSettings, open_source
from amdet_hub.records import Reference, ReferenceTrust, RepoRef, RepoSource, ResolvedEncoder
from amdet_hub.scanner.lora_bases import ABSENT, trusted_encoders


@dataclass(frozen=True)
class ChosenReference:
    """A reference, and where to load it from (None and None when there is none)."""

    record: Reference
    encoder: ResolvedEncoder | None = None
    source: RepoSource | None = None


def choose_reference(
    suspect: ResolvedEncoder,
    source: RepoSource,
    *,
    named: RepoRef | None,
    allowed: bool,
    settings: HubSettings,
    base: LoraBase | None = None,
) -> ChosenReference:
    """The reference of one suspect.

    Args:
        suspect: the resolved suspect.
        source: its repository, for its card's claims.
        named: the user's own choice, if any.
        allowed: False for `--no-reference`.
        settings: how to reach the Hub.
        base: what a LoRA was merged onto: its reference, unless the user names another.

    Raises:
        ConfigError: the user's reference holds no encoder of the suspect's dimensions.
        HubError: the user's reference cannot be read, or the Hub does not answer.
    """
    if not allowed:
        return ChosenReference(Reference("none", "no reference was wanted (--no-reference): lower confidence"))
    if base is not None and (named is None or base.source.snapshot.repo_id == named.repo_id):
        return _merged_onto(base, source, named)
    if named is not None:
        return _named(suspect, named, settings)
    row = _trusted_itself(suspect) or trusted_reference(suspect.config, source.snapshot.base_models)
    missing = "no trusted base of these dimensions is known"
    if row is not None:
        try:
            return _trusted(suspect, row, settings)
        except ABSENT as error:
            missing = f"the trusted base {row.repo_id} could not be read ({type(error).__name__})"
    for claim in source.snapshot.base_models:
        if chosen := _declared(suspect, claim, settings):
            return chosen
    return ChosenReference(Reference("none", f"{missing} and the card names no usable base model: lower confidence"))


def _named(suspect: ResolvedEncoder, ref: RepoRef, settings: HubSettings) -> ChosenReference:
    try:
        source = open_source(ref, settings)
    except HubError as error:
        error.args = (f"the reference '{ref.raw}' cannot be used: {error}",)
        raise
    encoder = _matching(suspect, source, ref.subfolder, ref.filename)
    if encoder is None:
        raise ConfigError(
            "reference", f"'{ref.raw}' holds no text encoder of {suspect.config.dims}, which '{suspect.label}' has"
        )
    return _chosen("user", "named by the user", encoder, source)


def _merged_onto(base: LoraBase, source: RepoSource, named: RepoRef | None) -> ChosenReference:
    """The LoRA's base: what the merged tower differs in is the LoRA's doing. As trusted as the base itself."""
    onto = "what the LoRA was merged onto"
    if named is not None and base.source.snapshot.repo_id == named.repo_id:
        return _chosen("user", f"named by the user, and {onto}", base.encoder, base.source)
    if _trusted_itself(base.encoder) is not None:
        return _chosen("trusted", f"{onto}, pinned by sha256 in amdet-hub's table", base.encoder, base.source)
    said = "in the same repository" if base.source is source else "by its author's word"
    return _chosen("declared", f"{onto}, {said}: untrusted", base.encoder, base.source)


def _trusted_itself(suspect: ResolvedEncoder) -> TrustedReference | None:
    """The row of the suspect's own file, where it is trusted: checkpoints of one shape may be trained apart."""
    return next((row for file in suspect.weight_files if file.sha256 and (row := trusted_file(file.sha256))), None)


def _trusted(suspect: ResolvedEncoder, row: TrustedReference, settings: HubSettings) -> ChosenReference:
    encoders, source = trusted_encoders(row, settings)
    if not encoders or TowerShape.of(encoders[0].config) != TowerShape.of(suspect.config):
        raise BadRepository(row.path, "it is not the encoder that the table describes")
    return _chosen("trusted", "pinned by revision and sha256 in amdet-hub's table", encoders[0], source)


def _declared(suspect: ResolvedEncoder, claim: str, settings: HubSettings) -> ChosenReference | None:
    if claim == suspect.repo_id:
        return None
    try:
        source = open_source(RepoRef("hub", claim, claim), settings)
        encoder = _matching(suspect, source)
    except ABSENT:
        return None
    if encoder is None:
        return None
    return _chosen(
        "declared", "declared by the suspect's own model card, which its author controls: untrusted", encoder, source
    )


def _matching(
    suspect: ResolvedEncoder, source: RepoSource, subfolder: str = "", filename: str | None = None
) -> ResolvedEncoder | None:
    """The encoder of the suspect's shape; of several, the same component, then the one stored most precisely."""
    shape = TowerShape.of(suspect.config)
    found = find_encoders(source, subfolder=subfolder, filename=filename).encoders
    return min(
        (e for e in found if TowerShape.of(e.config) == shape),
        key=lambda e: (e.component != suspect.component, "F32" not in e.dtypes, e.label),
        default=None,
    )


def _chosen(trust: ReferenceTrust, note: str, encoder: ResolvedEncoder, source: RepoSource) -> ChosenReference:
    record = Reference(trust, note, encoder.repo_id, source.snapshot.commit_sha, encoder.component)
    return ChosenReference(record, encoder, source)
