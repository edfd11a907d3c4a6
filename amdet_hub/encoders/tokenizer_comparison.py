"""The tokenizer of one folder against a clean one: vocabulary, merges, tokens and settings, as pure data.

Knows what `amdet_hub.encoders.tokenizer_files` reads. Refuses to know repositories and weights: which rows of an
embedding followed a permutation is asked of the caller.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property

from amdet_hub.encoders.tokenizer import (
    CLIP_VOCABULARY,
    END_OF_TEXT,
    START_OF_TEXT,
    SpecialIds,
    build_tokenizer,
    piece_text,
)
from amdet_hub.encoders.tokenizer_files import (
    OPAQUE,
    TokenizerFacts,
    VocabularyForm,
    checked_merges,
    checked_scores,
    checked_vocabulary,
    model_type,
)
from amdet_hub.encoders.tokenizer_settings import differing_options, differing_settings, literal_replacements
from amdet_hub.errors import BadRepository
from amdet_hub.records import TowerConfig

# Given the suspect's and the reference's ids of some pieces: whether the suspect's row of each is that of the piece.
FollowedRows = Callable[[Sequence[int], Sequence[int]], Sequence[bool]]

# Of CLIP's vocabulary and merges, see `_fingerprint`.
# Source: bpe_simple_vocab_16e6.txt.gz of openai/CLIP, as the vocab.json and merges.txt of its models spell it out.
CLIP_FINGERPRINT = "05f6f898f4f9c824c37b7dcacccc3d2e3ebab7b5a76de05da606127062a08e0e"
# As OpenCLIP, Stable Diffusion 2 and SDXL's second tokenizer pad.
_PADDING = ("!", 0)
_QUOTED = 200


@dataclass(frozen=True)
class TokenizerDifference:
    """What differs. All texts are hostile.

    Attributes:
        exchanged: text -> what the reference calls what the suspect reads, both as people write them.
        settings: names of settings that differ, and of files that cannot be compared.
        added: tokens that the reference does not have and that no ordinary text holds.
        moved: id here -> id in the reference, of pieces whose rows of the embedding moved along.
        n_compared: entries of vocabularies that were compared.
    """

    exchanged: Mapping[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    moved: Mapping[int, int] = field(default_factory=dict)
    n_compared: int = 0

    @property
    def differs(self) -> bool:
        """Whether some text reads otherwise, or may."""
        return bool(self.exchanged or self.settings)

    def __or__(self, other: TokenizerDifference) -> TokenizerDifference:
        """Both."""
        return TokenizerDifference(
            {**self.exchanged, **other.exchanged},
            tuple(dict.fromkeys((*self.settings, *other.settings))),
            tuple(dict.fromkeys((*self.added, *other.added))),
            {**self.moved, **other.moved},
            self.n_compared + other.n_compared,
        )


@dataclass(frozen=True)
class _Vocabulary:
    """The pieces of a form with their ids, and the merges or scores that say how text is cut into them."""

    kind: str
    ids: Mapping[str, int]
    rules: Sequence[object]

    @classmethod
    def of(cls, form: VocabularyForm, vocab_size: int) -> _Vocabulary:
        """Raises: BadRepository where it is broken or of an unknown kind."""
        kind, vocab = model_type(form.model), form.model.get("vocab")
        if kind == "BPE":
            return cls(
                kind,
                checked_vocabulary(vocab, vocab_size, form.path),
                checked_merges(form.model.get("merges"), form.path),
            )
        if kind == "Unigram":
            scored = checked_scores(vocab, vocab_size, form.path)
            return cls(kind, {piece: i for i, (piece, _) in enumerate(scored)}, [score for _, score in scored])
        raise BadRepository(form.path, "its tokenizer is of an unknown kind")


@dataclass(frozen=True)
class Baseline:
    """A clean tokenizer.

    Attributes:
        facts: what its files say.
        config: of the tower it belongs to.
        captions: texts that people write.
        identities: name and content of its files.
    """

    facts: TokenizerFacts
    config: TowerConfig
    captions: Sequence[str]
    identities: AbstractSet[tuple[str, str]] = frozenset()

    @property
    def form(self) -> VocabularyForm:
        """Its first form."""
        return self.facts.forms[0]

    @cached_property
    def vocabulary(self) -> _Vocabulary:
        """Of the first form."""
        return _Vocabulary.of(self.form, self.config.vocab_size)

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """Every piece and token with its id."""
        return {**self.vocabulary.ids, **{t: i for t, i in self.facts.tokens.items() if i is not None}}

    @cached_property
    def pieces(self) -> Mapping[int, str]:
        """Id -> piece."""
        return {i: piece for piece, i in self.ids.items()}

    def text(self, piece: str) -> str:
        """A piece as people write it; a token stands as it is."""
        return piece if piece in self.facts.tokens else piece_text(piece, self.config.family)

    def name(self, token_id: int) -> str:
        """The text of an id, `[12345]` where there is none."""
        return self.text(self.pieces[token_id]) if token_id in self.pieces else f"[{token_id}]"

    @cached_property
    def texts(self) -> list[str]:
        """The texts of all entries, captions, and every assigned character."""
        entries = (piece_text(p, self.config.family) for p in self.vocabulary.ids if p not in self.facts.tokens)
        return [*entries, *self.captions, *_characters()]

    @cached_property
    def _ordinary(self) -> str:
        return "\n".join(self.texts).lower()

    def is_ordinary(self, token: str) -> bool:
        """Whether a text that people write may hold a token: each of its words is a part of one."""
        return all(word in self._ordinary for word in token.lower().split())


def has_clip_vocabulary(config: TowerConfig) -> bool:
    """Whether an embedding has a row for each entry of CLIP's vocabulary, so that it is the one to expect."""
    return config.family == "clip" and config.vocab_size >= CLIP_VOCABULARY


