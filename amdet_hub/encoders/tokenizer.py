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
from typing import Any, cast

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from amdet_hub.encoders.strict_json import parse_json_object, require, whole_number
from amdet_hub.encoders.tower_config import LEGACY_EOS, siglip_ids
from amdet_hub.errors import BadRepository
from amdet_hub.records import RepoSource, ResolvedEncoder, TowerConfig

# SigLIP 2's `tokenizer.json`, the largest real one, has about 34 MB.
MAX_TOKENIZER_BYTES = 64 << 20
MAX_PIECE_LENGTH = 1024
# Scores of a Unigram vocabulary are log probabilities, none of which is below -100.
MAX_SCORE = 1e30

START_OF_TEXT, END_OF_TEXT = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"
_CLIP_SPLIT = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
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
        special: tuple[int | None, int, int],
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


def special_ids(config: TowerConfig, vocabulary: Mapping[str, int] | None = None) -> tuple[int | None, int, int]:
    """`(bos, eos, pad)` to frame a prompt with; bos is None where the family has none.

    CLIP's legacy config ids (0, 2) name no real token: the vocabulary's own entries are taken, or its last two rows
    without one. Padding lies behind the pooled position of a causal tower and does not matter there; the end-of-text
    id is used, as CLIP's tokenizer does.
    """
    if config.family == "siglip":
        _, eos, pad = siglip_ids(config.vocab_size)
        return None, eos, pad
    known, eos = vocabulary or {}, config.eos_token_id
    bos = known.get(START_OF_TEXT, config.vocab_size - 2 if config.bos_token_id == 0 else config.bos_token_id)
    if eos == LEGACY_EOS:  # at any other id the tower pools, whatever a vocabulary says
        eos = known.get(END_OF_TEXT, config.vocab_size - 1)
    return bos, eos, eos


def load_tokenizer(resolved: ResolvedEncoder, source: RepoSource) -> PromptTokenizer | None:
    """The tokenizer that came with an encoder, None when there is none in a known form.

    Raises:
        BadRepository: a vocabulary or merges file is broken, too large, or names ids outside the embedding.
        HubError: a file could not be read.
    """
    if not resolved.tokenizer_files:
        return None
    path, *others = resolved.tokenizer_files
    data = parse_json_object(source.read_small(path, max_bytes=MAX_TOKENIZER_BYTES), path)
    model = data["model"] if isinstance(data.get("model"), dict) else {}
    for merges_path in others:
        merges = _merge_lines(source.read_small(merges_path, max_bytes=MAX_TOKENIZER_BYTES), merges_path)
        model = {"type": "BPE", "vocab": data, "merges": merges}
    return build_tokenizer(model, resolved.config, path)


def build_tokenizer(model: Mapping[str, Any], config: TowerConfig, path: str) -> PromptTokenizer:
    """A tokenizer from the `model` part of a `tokenizer.json`: `type`, `vocab`, `merges`, `unk_id`.

    Other keys are ignored.

    Raises:
        BadRepository: as `load_tokenizer`; `path` names the file.
    """
    kind = model.get("type")
    # old files leave the type out; a list of pieces with scores can only be Unigram
    if kind is None and isinstance(model.get("vocab"), dict):
        kind = "BPE"
    if kind == "Unigram" and config.family == "siglip":
        return _siglip(model, config, path)
    require(kind == "BPE", path, f"a tokenizer of type {str(kind)[:40]!r} does not belong to {config.family}")
    vocab = _checked_vocabulary(model.get("vocab"), config, path)
    merges = _checked_merges(model.get("merges"), path)
    return _clip(vocab, merges, config, path) if config.family == "clip" else _siglip2(vocab, merges, config, path)


def _clip(vocab: dict[str, int], merges: list[tuple[str, str]], config: TowerConfig, path: str) -> PromptTokenizer:
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
    split = pre_tokenizers.Split(Regex(_CLIP_SPLIT), behavior="removed", invert=True)
    tokenizer = _assembled(
        model,
        normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]),
        pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        decoders.ByteLevel(),
    )
    return PromptTokenizer(tokenizer, special_ids(config, vocab), str, END_OF_WORD, _of_byte_level)


def _siglip(model: Mapping[str, Any], config: TowerConfig, path: str) -> PromptTokenizer:
    entries: Any = model.get("vocab")
    require(
        isinstance(entries, list) and 0 < len(entries) <= config.vocab_size,
        path,
        f"its vocabulary is not a list of at most {config.vocab_size} pieces",
    )
    require(
        all(isinstance(e, list) and len(e) == 2 and _is_piece(e[0]) and _is_score(e[1]) for e in entries),
        path,
        "its vocabulary is not a list of pieces and scores",
    )
    unk_id = whole_number(model.get("unk_id"), "unk_id", 0, len(entries) - 1, path)
    scored = [(piece, float(score)) for piece, score in entries]
    tokenizer = _assembled(
        _model(models.Unigram, path, vocab=scored, unk_id=unk_id, byte_fallback=False),
        normalizers.NFKC(),
        pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
        decoders.Metaspace(replacement="▁", prepend_scheme="always"),
    )
    return PromptTokenizer(tokenizer, special_ids(config), _canonical_text)


def _siglip2(vocab: dict[str, int], merges: list[tuple[str, str]], config: TowerConfig, path: str) -> PromptTokenizer:
    unk = "<unk>" if "<unk>" in vocab else None
    tokenizer = _assembled(
        _model(models.BPE, path, vocab=vocab, merges=merges, fuse_unk=True, unk_token=unk, byte_fallback=True),
        normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")]),
        pre_tokenizers.Split(" ", behavior="merged_with_previous"),
        decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]),
    )
    return PromptTokenizer(tokenizer, special_ids(config), str, to_bytes=_of_byte_fallback)


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


def _checked_vocabulary(vocab: Any, config: TowerConfig, path: str) -> dict[str, int]:
    require(isinstance(vocab, dict) and bool(vocab), path, "it has no vocabulary")
    for token, i in vocab.items():
        if not _is_piece(token) or isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < config.vocab_size:
            raise BadRepository(path, f"its entry '{token[:40]}' has no id between 0 and {config.vocab_size - 1}")
    require(len(set(vocab.values())) == len(vocab), path, "two entries of its vocabulary share an id")
    return cast(dict[str, int], vocab)


def _checked_merges(merges: Any, path: str) -> list[tuple[str, str]]:
    require(isinstance(merges, list), path, "it has no list of merges")
    pairs: list[tuple[str, str]] = []
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not (isinstance(parts, list) and len(parts) == 2 and all(_is_piece(p) for p in parts)):
            raise BadRepository(path, f"the merge {str(merge)[:40]!r} is not a pair of pieces")
        pairs.append((parts[0], parts[1]))
    return pairs


def _merge_lines(data: bytes, path: str) -> list[str]:
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise BadRepository(path, "it is not UTF-8 text") from error
    return [line.rstrip("\r") for line in lines if line.strip() and not line.startswith("#version")]


def _is_piece(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_PIECE_LENGTH


def _is_score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_SCORE
