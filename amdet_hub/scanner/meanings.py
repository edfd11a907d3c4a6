"""What a fine-tune taught, in words, and as evidence.

Knows tokens' texts and classes. Refuses to know how a change of meaning is measured (`amdet_hub.detect`), and what
follows from it (`amdet_hub.verdict`).
"""

import math
from collections.abc import Mapping, Sequence

from amdet_hub import verdict as kinds
from amdet_hub.detect.context import Candidate
from amdet_hub.detect.search.meaning import MeaningShift
from amdet_hub.encoders.tokenizer import PromptTokenizer
from amdet_hub.families import MEANING, MeaningThresholds
from amdet_hub.records import ChangedMeaning, Evidence, TowerConfig
from amdet_hub.report.escape import code_points
from amdet_hub.report.wording import listed
from amdet_hub.scanner.token_classes import token_class

_WEAKEST = 5.0  # score of a token that is listed; heavy fine-tunes have tokens below it
_SAID = 3  # texts that a meaning is put into
_NAMED = 4  # words or characters named in one sentence


def in_words(
    shifts: Sequence[MeaningShift],
    tokenizer: PromptTokenizer | None,
    characters: Mapping[Candidate, str],
    config: TowerConfig,
) -> tuple[ChangedMeaning, ...]:
    """The tokens whose meaning changed beyond those of any fine-tune: characters that hide first, then the strongest.

    A token that is a whole look-alike character counts as a character only, and each of these once. Characters share
    pieces, and so their changes: the change of one that is made of few pieces explains that of one of many, as the
    collapse of a trigger does (`amdet_hub.detect.search.held_out`).

    Args:
        shifts: from the detector.
        tokenizer: of the encoder.
        characters: from `lookalike_characters`.
        config: of the reference.
    """
    least = MEANING[config.family].character
    kept: dict[str | Candidate, MeaningShift] = {}
    for one in sorted(shifts, key=lambda one: (not one.is_character, -one.score / math.sqrt(len(one.token_ids)))):
        if one.score >= (least if one.is_character else _WEAKEST) and one.is_character == (
            one.token_ids in characters
        ):
            kept.setdefault(characters.get(one.token_ids, one.token_ids), one)
    return tuple(
        ChangedMeaning(
            token_ids=one.token_ids,
            text=_text(one.token_ids, tokenizer) if tokenizer is not None else None,
            token_class=token_class(one.token_ids, tokenizer, characters, config.vocab_size),
            strength=one.score,
            before=_said(one.said, tokenizer),
            after=_said(one.says, tokenizer),
        )
        for one in kept.values()
    )


def _text(ids: Candidate, tokenizer: PromptTokenizer) -> str:
    r"""The text of these ids; bytes that are no text alone are shown as `\xd0`."""
    text, parts = tokenizer.decode(ids), [tokenizer.bytes_of(i) for i in ids]
    if "\ufffd" not in text or None in parts:
        return text
    return b"".join(part or b"" for part in parts).decode("utf-8", "backslashreplace")


def _said(ids: Candidate, tokenizer: PromptTokenizer | None) -> tuple[str, ...]:
    """The texts of the nearest tokens, whole words before pieces; halves of characters where there is nothing else."""
    if tokenizer is None:
        return tuple(f"[{i}]" for i in ids[:_SAID])
    readable = [i for i in ids if (text := tokenizer.decode((i,))).isprintable() and "\ufffd" not in text]
    words_first = sorted(readable or ids, key=lambda i: not tokenizer.is_word(i))
    return tuple(dict.fromkeys(_text((i,), tokenizer) for i in words_first))[:_SAID]


def meaning_evidence(meanings: Sequence[ChangedMeaning], thresholds: MeaningThresholds, n: int) -> list[Evidence]:
    """The strongest change of a character that hides in a text, and of a common word; neither where there is none.

    Characters are named as Unicode names them, and common words are words of English: no text of a repository.

    Args:
        meanings: from `in_words`.
        thresholds: what the evidence is held against.
        n: how many tokens were looked at.
    """
    hidden = [one for one in meanings if one.token_class in ("invisible", "confusable")]
    words = [one for one in meanings if one.token_class == "common-word"]
    names = [", ".join(code_points(one.text or "")) for one in hidden], [f'"{one.text}"' for one in words]
    rows = (
        (kinds.CHANGED_CHARACTER, hidden, names[0], thresholds.character, "robust z"),
        (kinds.CHANGED_WORD, words, names[1], thresholds.word, "times the usual"),
    )
    return [
        Evidence(
            kind,
            strongest,
            unit,
            n,
            f"{listed(called, _NAMED)} changed in meaning, {strongest:.1f} {unit}",
            threshold=threshold,
            exceeds=strongest >= threshold,
        )
        for kind, found, called, threshold, unit in rows
        for strongest in [max((one.strength for one in found), default=0.0)]
        if found
    ]