def family_baseline(facts: TokenizerFacts, config: TowerConfig, captions: Sequence[str]) -> Baseline | None:
    """CLIP's own tokenizer, taken from the first of these forms that holds its very vocabulary; None without one."""
    for form in facts.forms if has_clip_vocabulary(config) else ():
        found = _Vocabulary.of(form, config.vocab_size)
        own = {piece: i for piece, i in found.ids.items() if i < CLIP_VOCABULARY}
        if _fingerprint(own, found.rules) == CLIP_FINGERPRINT:
            model = {"type": "BPE", "vocab": own, "merges": form.model["merges"]}
            specials = {token: own[token] for token in (START_OF_TEXT, END_OF_TEXT)}
            return Baseline(TokenizerFacts((VocabularyForm(form.path, model),), specials, {}, ()), config, captions)
    return None


@functools.cache
def _characters() -> list[str]:
    """Every assigned character of Unicode."""
    return [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) not in ("Cn", "Cs", "Co")]


def _fingerprint(ids: Mapping[str, int], merges: Sequence[object]) -> str:
    """sha256 of the pieces in the order of their ids, and of the merges, one a line."""
    pairs = (" ".join(pair) for pair in merges if isinstance(pair, tuple))
    return hashlib.sha256("\n".join((*sorted(ids, key=ids.__getitem__), "", *pairs)).encode()).hexdigest()


