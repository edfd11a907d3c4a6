"""One prompt in a scanned encoder and in its reference, without and with some words added.

Shows how far the prompt moves, what it then says, and where the encoder looks. The words are the trigger that the scan
found, or one's own. Shows; judges nothing. The answer is plain
data, without tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from amdet_hub.detect.inspect_prompt import (
    FramedWords,
    frame_words,
    inspect_prompt,
    room_for_words,
    unrelated_similarity,
)
from amdet_hub.detect.prompts import PromptSet, tokenized_prompts
from amdet_hub.detect.protocol import AttentiveTextEncoder
from amdet_hub.detect.splice import PLACES, Place
from amdet_hub.encoders.tokenizer import PromptTokenizer
from amdet_hub.errors import ConfigError
from amdet_hub.hub import HubSettings
from amdet_hub.records import SILENT, ProgressCallback, ScanResult
from amdet_hub.scanner.nearest_texts import NearText
from amdet_hub.scanner.options import DEFAULT_OPTIONS, ScanOptions
from amdet_hub.scanner.reload import LoadedPair, PairCache, load_again

# Longest prompt, and longest text to add: twice what 77 positions hold.
MAX_CHARS = 500
# Longest prompt in tokens, frame and added tokens included: CLIP's own length, and all that a heat map can show.
MAX_POSITIONS = 77
_OTHERS, _OTHER_TOKENS, _SEED = 24, 6, 1

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class EncoderView:
    """What one encoder makes of the prompt without and with the added tokens.

    `S` and `S'` are the positions shown without and with them.

    Attributes:
        similarity: cosine of the pooled features without and with them, in [-1, 1]; 1 is unmoved.
        unrelated_similarity: the same between the prompt and captions that have nothing to do with it: what "another
            text" means here.
        nearest_before: texts nearest to the prompt: words in a frame, then captions, each best first.
        nearest_after: the same with the added tokens.
        tokens_before: `S x S` cosines between the prompt's token features, in [-1, 1].
        tokens_after: `S' x S'`, with the added tokens.
        attention: `L x S'`, how much the pooled position attends to each position in each layer with the added tokens,
            mean over heads. A row sums to at most 1; the rest lies on padding.
    """

    similarity: float
    unrelated_similarity: float
    nearest_before: tuple[NearText, ...]
    nearest_after: tuple[NearText, ...]
    tokens_before: Rows
    tokens_after: Rows
    attention: Rows


@dataclass(frozen=True)
class Probe:
    """One prompt, looked at by `PromptInspector.inspect`. All texts but the prompt are hostile text.

    Attributes:
        prompt: as it was given.
        added: what was put into it, as text.
        place: where: "start", "middle" or "end".
        pieces_before: vocabulary entries of the `S` positions shown without it, as stored.
        pieces_after: the same of the `S'` positions with it.
        added_at: which of `pieces_after` were added.
        suspect: in the scanned encoder.
        reference: in its reference; None where the scan had none.
    """

    prompt: str
    added: str
    place: Place
    pieces_before: tuple[str, ...]
    pieces_after: tuple[str, ...]
    added_at: tuple[int, ...]
    suspect: EncoderView
    reference: EncoderView | None


@dataclass(frozen=True)
class PromptInspector:
    """Looks closer at scanned encoders.

    Attributes:
        hub: how to reach the Hub.
        options: device, and dtype for the texts that prompts are compared with.
        pairs: towers that were loaded before.
    """

    hub: HubSettings = field(default_factory=HubSettings)
    options: ScanOptions = DEFAULT_OPTIONS
    pairs: PairCache = field(default_factory=PairCache)

    def inspect(
        self,
        result: ScanResult,
        prompt: str,
        *,
        added: str | None = None,
        place: Place = "start",
        progress: ProgressCallback = SILENT.progress,
    ) -> Probe:
        """One prompt without and with the trigger, in a scanned encoder and in its reference.

        Example:
            >>> from amdet_hub import scan
            >>> from amdet_hub.scanner import PromptInspector
            >>> (result,) = scan("org/model").results
            >>> probe = PromptInspector().inspect(result, "a photo of a dog")
            >>> print(probe.suspect.similarity, probe.reference.similarity)
            >>> print([one.text for one in probe.suspect.nearest_after])

        Args:
            result: of a finished scan. Its encoder and reference are loaded again, at its commits, and must have its
                digests.
            prompt: any text of at most 500 characters and 77 tokens.
            added: text that is put into it instead of the trigger that was found.
            place: before, amid or behind the prompt's tokens. In CLIP only tokens behind the trigger can change.
            progress: called as `progress(stage, done, total)`; raise from it to stop.

        Returns:
            Plain data of both encoders.

        Raises:
            ConfigError: the text is empty or too long, there is nothing to add, or the result does not fit its
                repository.
            BadRepository: the weights are not those that were scanned.
            HubError: something could not be read.
        """
        check_text("prompt", prompt)
        if place not in PLACES:
            raise ConfigError("place", f"'{str(place)[:40]}' is none of {', '.join(PLACES)}")
        if added is None and not result.named_triggers:
            raise ConfigError("added", "the scan named no trigger; say what to add")
        if added is not None:
            check_text("added", added)
        pair = self.pairs.get(result, self.options, lambda: load_again(result, self.hub, self.options, progress))
        words = _ids(pair.tokenizer, prompt, "prompt")
        extra = checked_trigger(result, pair) if added is None else _ids(pair.tokenizer, added, "added")
        _check_room(len(words), len(extra), pair)
        return _probe(pair, prompt, words, extra, place, progress)


def _probe(
    pair: LoadedPair,
    prompt: str,
    words: tuple[int, ...],
    extra: tuple[int, ...],
    place: Place,
    progress: ProgressCallback,
) -> Probe:
    at = {"start": 0, "middle": len(words) // 2, "end": len(words)}[place]
    before, after = words, (*words[:at], *extra, *words[at:])
    views = []
    encoders = [one for one in (pair.suspect, pair.reference) if one is not None]
    for number, encoder in enumerate(encoders):
        progress("look", number, len(encoders))
        views.append(_view(encoder, before, after, pair))
    framed = [frame_words(one, pair.special, pair.suspect.config) for one in (before, after)]
    return Probe(
        prompt=prompt,
        added=pair.tokenizer.decode(extra),
        place=place,
        pieces_before=_pieces(framed[0], pair.tokenizer),
        pieces_after=_pieces(framed[1], pair.tokenizer),
        added_at=tuple(range(framed[1].first + at, framed[1].first + at + len(extra))),
        suspect=views[0],
        reference=views[1] if len(views) > 1 else None,
    )


def check_text(name: str, text: str) -> None:
    """Whether a visitor's text can be looked at, as far as that can be told without an encoder.

    Raises: ConfigError.
    """
    if not text.strip():
        raise ConfigError(name, "there is nothing in it")
    if len(text) > MAX_CHARS:
        raise ConfigError(name, f"it has {len(text):,} characters, more than the {MAX_CHARS} that are read")
    if any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        raise ConfigError(name, "it holds halves of characters, which are no text")


def checked_trigger(result: ScanResult, pair: LoadedPair) -> tuple[int, ...]:
    """The ids of the trigger that a result names.

    Raises: ConfigError when they are no tokens of its encoder's vocabulary.
    """
    ids, size = result.named_triggers[0].token_ids, pair.suspect.config.vocab_size
    wrong = [i for i in ids if not 0 <= i < size or i in pair.special.all()]
    if wrong or not ids:
        named = f"{wrong[0]} is no token" if wrong else "it names no token"
        raise ConfigError("trigger", f"{named} of a vocabulary of {size:,} that a prompt can hold")
    return ids


def _ids(tokenizer: PromptTokenizer, text: str, name: str) -> tuple[int, ...]:
    ids = tokenizer.encode(text)
    if not ids:
        raise ConfigError(name, "the encoder's tokenizer makes nothing of it")
    return ids


def _check_room(words: int, extra: int, pair: LoadedPair) -> None:
    limit, special = pair.suspect.config.max_position_embeddings, pair.special
    room = room_for_words(special, pair.suspect.config) - max(0, limit - MAX_POSITIONS)
    if words + extra > room:
        raise ConfigError(
            "prompt", f"it has {words} tokens and {extra} more are added, and there is room for {room} in all"
        )


def _pieces(framed: FramedWords, tokenizer: PromptTokenizer) -> tuple[str, ...]:
    return tuple(tokenizer.piece(int(framed.ids[0, i])) for i in framed.shown)


def _view(encoder: AttentiveTextEncoder, before: Sequence[int], after: Sequence[int], pair: LoadedPair) -> EncoderView:
    special, config = pair.special, encoder.config
    plain = inspect_prompt(encoder, frame_words(before, special, config))
    changed = inspect_prompt(encoder, frame_words(after, special, config))
    others = tokenized_prompts(
        _OTHERS, min(_OTHER_TOKENS, room_for_words(special, config)), pair.tokenizer.encode, special, seed=_SEED
    )
    return EncoderView(
        similarity=float(torch.cosine_similarity(plain.pooled, changed.pooled, dim=0).clamp(-1, 1)),
        unrelated_similarity=unrelated_similarity(encoder, plain.pooled, others),
        nearest_before=_nearest(encoder, before, pair),
        nearest_after=_nearest(encoder, after, pair),
        tokens_before=_rows(plain.token_similarity),
        tokens_after=_rows(changed.token_similarity),
        attention=_rows(changed.attention),
    )


def _nearest(encoder: AttentiveTextEncoder, words: Sequence[int], pair: LoadedPair) -> tuple[NearText, ...]:
    return pair.reader.nearest(
        encoder, PromptSet(torch.tensor([list(words)], dtype=torch.int64), pair.special, "captions")
    )


def _rows(matrix: Tensor) -> Rows:
    return tuple(tuple(round(float(value), 4) for value in row) for row in matrix.tolist())
