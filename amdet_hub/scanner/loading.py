"""A pair, from pinned repositories to towers in memory.

Knows which files are transferred whole, what a LoRA is merged onto, what is loaded once, and whose tokenizer is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from amdet_hub.detect.prompts import SpecialTokens, caption_texts
from amdet_hub.encoders.canonical_names import TOKEN_EMBEDDING
from amdet_hub.encoders.load import LoadedTower, load_tower
from amdet_hub.encoders.lora_merge import load_merged
from amdet_hub.encoders.tokenizer import PromptTokenizer, SpecialIds, load_tokenizer, special_ids
from amdet_hub.encoders.tokenizer_comparison import TokenizerDifference
from amdet_hub.encoders.tokenizer_difference import TokenizerSide, compare_tokenizers
from amdet_hub.records import ProgressCallback, RepoSource, ResolvedEncoder
from amdet_hub.scanner.references import ChosenReference
from amdet_hub.scanner.resolve import EncoderPair
from amdet_hub.scanner.shared_references import SharedReferences
from amdet_hub.scanner.transfer import same_files, transferred_whole

# Captions that merges are tried on.
_CAPTIONS = 500


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
    special = _special_ids(encoder, chosen)
    if chosen.encoder is not None and chosen.source is not None:
        found = load_tokenizer(chosen.encoder, chosen.source, special)
        if found is not None:
            return found
    return load_tokenizer(encoder, source, special)


def special_tokens(encoder: ResolvedEncoder, chosen: ChosenReference) -> SpecialTokens:
    """How a prompt is framed: as the family does, or a reference whose word counts. Never as the suspect says."""
    return SpecialTokens(*_special_ids(encoder, chosen))


def tokenizer_difference(
    pair: EncoderPair, chosen: ChosenReference, suspect: LoadedTower, reference: LoadedTower | None
) -> TokenizerDifference | None:
    """What the suspect's tokenizer reads otherwise; None where there is no reference and nothing to say.

    Raises: BadRepository where the reference's own tokenizer is broken; HubError.
    """

    def followed(here: Sequence[int], there: Sequence[int]) -> list[bool]:
        if reference is None:
            return [False] * len(here)
        return followed_rows(suspect.tensors[TOKEN_EMBEDDING], reference.tensors[TOKEN_EMBEDDING], here, there)

    against = None
    if chosen.encoder is not None and chosen.source is not None:
        against = TokenizerSide(chosen.encoder, chosen.source)
    found = compare_tokenizers(
        TokenizerSide(pair.suspect, pair.source),
        against,
        _special_ids(pair.suspect, chosen),
        followed,
        caption_texts(_CAPTIONS, seed=0),
    )
    silent = against is None or not pair.suspect.tokenizer_files
    return found if found.differs or not silent else None


def followed_rows(suspect: Tensor, reference: Tensor, here: Sequence[int], there: Sequence[int]) -> list[bool]:
    """Whether each row of a permuted embedding followed its token.

    It did where the suspect's row at the token's new id is nearer (cosine) to the reference's row of the token than to
    the reference's row of the same number.

    Args:
        suspect: `(V, D)` token embeddings.
        reference: `(V, D)`, the reference's.
        here: ids in the suspect, each below V.
        there: ids of the same tokens in the reference.
    """
    rows = suspect[torch.tensor(here)].float()  # (N, D)
    token, number = (reference[torch.tensor(ids)].float() for ids in (there, here))
    return (F.cosine_similarity(rows, token) > F.cosine_similarity(rows, number)).tolist()


def _special_ids(encoder: ResolvedEncoder, chosen: ChosenReference) -> SpecialIds:
    counts = chosen.encoder is not None and chosen.record.trust in ("trusted", "user")
    return special_ids(encoder.config, chosen.encoder.config if chosen.encoder is not None and counts else None)
