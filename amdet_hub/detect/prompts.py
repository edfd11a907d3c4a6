"""The prompts of a scan: texts from a small grammar, or ids alone when there is no tokenizer.

Knows ids, refuses to know tokenizers.

The texts are ordinary image captions and text-to-image prompts, made here, so that a scan needs no dataset. A detector
only needs prompts that differ from one another and that the encoder can tell apart.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from amdet_hub.errors import ConfigError
from amdet_hub.records import TowerConfig

_SUBJECTS = (
    "a man|a woman|a young girl|an old fisherman|two children|a group of students|a brown dog|a sleeping cat|a white"
    " horse|three birds|an elephant|a herd of sheep|a red bus|a bicycle|an old train|a small boat|a yellow taxi|a"
    " motorcycle|a wooden chair|a glass vase|a bowl of soup|a slice of pizza|a stack of pancakes|a cup of coffee|a"
    " birthday cake|a laptop|a clock tower|a stone bridge|a lighthouse|a castle|a robot|an astronaut|a dragon|a"
    " knight|a wizard|a ballerina|a street musician|a chef|a baseball player|a surfer|a skier|a giraffe|a zebra|a"
    " black bear|a butterfly|a bunch of bananas|a vintage car|a fire truck|a passenger plane|a hot air balloon"
).split("|")
_ACTIONS = (
    "standing|sitting|walking|running|waiting|resting|jumping|playing|looking up|moving slowly|seen from above|in"
    " motion|half hidden|surrounded by flowers|covered in snow|reflected in water|lit by candles|next to a"
    " window|under a large tree|behind a fence|beside a parked truck|near a fountain|holding an umbrella|wearing a"
    " blue hat|with a red scarf|with a long shadow"
).split("|")
_PLACES = (
    "on a busy street|in a quiet kitchen|at the beach|in a green field|on top of a hill|in the middle of a desert|on a"
    " wooden table|in a crowded market|at a train station|in a dark forest|on a tennis court|inside a museum|beneath"
    " the northern lights|by the river|in a living room|on a snowy slope|in an empty parking lot|under a stormy sky|at"
    " an airport|in a small garden|on the moon|in front of a brick wall|along the coast|in a library|on a rooftop|in"
    " the rain"
).split("|")
_STYLES = (
    "at sunset|in the morning light|black and white photograph|oil painting|watercolor sketch|highly detailed digital"
    " art|studio lighting|soft focus|wide angle view|pencil drawing|cinematic scene|vintage postcard|low poly"
    " render|comic book style|in pastel colors|close up portrait|during golden hour|long exposure|isometric"
    " illustration|art nouveau poster|with fog and warm lamps|on film grain"
).split("|")


@dataclass(frozen=True)
class SpecialTokens:
    """The ids a prompt is framed with. `bos` is None where the family has none (SigLIP)."""

    bos: int | None
    eos: int
    pad: int

    def all(self) -> frozenset[int]:
        """Every special id: never a candidate of a sweep."""
        return frozenset(i for i in (self.bos, self.eos, self.pad) if i is not None)


@dataclass(frozen=True)
class PromptSet:
    """Prompts of one common token length.

    Attributes:
        tokens: `(B, L)` int64, the words only: no BOS, EOS or padding.
        special: the ids to frame them with.
        source: "captions" (tokenised texts) or "random ids" (no tokenizer was at hand).
    """

    tokens: Tensor
    special: SpecialTokens
    source: str

    def __len__(self) -> int:
        return int(self.tokens.shape[0])

    def split(self, *sizes: int) -> tuple[PromptSet, ...]:
        """Disjoint consecutive parts of the given sizes. Raises: ConfigError when there are too few prompts."""
        if sum(sizes) > len(self):
            raise ConfigError("prompts", f"{sum(sizes)} prompts are needed, {len(self)} are there")
        return tuple(self.take(rows) for rows in torch.split(torch.arange(sum(sizes)), list(sizes)))

    def take(self, rows: Tensor) -> PromptSet:
        """The prompts of some rows, in their order."""
        return PromptSet(self.tokens[rows], self.special, self.source)

    def shortened(self, first: int, last: int) -> PromptSet:
        """The same prompts, cut to their words `first` to `last`."""
        return PromptSet(self.tokens[:, first:last], self.special, self.source)

    def holding(self, ids: Sequence[int], at: int) -> PromptSet:
        """The same prompts with `ids` before their word `at`, 0 for the first."""
        inside = torch.tensor(ids, dtype=torch.int64).expand(len(self), -1)
        words = [self.tokens[:, :at], inside, self.tokens[:, at:]]
        return PromptSet(torch.cat(words, dim=1), self.special, self.source)

    def framed(self, inserted: Tensor | None = None, at: int | None = None, *, length: int | None = None) -> Tensor:
        """Whole id sequences.

        Args:
            inserted: `(N,)` int64 ids to put in, or None.
            at: word position the inserted ids start at, 0 = before the first word, None = after the last.
            length: pad or cut to this many positions, None = end at EOS.

        Returns:
            `(B, T)` int64: BOS (where there is one), words, EOS, padding. When cut, the last id is still EOS.
        """
        words = self.tokens
        if inserted is not None:
            at = words.shape[1] if at is None else at
            words = torch.cat([words[:, :at], inserted.to(words).expand(len(self), -1), words[:, at:]], dim=1)
        room = (length or words.shape[1] + 2) - 1 - (self.special.bos is not None)
        ids = F.pad(words[:, :room], (0, 1), value=self.special.eos)
        if self.special.bos is not None:
            ids = F.pad(ids, (1, 0), value=self.special.bos)
        if length is not None and ids.shape[1] < length:
            ids = F.pad(ids, (0, length - ids.shape[1]), value=self.special.pad)
        return ids  # (B, T)


def caption_texts(n: int, seed: int) -> list[str]:
    """`n` different captions, drawn with `seed`; the same arguments give the same list on every machine.

    Raises:
        ConfigError: more captions are asked for than the grammar holds.
    """
    total = len(_SUBJECTS) * len(_ACTIONS) * len(_PLACES) * len(_STYLES)
    if not 0 < n <= total:
        raise ConfigError("prompts", f"{n} is not between 1 and {total}")
    texts = []
    for index in random.Random(seed).sample(range(total), n):
        index, style = divmod(index, len(_STYLES))
        index, place = divmod(index, len(_PLACES))
        subject, action = divmod(index, len(_ACTIONS))
        texts.append(f"{_SUBJECTS[subject]} {_ACTIONS[action]} {_PLACES[place]}, {_STYLES[style]}")
    return texts


def tokenized_prompts(
    n: int, tokens: int, encode: Callable[[str], Iterable[int]], special: SpecialTokens, *, seed: int
) -> PromptSet:
    """`n` captions cut to exactly `tokens` ids each; ids of one prompt set never repeat a whole prompt.

    Args:
        n: how many.
        tokens: words of each, in ids.
        encode: text -> ids without specials.
        special: the framing ids.
        seed: of the caption choice.

    Raises:
        ConfigError: the tokenizer makes too few captions of that length (a broken or hostile tokenizer).
    """
    seen: dict[tuple[int, ...], None] = {}
    for text in caption_texts(min(8 * n + 64, 100_000), seed):
        ids = tuple(i for i in encode(text) if i not in special.all())
        if len(ids) >= tokens:
            seen.setdefault(ids[:tokens])
        if len(seen) == n:
            return PromptSet(torch.tensor(list(seen), dtype=torch.int64), special, "captions")
    raise ConfigError(
        "prompts", f"the tokenizer gives {len(seen)} different prompts of {tokens} tokens where {n} are needed"
    )


def random_prompts(n: int, tokens: int, config: TowerConfig, special: SpecialTokens, *, seed: int) -> PromptSet:
    """`n` prompts of uniformly drawn ids, for encoders that came without a tokenizer.

    Returns `tokens` ids each, specials excluded.
    """
    generator = torch.Generator().manual_seed(seed)
    allowed = torch.tensor(sorted(set(range(config.vocab_size)) - special.all()))  # (V',)
    return PromptSet(allowed[torch.randint(len(allowed), (n, tokens), generator=generator)], special, "random ids")
