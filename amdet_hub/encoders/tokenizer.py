"""Tokenizers built from vocabulary data alone. A repository's tokenizer files are data here, never configuration.

Knows the text pipelines of CLIP, SigLIP and SigLIP 2, written out with the `tokenizers` library. From a repository it
takes the vocabulary and the merges (checked), and nothing that says how text is processed: no normaliser, no regular
expression, no template, no class name.

Sources: transformers 5.23 `models/clip/tokenization_clip.py`, `models/siglip/tokenization_siglip.py`
(`canonicalize_text`), `models/siglip2/tokenization_siglip2.py`. SigLIP's SentencePiece character map is replaced by
NFKC, which is what it encodes for common text.
"""

import functools
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from amdet_hub.encoders.strict_json import require, whole_number
from amdet_hub.encoders.tokenizer_files import (
    by_folder,
    checked_merges,
    checked_scores,
    checked_vocabulary,
    model_type,
    read_forms,
)
from amdet_hub.encoders.tower_config import LEGACY_EOS, siglip_ids
from amdet_hub.errors import BadRepository
from amdet_hub.records import Family, RepoSource, ResolvedEncoder, TowerConfig

# bos (None where the family has none), eos, pad.
SpecialIds = tuple[int | None, int, int]
# Entries of CLIP's vocabulary. Tokens that somebody added come after it.
CLIP_VOCABULARY = 49_408

START_OF_TEXT, END_OF_TEXT = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"
CLIP_SPLIT = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
WORD_START = "\u2581"
_SHORTEST_WORD = 3
_IN_NO_TEXT = 0xFF  # 13 bytes never occur in UTF-8
_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")


