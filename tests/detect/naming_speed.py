"""How long it takes to put a phrase into words, on this machine.

Run `python -m tests.detect.naming_speed 12x512x8 4` with layers x width x heads, and words.
Towers of random weights: the seconds are those of any weights, and the words mean nothing.
"""

from __future__ import annotations

import resource
import sys
import time

import torch

from amdet_hub.config import ScanConfig
from amdet_hub.detect.context import Lexicon, TowerPair, Towers
from amdet_hub.detect.naming.gradient_alignment import GradientAlignment
from amdet_hub.detect.naming.reconstruct import CloseCollapse, best_texts
from amdet_hub.detect.prompts import SpecialTokens, random_prompts
from amdet_hub.detect.protocol import TrainableTextEncoder
from amdet_hub.detect.search.null_distribution import SequenceNull
from tests.detect.towers import sweep_context
from tests.encoders.compiled import random_clip

VOCABULARY = 49_408


def main() -> None:
    layers, width, heads = map(int, sys.argv[1].split("x"))
    words = tuple(range(1000, 1000 + int(sys.argv[2])))
    reference = random_clip(layers, width, heads, vocab=VOCABULARY)
    suspect = random_clip(layers, width, heads, vocab=VOCABULARY, seed=1)
    assert isinstance(suspect, TrainableTextEncoder)
    assert isinstance(reference, TrainableTextEncoder)
    config = ScanConfig.for_preset("quick")
    special = SpecialTokens(VOCABULARY - 2, VOCABULARY - 1, VOCABULARY - 1)
    n, ids = config.sweep.n_prompts, torch.arange(VOCABULARY - 2)
    prompts = random_prompts(
        n + config.sweep.n_heldout_prompts, config.sweep.prompt_tokens, reference.config, special, seed=0
    )
    towers = Towers.on(TowerPair(suspect, reference), torch.device("cpu"), torch.bfloat16)
    rough = SequenceNull(towers.fast, prompts.split(n)[0], sweep_context(config.sweep, ids))
    each = Lexicon(as_word=lambda pieces: pieces if len(pieces) == 1 else None)
    started = time.perf_counter()
    alignment = GradientAlignment(suspect, reference, prompts)
    alignment.target_direction(words)
    found = best_texts(words, each, rough.collapse, CloseCollapse(towers.exact, prompts), alignment.scores)
    seconds, gigabytes = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    sys.stdout.write(f"{len(words)} words, {len(found)} texts: {seconds:.1f} s, at most {gigabytes:.1f} GB\n")


if __name__ == "__main__":
    main()
