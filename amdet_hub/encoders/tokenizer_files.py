"""The files that loaders make a tokenizer from: where they lie, and what they hold, as checked data.

Knows file names and shapes of JSON. Refuses to run anything they say, and to know what differs (see
`amdet_hub.encoders.tokenizer_difference`).

A folder may hold several forms of one tokenizer, and different loaders take different ones: transformers 5 and 4's
fast classes take `tokenizer.json`, or `tokenizer.4.0.0.json` by version; 4's slow ones and OpenCLIP's take
`vocab.json` and `merges.txt`; SigLIP's takes `spiece.model`. All of them take the special and added tokens of the
small files beside.

Source: transformers 5.23 `tokenization_utils_base.py` (`from_pretrained`, `get_fast_tokenizer_file`),
`tokenization_utils_tokenizers.py` (`convert_to_native_format`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from amdet_hub.encoders.strict_json import parse_json_object, read_json_object, require
from amdet_hub.encoders.weight_files import folder_of, join, names_in
from amdet_hub.errors import BadRepository
from amdet_hub.records import RepoSource

# SigLIP 2's `tokenizer.json`, the largest real one, has about 34 MB.
MAX_TOKENIZER_BYTES = 64 << 20
MAX_PIECE_LENGTH = 1024
# Scores of a Unigram vocabulary are log probabilities, none of which is below -100.
MAX_SCORE = 1e30
# Tokens added to a vocabulary; real ones have up to some hundreds.
MAX_ADDED = 5_000

ONE_FILE, TWO_FILES = "tokenizer.json", ("vocab.json", "merges.txt")
CONFIG, SPECIAL_TOKENS, ADDED_TOKENS = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
_BY_VERSION = re.compile(r"tokenizer\..+\.json")
# Compiled SentencePiece models, which are compared byte by byte and never read.
OPAQUE = ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
# Keys of the small files under which a token stands: one, or a list or object of them.
ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
EXTRA_TOKENS = ("additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens")


@dataclass(frozen=True)
class VocabularyForm:
    """A vocabulary in one form, and how a `tokenizer.json` has text processed with it.

    Attributes:
        path: its file, or that of the vocabulary.
        model: as the `model` of a `tokenizer.json`: `type`, `vocab`, `merges`, ...
        settings: everything else of that file; empty for `vocab.json` and `merges.txt`.
    """

    path: str
    model: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenizerFacts:
    """All that the tokenizer files of one folder say.

    Attributes:
        forms: its vocabularies.
        tokens: content -> id of special and added tokens, None where the files give a token no id.
        options: the keys of `tokenizer_config.json` and `special_tokens_map.json`, each with its values.
        names: the names of its files.
    """

    forms: tuple[VocabularyForm, ...]
    tokens: Mapping[str, int | None]
    options: Mapping[str, tuple[Any, ...]]
    names: tuple[str, ...]


def tokenizer_files(source: RepoSource, folder: str) -> tuple[str, ...]:
    """The tokenizer files beside the weights, then those of a pipeline's `tokenizer_2` for `text_encoder_2`.

    In each folder the form that `load_tokenizer` reads stands first. A folder without any vocabulary counts for none.
    """
    parent, _, name = folder.rpartition("/")
    places = dict.fromkeys((folder, join(parent, name.replace("text_encoder", "tokenizer"))))
    return tuple(join(place, name) for place in places for name in _names(names_in(source, place)))


def _names(listed: list[str]) -> list[str]:
    small = (CONFIG, SPECIAL_TOKENS, ADDED_TOKENS)
    forms = [ONE_FILE, *TWO_FILES, *(name for name in listed if _BY_VERSION.fullmatch(name)), *OPAQUE]
    found = [name for name in forms if name in listed]
    return [*found, *(name for name in small if name in listed)] if {*found} - {"merges.txt"} else []


def by_folder(paths: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Folder -> the names of its files, in order."""
    folders = dict.fromkeys(folder_of(path) for path in paths)
    return {f: tuple(path.rpartition("/")[2] for path in paths if folder_of(path) == f) for f in folders}


def read_forms(source: RepoSource, folder: str, names: tuple[str, ...]) -> Iterator[VocabularyForm]:
    """Every vocabulary in a folder, one at a time, the one that `load_tokenizer` takes first.

    Raises:
        BadRepository: a file is broken or too large.
        HubError: it could not be read.
    """
    for name in names:
        path = join(folder, name)
        if name == ONE_FILE or _BY_VERSION.fullmatch(name):
            data = read_json_object(source, path, max_bytes=MAX_TOKENIZER_BYTES)
            model = data.pop("model") if isinstance(data.get("model"), dict) else {}
            yield VocabularyForm(path, model, data)
        elif name == TWO_FILES[0] and TWO_FILES[1] in names:
            vocab = parse_json_object(source.read_small(path, max_bytes=MAX_TOKENIZER_BYTES), path)
            merges = join(folder, TWO_FILES[1])
            lines = _merge_lines(source.read_small(merges, max_bytes=MAX_TOKENIZER_BYTES), merges)
            yield VocabularyForm(path, {"type": "BPE", "vocab": vocab, "merges": lines})