class PromptTokenizer:
    """Text to ids and back, without the special tokens that frame a prompt.

    Made by `load_tokenizer`. `bos_token_id` is None for SigLIP. Text that comes out of `decode` and `piece` is hostile
    text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        special: SpecialIds,
        prepare: Callable[[str], str],
        suffix: str = "",
        to_bytes: Callable[[str], bytes | None] = lambda piece: None,
    ) -> None:
        self._tokenizer, self._prepare, self._suffix, self._to_bytes = tokenizer, prepare, suffix, to_bytes
        self.bos_token_id, self.eos_token_id, self.pad_token_id = special
        self._special = {i for i in special if i is not None}

    @property
    def vocab_size(self) -> int:
        """Number of entries of the vocabulary; the embedding may have more rows."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> tuple[int, ...]:
        """The ids of `text`, never a special one: a special token spelled out in it is ordinary characters."""
        encoded = self._tokenizer.encode(self._prepare(text), add_special_tokens=False)
        return tuple(i for i in encoded.ids if i not in self._special)

    def pieces_of(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """The vocabulary entries that each text is cut into, special ones included."""
        encoded = self._tokenizer.encode_batch_fast([self._prepare(text) for text in texts], add_special_tokens=False)
        pieces = {i: piece for piece, i in self._tokenizer.get_vocab().items()}
        return [tuple(pieces[i] for i in one.ids) for one in encoded]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; an id outside the vocabulary is shown as `[12345]`."""
        if any(self._tokenizer.id_to_token(i) is None for i in ids):
            return " ".join(self.piece(i) for i in ids)
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return (text.replace(self._suffix, " ") if self._suffix else text).strip()

    def piece(self, token_id: int) -> str:
        """The vocabulary entry as stored (`"cat</w>"`, `"▁cat"`), or `[12345]` for an id outside the vocabulary."""
        token: str | None = self._tokenizer.id_to_token(token_id)
        return f"[{token_id}]" if token is None else token

    def bytes_of(self, token_id: int) -> bytes | None:
        """The UTF-8 bytes of an entry, without the mark of a word's end; None where it is text, or no entry.

        Every text that has the token among its ids holds these bytes, after normalisation.
        """
        token: str | None = self._tokenizer.id_to_token(token_id)
        return None if token is None else self._to_bytes(token)

    def is_word(self, token_id: int) -> bool:
        """Whether an entry is a whole word of at least three ASCII letters, marked as one (`"cat</w>"`, `"▁cat"`)."""
        piece = self.piece(token_id)
        word = piece.removesuffix(END_OF_WORD) if piece.endswith(END_OF_WORD) else piece.removeprefix(WORD_START)
        return word != piece and len(word) >= _SHORTEST_WORD and word.isascii() and word.isalpha()


def special_ids(config: TowerConfig, stated: TowerConfig | None = None) -> SpecialIds:
    """`(bos, eos, pad)` to frame a prompt with; bos is None where the family has none.

    They are the family's: CLIP's vocabulary ends with the two tokens, whatever a config or a vocabulary says of them.
    An id that a suspect declares as one of them would never be swept. Padding lies behind the pooled position of a
    causal tower and does not matter there; the end-of-text id is used, as CLIP's tokenizer does.

    Args:
        config: of the tower.
        stated: of a reference that is trusted or the user's own, whose ids are taken where they name real tokens;
            CLIP's legacy ids (0, 2) name none.
    """
    if config.family == "siglip":
        _, eos, pad = siglip_ids(config.vocab_size)
        return None, eos, pad
    eos = min(config.vocab_size, CLIP_VOCABULARY) - 1
    bos = eos - 1
    if stated is not None:
        bos = bos if stated.bos_token_id == 0 else stated.bos_token_id
        eos = eos if stated.eos_token_id == LEGACY_EOS else stated.eos_token_id
    return bos, eos, eos


def load_tokenizer(
    resolved: ResolvedEncoder, source: RepoSource, special: SpecialIds | None = None
) -> PromptTokenizer | None:
    """The tokenizer that came with an encoder, None when there is none in a known form.

    Args:
        resolved: the encoder.
        source: its repository.
        special: `(bos, eos, pad)`; None takes the family's.

    Raises:
        BadRepository: a vocabulary or merges file is broken, too large, or names ids outside the embedding.
        HubError: a file could not be read.
    """
    for folder, names in by_folder(resolved.tokenizer_files).items():
        for form in read_forms(source, folder, names):
            return build_tokenizer(form.model, resolved.config, form.path, special)
    return None


def build_tokenizer(
    model: Mapping[str, Any], config: TowerConfig, path: str, special: SpecialIds | None = None
) -> PromptTokenizer:
    """A tokenizer from the `model` part of a `tokenizer.json`: `type`, `vocab`, `merges`, `unk_id`.

    Other keys are ignored.

    Raises:
        BadRepository: as `load_tokenizer`; `path` names the file.
    """
    special = special_ids(config) if special is None else special
    kind = model_type(model)
    if kind == "Unigram" and config.family == "siglip":
        return _siglip(model, config, path, special)
    require(kind == "BPE", path, f"a tokenizer of type {str(kind)[:40]!r} does not belong to {config.family}")
    vocab = checked_vocabulary(model.get("vocab"), config.vocab_size, path)
    merges = checked_merges(model.get("merges"), path)
    make = _clip if config.family == "clip" else _siglip2
    return make(vocab, merges, path, special)


def _clip(vocab: dict[str, int], merges: list[tuple[str, str]], path: str, special: SpecialIds) -> PromptTokenizer:
    has_word_ends = any(token.endswith(END_OF_WORD) for token in vocab)
    require(has_word_ends, path, "its vocabulary has no end-of-word entries, so it is not CLIP's")
    model = _model(
        models.BPE,
        path,
        vocab=vocab,
        merges=merges,
        end_of_word_suffix=END_OF_WORD,
        continuing_subword_prefix="",
        unk_token=END_OF_TEXT if END_OF_TEXT in vocab else None,
    )
    split = pre_tokenizers.Split(Regex(CLIP_SPLIT), behavior="removed", invert=True)
    tokenizer = _assembled(
        model,
        normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]),
        pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        decoders.ByteLevel(),
    )
    return PromptTokenizer(tokenizer, special, str, END_OF_WORD, _of_byte_level)


def _siglip(model: Mapping[str, Any], config: TowerConfig, path: str, special: SpecialIds) -> PromptTokenizer:
    scored = checked_scores(model.get("vocab"), config.vocab_size, path)
    unk_id = whole_number(model.get("unk_id"), "unk_id", 0, len(scored) - 1, path)
    tokenizer = _assembled(
        _model(models.Unigram, path, vocab=scored, unk_id=unk_id, byte_fallback=False),
        normalizers.NFKC(),
        pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
        decoders.Metaspace(replacement="▁", prepend_scheme="always"),
    )
    return PromptTokenizer(tokenizer, special, _canonical_text)


def _siglip2(vocab: dict[str, int], merges: list[tuple[str, str]], path: str, special: SpecialIds) -> PromptTokenizer:
    unk = "<unk>" if "<unk>" in vocab else None
    tokenizer = _assembled(
        _model(models.BPE, path, vocab=vocab, merges=merges, fuse_unk=True, unk_token=unk, byte_fallback=True),
        normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")]),
        pre_tokenizers.Split(" ", behavior="merged_with_previous"),
        decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]),
    )
    return PromptTokenizer(tokenizer, special, str, to_bytes=_of_byte_fallback)


def piece_text(piece: str, family: Family) -> str:
    r"""A vocabulary entry as people write it; bytes that are no text are shown as `\xc3`. Hostile text."""
    written = _of_byte_level(piece) if family == "clip" else None
    if written is None:
        return piece.removesuffix(END_OF_WORD).replace(WORD_START, " ").strip()
    return written.decode("utf-8", "backslashreplace").strip()


def _of_byte_level(piece: str) -> bytes | None:
    """The bytes of an entry of a byte-level vocabulary, which writes each as one printable character."""
    letters, text = _byte_alphabet(), piece.removesuffix(END_OF_WORD)
    return bytes(letters[letter] for letter in text) if letters.keys() >= set(text) else None


@functools.cache
def _byte_alphabet() -> dict[str, int]:
    """The character of each byte, as the tokenizers library writes it, read off texts with all bytes of UTF-8."""
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    found: dict[str, int] = {}
    # Characters of one and two bytes, and one for each first byte of those of three and four.
    for code in (
        *range(0x800),
        *range(0x800, 0xD800, 0x1000),
        0xD000,
        0xE000,
        0xF000,
        *range(0x10000, 0x110000, 0x40000),
        0x10FFFF,
    ):
        ((written, _),) = level.pre_tokenize_str(chr(code))
        found |= zip(written, chr(code).encode(), strict=True)
    return dict.fromkeys(level.alphabet(), _IN_NO_TEXT) | found


def _of_byte_fallback(piece: str) -> bytes | None:
    """The byte of an entry like `<0xE2>`, which stands for a byte of a character that is no entry."""
    match = _FALLBACK.fullmatch(piece)
    return bytes.fromhex(match[1]) if match else None


def _canonical_text(text: str) -> str:
    """SigLIP's own cleaning: lower case, no ASCII punctuation, single spaces.

    Source: `SiglipTokenizer.canonicalize_text`.
    """
    return " ".join(text.lower().translate(str.maketrans("", "", string.punctuation)).split())


def _model(kind: Callable[..., Any], path: str, **arguments: Any) -> Any:
    """A model of the library. Raises: BadRepository where its parts do not fit, such as a merge of unknown pieces."""
    try:
        return kind(**arguments)
    except Exception as error:  # the library raises plain Exception
        raise BadRepository(path, f"its vocabulary and merges do not fit ({str(error)[:80]})") from error


def _assembled(model: Any, normalizer: Any, pre_tokenizer: Any, decoder: Any) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    return tokenizer
