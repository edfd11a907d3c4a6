"""A suspect and its reference, from pinned repositories to towers in memory.

Knows what travels whole, what a LoRA is merged onto, what is loaded once, and whose tokenizer is read. Refuses to know
what for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amdet_hub.detect.prompts import SpecialTokens
from amdet_hub.encoders.adapters import LoraBase
from amdet_hub.encoders.load import LoadedTower, load_tower
from amdet_hub.encoders.lora_merge import load_merged
from amdet_hub.encoders.tokenizer import PromptTokenizer, load_tokenizer, special_ids
from amdet_hub.records import ProgressCallback, RepoSource, ResolvedEncoder
from amdet_hub.scanner.references import ChosenReference
from amdet_hub.scanner.shared_references import SharedReferences
from amdet_hub.scanner.transfer import same_files, transferred_whole

Turn = Callable[[Callable[[], LoadedTower]], LoadedTower]
"""Runs one load; a scan on several processes lets them take turns."""


@dataclass(frozen=True)
class PairLoader:
    """Loads one suspect and its reference.

    Attributes:
        encoder: the suspect.
        source: its repository.
        chosen: its reference.
        base: what it is merged onto, where it is a LoRA.
        progress: called with ("download", bytes, bytes in all).
        turn: how one load is run.
        shared: references that were loaded before.
    """

    encoder: ResolvedEncoder
    source: RepoSource
    chosen: ChosenReference
    base: LoraBase | None = None
    progress: ProgressCallback | None = None
    turn: Turn = lambda load: load()
    shared: SharedReferences | None = None

    def suspect(self) -> LoadedTower:
        """The suspect, merged onto its base where it is a LoRA. Raises: BadRepository; HubError; ResourceError."""
        if (base := self.base) is not None:
            whole_base, _ = transferred_whole(base.encoder, self.chosen)
            return self.turn(
                lambda: load_merged(self.encoder, base, self.source, self.progress, whole_base=whole_base)
            )
        whole, _ = transferred_whole(self.encoder, self.chosen)
        return self._tower(self.encoder, self.source, whole_files=whole)

    def reference(self, suspect: LoadedTower) -> LoadedTower | None:
        """The reference, None where there is none. The same files need no second download: `suspect` is it.

        Raises: as `suspect`.
        """
        encoder, source = self.chosen.encoder, self.chosen.source
        if encoder is None or source is None:
            return None
        if same_files(self.encoder, encoder):
            return suspect
        _, whole = transferred_whole(self.encoder, self.chosen)
        if self.shared is None:
            return self._tower(encoder, source, whole_files=whole)
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
    """What a prompt is framed with: the tokenizer's ids, or those that the tower's config implies."""
    if tokenizer is not None:
        return SpecialTokens(tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return SpecialTokens(*special_ids(encoder.config))