def read_facts(source: RepoSource, folder: str, names: tuple[str, ...]) -> TokenizerFacts:
    """What the tokenizer files of a folder say. Raises: as `read_forms`."""
    forms = tuple(read_forms(source, folder, names))
    options: dict[str, tuple[Any, ...]] = {}
    for name in (CONFIG, SPECIAL_TOKENS):
        if name in names:
            for key, value in read_json_object(source, join(folder, name)).items():
                options[key] = (*options.get(key, ()), value)
    tokens: dict[str, int | None] = {}
    for path, content, token_id in _tokens(source, folder, names, forms, options):
        require(isinstance(content, str) and len(content) <= MAX_PIECE_LENGTH, path, "a token of it is no short text")
        whole = token_id is None or (isinstance(token_id, int) and not isinstance(token_id, bool))
        require(whole and len(tokens) < MAX_ADDED, path, "its added tokens have no whole ids, or are too many")
        known = tokens.get(content)
        require(None in (known, token_id) or known == token_id, path, "a token of it has two ids")
        tokens[content] = token_id if known is None else known
    return TokenizerFacts(forms, tokens, options, names)


def _tokens(
    source: RepoSource,
    folder: str,
    names: tuple[str, ...],
    forms: tuple[VocabularyForm, ...],
    options: Mapping[str, tuple[Any, ...]],
) -> Iterator[tuple[str, Any, Any]]:
    """(file, content, id or None) of every special and added token."""
    for form in forms:
        added = form.settings.get("added_tokens", [])
        listed = isinstance(added, list) and all(isinstance(token, dict) for token in added)
        require(listed, form.path, "its added tokens are no list of objects")
        yield from ((form.path, token.get("content"), token.get("id", -1)) for token in added)
    if ADDED_TOKENS in names:
        path = join(folder, ADDED_TOKENS)
        yield from ((path, content, number) for content, number in read_json_object(source, path).items())
    path = join(folder, CONFIG)
    for table in options.get("added_tokens_decoder", ()):
        require(
            isinstance(table, dict) and all(key.isdecimal() for key in table), path, "its added tokens have no ids"
        )
        yield from ((path, content_of(token), int(key)) for key, token in table.items())
    for key in (*ROLES, *EXTRA_TOKENS):
        for value in options.get(key, ()):
            several = value.values() if isinstance(value, dict) and key in EXTRA_TOKENS else value
            tokens = several if isinstance(value, list) or several is not value else [value]
            yield from ((path, content_of(token), None) for token in tokens if token)


def content_of(token: Any) -> Any:
    """The text of a token that is written as text, or as an object with flags."""
    return token.get("content") if isinstance(token, dict) else token


def model_type(model: Mapping[str, Any]) -> Any:
    """`"BPE"`, `"Unigram"`, or whatever else a model says it is. Old files leave the type out where it is BPE."""
    kind = model.get("type")
    return "BPE" if kind is None and isinstance(model.get("vocab"), dict) else kind


# ---------------------------------------------------------------- the parts of a vocabulary, checked


def checked_vocabulary(vocab: Any, vocab_size: int, path: str) -> dict[str, int]:
    """Piece -> id, each id below `vocab_size` and given once. Raises: BadRepository."""
    require(isinstance(vocab, dict) and bool(vocab), path, "it has no vocabulary")
    for token, i in vocab.items():
        if not _is_piece(token) or isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < vocab_size:
            raise BadRepository(path, f"its entry '{token[:40]}' has no id between 0 and {vocab_size - 1}")
    require(len(set(vocab.values())) == len(vocab), path, "two entries of its vocabulary share an id")
    return cast(dict[str, int], vocab)


def checked_merges(merges: Any, path: str) -> list[tuple[str, str]]:
    """The merges in their order, from pairs or from lines of two pieces. Raises: BadRepository."""
    require(isinstance(merges, list), path, "it has no list of merges")
    pairs: list[tuple[str, str]] = []
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not (isinstance(parts, list) and len(parts) == 2 and all(_is_piece(p) for p in parts)):
            raise BadRepository(path, f"the merge {str(merge)[:40]!r} is not a pair of pieces")
        pairs.append((parts[0], parts[1]))
    return pairs


def checked_scores(entries: Any, vocab_size: int, path: str) -> list[tuple[str, float]]:
    """The pieces of a Unigram vocabulary with their scores; a piece's place is its id. Raises: BadRepository."""
    require(
        isinstance(entries, list) and 0 < len(entries) <= vocab_size,
        path,
        f"its vocabulary is not a list of at most {vocab_size} pieces",
    )
    require(
        all(isinstance(e, list) and len(e) == 2 and _is_piece(e[0]) and _is_score(e[1]) for e in entries),
        path,
        "its vocabulary is not a list of pieces and scores",
    )
    return [(piece, float(score)) for piece, score in entries]


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
