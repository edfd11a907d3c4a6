"""What a suspect's tokenizer reads otherwise than its reference's: a tokenizer is a part of the encoder.

With the weights untouched, an exchange of two words in a vocabulary has a prompt about a dog read as one about a cat.
So the files are compared with the reference's: vocabulary, merges or scores, added and special tokens, settings. What
differs is named in words. Tokenizers of both are built from their vocabularies alone (`amdet_hub.encoders.tokenizer`)
and only where merges differ, to find texts that read otherwise.

A vocabulary whose ids were permuted together with the rows of the embedding reads as before and is no difference.
Tokens that were added, and that no ordinary text holds, are listed and are none either.

Source of the attack: TFLexAttack (arXiv 2302.04116).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from amdet_hub.encoders.file_identity import file_identity
from amdet_hub.encoders.tokenizer import SpecialIds
from amdet_hub.encoders.tokenizer_comparison import (
    Baseline,
    Comparison,
    FollowedRows,
    TokenizerDifference,
    disagreement,
    family_baseline,
    has_clip_vocabulary,
)
from amdet_hub.encoders.tokenizer_files import by_folder, read_facts
from amdet_hub.encoders.tokenizer_settings import foreign_classes
from amdet_hub.encoders.tower_config import LEGACY_EOS
from amdet_hub.encoders.weight_files import join
from amdet_hub.errors import BadRepository
from amdet_hub.records import RepoSource, ResolvedEncoder

# Its vocabulary is neither a reference's, for there is none, nor the family's own.
NOT_COMPARED = "vocabulary"


@dataclass(frozen=True)
class TokenizerSide:
    """One encoder with its repository."""

    encoder: ResolvedEncoder
    source: RepoSource

    @cached_property
    def folders(self) -> dict[str, tuple[str, ...]]:
        """Folder -> names of the tokenizer files in it."""
        return by_folder(self.encoder.tokenizer_files)

    def identities(self, folder: str) -> set[tuple[str, str]]:
        """Name and content of each tokenizer file in a folder."""
        return {(name, file_identity(join(folder, name), self.source)) for name in self.folders[folder]}


def compare_tokenizers(
    suspect: TokenizerSide,
    reference: TokenizerSide | None,
    special: SpecialIds,
    followed: FollowedRows,
    captions: Sequence[str],
) -> TokenizerDifference:
    """What the suspect's tokenizers read otherwise, one in each folder that a loader may take one from.

    Where the reference has no tokenizer, CLIP's own vocabulary takes its place if the embedding has its size.

    Args:
        suspect: the scanned encoder.
        reference: the clean one, if any.
        special: `(bos, eos, pad)` that prompts are framed with.
        followed: see `FollowedRows`.
        captions: texts that people write.

    Raises:
        BadRepository: the reference's own tokenizer is broken.
        HubError: a file could not be read.
    """
    config, found = suspect.encoder.config, TokenizerDifference()
    if config.family == "clip" and config.eos_token_id not in (LEGACY_EOS, special[1]):
        found |= TokenizerDifference(settings=("config.json: eos_token_id",))
    against = next(iter(reference.folders), None) if reference is not None else None
    known = reference.identities(against) if reference is not None and against is not None else set()
    differing = [folder for folder in suspect.folders if not suspect.identities(folder) <= known]
    baseline = None
    if differing and reference is not None and against is not None:
        facts = read_facts(reference.source, against, reference.folders[against])
        baseline = Baseline(facts, reference.encoder.config, captions, known)
    unknown = (NOT_COMPARED,) if reference is not None or has_clip_vocabulary(config) else ()
    moves = []
    for folder in suspect.folders:
        difference = TokenizerDifference()
        try:
            found |= TokenizerDifference(settings=tuple(foreign_classes(suspect.source, folder, config.family)))
            if folder in differing:
                facts = read_facts(suspect.source, folder, suspect.folders[folder])
                comparison = Comparison(facts, suspect.identities(folder), config, special)
                if clean := baseline or family_baseline(facts, config, captions):
                    difference = comparison.against(clean, followed)
                else:
                    difference = TokenizerDifference(settings=(*unknown, *comparison.moved_specials()))
        except BadRepository as error:
            difference = TokenizerDifference(settings=(f"{error.path}: it cannot be compared",))
        moves.append(difference.moved)
        found |= difference
    return found | TokenizerDifference(settings=tuple(disagreement(moves)))