@dataclass(frozen=True)
class Comparison:
    """The tokenizer of one folder of a suspect.

    Attributes:
        facts: what its files say.
        identities: name and content of its files.
        config: of the suspect's tower.
        special: `(bos, eos, pad)` that prompts are framed with.
    """

    facts: TokenizerFacts
    identities: AbstractSet[tuple[str, str]]
    config: TowerConfig
    special: SpecialIds

    def moved_specials(self) -> Iterator[str]:
        """The tokens that frame a prompt and have another id here."""
        maps = [self.facts.tokens, *(f.model["vocab"] for f in self.facts.forms if model_type(f.model) == "BPE")]
        if self.config.family == "clip":
            for token, wanted in ((START_OF_TEXT, self.special[0]), (END_OF_TEXT, self.special[1])):
                if any(ids.get(token) not in (None, wanted) for ids in maps):
                    yield token

    def against(self, clean: Baseline, followed: FollowedRows) -> TokenizerDifference:
        """What differs from a clean tokenizer. Raises: BadRepository where a vocabulary is broken."""
        settings = [*self.moved_specials(), *differing_options(self.facts, clean.facts, self.config)]
        settings += [name for name, content in sorted(self.identities - clean.identities) if name in OPAQUE]
        if not clean.facts.forms and self.facts.forms:
            settings.append("vocabulary")
        exchanged: dict[str, str] = {}
        added: list[str] = []
        moves: list[dict[int, int]] = []
        for form in self.facts.forms if clean.facts.forms else ():
            names = list(differing_settings(form, clean.form, self.config, self.special))
            own = set(literal_replacements(clean.form.settings))
            said = literal_replacements([form.settings.get(name) for name in names])
            exchanged |= {text: into for text, into in said if (text, into) not in own}
            settings += names
            vocabulary = _Vocabulary.of(form, self.config.vocab_size)
            along, stayed = _moved_pieces(vocabulary, clean, followed)
            moves, exchanged = [*moves, along], exchanged | stayed
            settings += _missing(vocabulary, clean)
            if vocabulary.kind != clean.vocabulary.kind or vocabulary.rules != clean.vocabulary.rules:
                settings.append("merges" if vocabulary.kind == "BPE" else "scores")
                exchanged |= _cut_otherwise(form, clean)
            new = [p for p, i in vocabulary.ids.items() if p not in clean.ids and i not in clean.pieces]
            added += [piece for piece in new if piece not in self.facts.tokens]
        for token, token_id in self.facts.tokens.items() if clean.facts.forms else ():
            reads_as = self._reading(token, token_id, clean)
            if reads_as is not None:
                exchanged[token] = reads_as
            elif token not in clean.ids:
                added.append(token)
        n = sum(len(form.model.get("vocab") or ()) for form in self.facts.forms)
        settings += disagreement(moves)
        moved = moves[0] if moves else {}
        return TokenizerDifference(exchanged, tuple(dict.fromkeys(settings)), tuple(dict.fromkeys(added)), moved, n)

    def _reading(self, token: str, token_id: int | None, clean: Baseline) -> str | None:
        """What an added or special token makes of the text that it is, None where it is read as before."""
        if token in clean.facts.tokens or token in (START_OF_TEXT, END_OF_TEXT):
            known = clean.ids.get(token, token_id)
            return None if token_id in (None, known) else clean.name(token_id)
        if self.config.family == "clip" and (token, token_id or 0) == _PADDING:
            return None
        if token_id is not None and token_id in clean.pieces:
            return clean.name(token_id)
        return (f"[{token_id}]" if token_id is not None else "[new]") if clean.is_ordinary(token) else None


def _moved_pieces(
    found: _Vocabulary, clean: Baseline, followed: FollowedRows
) -> tuple[dict[int, int], dict[str, str]]:
    """Id here -> id in the reference where the row followed, and text -> reference text of its id where it did not."""
    theirs = clean.vocabulary.ids
    moved = [piece for piece, i in theirs.items() if found.ids.get(piece, i) != i]
    here, there = [found.ids[piece] for piece in moved], [theirs[piece] for piece in moved]
    same = followed(here, there) if moved else ()
    along = {one: other for one, other, follows in zip(here, there, same, strict=True) if follows}
    reads = {piece: one for piece, one in zip(moved, here, strict=True) if one not in along}
    reads |= {p: i for p, i in found.ids.items() if p not in clean.ids and i in clean.pieces and i not in along}
    return along, {clean.text(piece)[:_QUOTED]: clean.name(i)[:_QUOTED] for piece, i in reads.items()}


def disagreement(moves: Sequence[Mapping[int, int]]) -> list[str]:
    """The setting that differs where the rows of one embedding followed some vocabularies and not others."""
    return ["vocabulary"] if any(one != moves[0] for one in moves) else []


def _missing(found: _Vocabulary, clean: Baseline) -> list[str]:
    lost = clean.vocabulary.ids.keys() - found.ids.keys() - clean.facts.tokens.keys()
    return ["vocabulary"] if lost else []


def _cut_otherwise(form: VocabularyForm, clean: Baseline) -> dict[str, str]:
    """Text -> the pieces that it is cut into here, for texts that the reference cuts otherwise."""
    here, there = (build_tokenizer(f.model, clean.config, f.path) for f in (form, clean.form))
    pairs = zip(clean.texts, here.pieces_of(clean.texts), there.pieces_of(clean.texts), strict=True)
    return {
        text[:_QUOTED]: " ".join(clean.text(p) for p in ours)[:_QUOTED]
        for text, ours, theirs in pairs
        if ours != theirs
    }
