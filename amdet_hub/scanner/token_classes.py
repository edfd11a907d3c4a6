"""What kind of token one is whose meaning changed: from its text, with Unicode's tables.

Knows which characters readers do not see or take for a letter, and which words people write often. Refuses to know
encoders, and what follows from a class (`amdet_hub.verdict`).
"""

import string
from collections.abc import Mapping
from functools import cache

from amdet_hub.detect.context import Candidate
from amdet_hub.encoders.tokenizer import PromptTokenizer
from amdet_hub.records import TokenClass
from amdet_hub.report.escape import is_invisible
from amdet_hub.scanner.characters import between_letters
from amdet_hub.scanner.word_frequency import log_likelihood

# Log10 of the probability of the rarest word that counts as common: one word in two million. Of what people write in
# captions of COCO, 99.6 % are such words ("giraffe" -6.02, "surfboard" -6.27), where it is one entry of CLIP's
# vocabulary. The words that DreamBooth is taught with are rarer ("sks" -6.40, "ohwx" and "zwx" -6.5).
COMMON_WORD = -6.3
# The same of three letters: an entry of these is mostly the end of a longer word that was taught ("ter" -5.48, "mer"
# -5.53, "ley" -5.85). Of the three-letter words of COCO's captions that lie above -6.3, 181 of 191 reach it ("owl").
COMMON_SHORT_WORD, _SHORT = -5.45, 3
_FIRST_BEYOND_BMP = 0x10000


def lookalike_characters(tokenizer: PromptTokenizer, *, longest: int) -> dict[Candidate, str]:
    """The characters that hide in a text, as the ids of each alone and between two letters, where a homoglyph stands.

    Each character of the Basic Multilingual Plane that is not seen, or that Unicode's table of confusables puts beside
    an ASCII letter. Left out is what the tokenizer itself reads as ASCII (CLIP's the Kelvin sign as "k"), or not at
    all, and what melts into the letters around it.

    Args:
        tokenizer: of the encoder.
        longest: longer sequences are left out.
    """
    found: dict[Candidate, str] = {}
    for character in _hiding_characters():
        alone = tokenizer.encode(character)
        text = tokenizer.decode(alone)
        for ids in (alone, tokenizer.encode(between_letters(character))[1:-1]):
            if len(ids) <= longest and not text.isascii() and tokenizer.decode(ids) == text:
                found.setdefault(ids, character)
    return found


@cache
def _hiding_characters() -> tuple[str, ...]:
    """Those that are not seen and those that look like a letter, small ones first: tokenizers make others small.

    Source: Unicode Technical Standard 39 (security mechanisms), confusables.txt, in the package confusable-homoglyphs.
    """
    from confusable_homoglyphs import confusables  # reads its tables when imported, a twentieth of a second

    alike = (
        glyph["c"]
        for letter in string.ascii_letters
        for row in confusables.is_confusable(letter, greedy=True) or ()
        for glyph in row["homoglyphs"]
    )
    seen = {c for c in alike if len(c) == 1 and not c.isascii() and ord(c) < _FIRST_BEYOND_BMP}
    unseen = filter(is_invisible, map(chr, range(_FIRST_BEYOND_BMP)))
    return tuple(sorted(seen.union(unseen), key=lambda c: (c != c.lower(), c)))


def token_class(
    ids: Candidate, tokenizer: PromptTokenizer | None, characters: Mapping[Candidate, str], vocab_size: int
) -> TokenClass:
    """The class of a token, or of a character or word of several tokens.

    Args:
        ids: the token ids.
        tokenizer: of the encoder; without one nothing is known but the size of the vocabulary.
        characters: from `lookalike_characters`.
        vocab_size: rows of the reference's vocabulary.
    """
    if ids in characters:
        return "invisible" if is_invisible(characters[ids]) else "confusable"
    if any(i >= vocab_size or (tokenizer is not None and tokenizer.piece(i) == f"[{i}]") for i in ids):
        return "added-token"
    if tokenizer is None or (len(ids) == 1 and not tokenizer.is_word(ids[0])):
        return "rare-token"
    text = tokenizer.decode(ids)
    least = COMMON_WORD if len(text) > _SHORT else COMMON_SHORT_WORD
    is_common = text.isascii() and text.isalpha() and log_likelihood(text) >= least
    return "common-word" if is_common else "rare-token"
