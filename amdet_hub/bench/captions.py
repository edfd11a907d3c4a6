"""Captions to train and to measure with. Knows two file forms; refuses to know encoders and tokens.

* JSON lines, plain or gzipped: one object a line with a list `captions` of sentences that describe one image. Those
  are natural positives.
* Plain text: one prompt a line, each a group of its own (good for attacks, useless for contrastive training).
"""

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from amdet_hub.errors import ConfigError


@dataclass(frozen=True)
class CaptionSet:
    """Groups of captions, split once by seed into what may be trained on and what is held out.

    `train` and `held_out` hold one tuple per image (or per prompt); no group is in both.
    """

    train: tuple[tuple[str, ...], ...]
    held_out: tuple[tuple[str, ...], ...]

    def train_captions(self) -> list[str]:
        """Every training caption, in file order of the shuffled groups."""
        return [caption for group in self.train for caption in group]

    def held_out_captions(self) -> list[str]:
        """The first caption of each held-out group."""
        return [group[0] for group in self.held_out]


def read_captions(path: Path, *, held_out: int = 500, seed: int = 0) -> CaptionSet:
    """Read a caption file and split it.

    Args:
        path: `.jsonl`, `.jsonl.gz` or a text file.
        held_out: number of groups kept from training; at most half of all groups are.
        seed: orders the groups before the split.

    Raises:
        ConfigError: the file cannot be read, or holds fewer than two groups.
    """
    try:
        groups = list(_groups(path))
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ConfigError("captions", f"cannot read {path.name}: {type(error).__name__}: {error}") from error
    return split(groups, held_out=held_out, seed=seed)


def split(groups: Sequence[tuple[str, ...]], *, held_out: int, seed: int) -> CaptionSet:
    """Shuffle `groups` by `seed` and hold out the first `held_out` of them (at most half).

    Raises:
        ConfigError: there are fewer than two groups.
    """
    if len(groups) < 2:
        raise ConfigError("captions", "at least two groups of captions are needed")
    shuffled = list(groups)
    random.Random(seed).shuffle(shuffled)
    cut = min(held_out, len(shuffled) // 2)
    return CaptionSet(train=tuple(shuffled[cut:]), held_out=tuple(shuffled[:cut]))


def _groups(path: Path) -> Iterator[tuple[str, ...]]:
    is_json = ".jsonl" in path.suffixes
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for line in filter(str.strip, lines):
            captions = json.loads(line)["captions"] if is_json else [line]
            if group := tuple(text for caption in captions if (text := " ".join(str(caption).split()))):
                yield group
