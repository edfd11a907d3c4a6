"""A pair, from pinned repositories to towers in memory.

Knows which files are transferred whole, what a LoRA is merged onto, what is loaded once, and whose tokenizer is read.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from amdet_hub.detect.prompts import SpecialTokens
from amdet_hub.encoders.load import LoadedTower, load_tower
from amdet_hub.encoders.lora_merge import load_merged
from amdet_hub.encoders.tokenizer import PromptTokenizer, load_tokenizer, special_ids
from amdet_hub.records import ProgressCallback, RepoSource, ResolvedEncoder
from amdet_hub.scanner.references import ChosenReference
from amdet_hub.scanner.resolve import EncoderPair
from amdet_hub.scanner.shared_references import SharedReferences
from amdet_hub.scanner.transfer import same_files, transferred_whole


@dataclass(frozen=True)
class PairLoader:
    """Loads the suspect and the reference of one pair.

    Attributes:
        pair: what is loaded.
        progress: called with ("download", bytes, bytes in all).
        turn: runs one load; a scan on several processes lets them take turns.
        shared: references that were loaded before.
    """

    pair: EncoderPair
    progress: ProgressCallback | None = None
    turn: Callable[[Callable[[], LoadedTower]], LoadedTower] = lambda load: load()
    shared: SharedReferences = field(default_factory=SharedReferences)

    def suspect(self) -> LoadedTower:
        """The suspect, merged onto its base where it is a LoRA. Raises: BadRepository; HubError; ResourceError."""
        suspect, source, chosen = self.pair.suspect, self.pair.source, self.pair.reference
        if (base := self.pair.lora_base) is not None:
            whole_base, _ = transferred_whole(base.encoder, chosen)
            return self.turn(lambda: load_merged(suspect, base, source, self.progress, whole_base=whole_base))
        whole, _ = transferred_whole(suspect, chosen)
        return self._tower(suspect, source, whole_files=whole)

    def reference(self, suspect: LoadedTower) -> LoadedTower | None:
        """The reference, None where there is none.

        The same files need no second download: `suspect` is it. Raises: as `suspect`.
        """
        encoder, source = self.pair.reference.encoder, self.pair.reference.source
        if encoder is None or source is None:
            return None
        if same_files(self.pair.suspect, encoder):
            return suspect
        _, whole = transferred_whole(self.pair.suspect, self.pair.reference)
        return self.shared.get(
            encoder, whole_files=whole, load=lambda: self._tower(encoder, source, whole_files=whole)
        )

    def _tower(self, encoder: ResolvedEncoder, source: RepoSource, *, whole_files: bool) -> LoadedTower:
        return self.turn(lambda: load_tower(encoder, source, self.progress, whole_files=whole_files))


def pair_tokenizer(encoder: ResolvedEncoder, source: RepoSource, chosen: ChosenReference) -> PromptTokenizer | None:
    """The reference's tokenizer where there is one, else the suspect's: the less hostile of the two.

    Raises: BadRepository; HubError.
    """
    if chosen.encoder is not None and chosen.source is not None:
        found = load_tokenizer(chosen.encoder, chosen.source)
        if found is not None:
            return found
    return load_tokenizer(encoder, source)


def special_tokens(encoder: ResolvedEncoder, tokenizer: PromptTokenizer | None) -> SpecialTokens:
    """How a prompt is framed: the tokenizer's ids, or those that the tower's config implies."""
    if tokenizer is not None:
        return SpecialTokens(tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return SpecialTokens(*special_ids(encoder.config))
