"""The sweep's forward through `torch.compile` and without it: whether they agree, and what the compiler costs before
it saves anything.

`python -m tests.encoders.compiled 12x512x8` measures a tower of random weights of that size (layers x width x heads)
on this machine.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from amdet_hub.detect.prompts import SpecialTokens, random_prompts
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.splice import SplicedPrompts
from amdet_hub.records import TowerConfig
from tests.detect.towers import random_tower

CANDIDATES = 256  # with two prompts and the end of the text behind each: a batch of the sweep on a CPU
PROMPTS, WORDS = 2, 8  # of the sweep's preview


def random_clip(layers: int, width: int, heads: int, *, vocab: int = 1000, seed: int = 0) -> TextEncoder:
    """A causal tower of random weights, float32."""
    return random_tower(
        TowerConfig(
            "clip", width, 4 * width, layers, heads, 77, vocab, "quick_gelu", 1e-5, vocab - 2, vocab - 1, vocab - 1
        ),
        seed,
    )


def forwards(tower: TextEncoder) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """What the sweep's preview runs for `(C, 1)` candidates, and the same compiled."""
    config = tower.config
    special = SpecialTokens(config.bos_token_id, config.eos_token_id, config.pad_token_id)
    prompts = SplicedPrompts(tower, random_prompts(PROMPTS, WORDS, config, special, seed=1), "end")
    return prompts.features, torch.compile(prompts.features, fullgraph=True)


def main() -> None:
    layers, width, heads = map(int, sys.argv[1].split("x"))
    seconds: dict[str, list[float]] = {"eager": [], "compiled": []}
    with torch.inference_mode():
        eager, compiled = forwards(random_clip(layers, width, heads).to(torch.device("cpu"), torch.bfloat16))
        candidates = torch.arange(CANDIDATES)[:, None]
        started = time.perf_counter()
        compiled(candidates)
        first = time.perf_counter() - started
        for _ in range(20):
            for name, run in (("eager", eager), ("compiled", compiled)):
                started = time.perf_counter()
                run(candidates)
                seconds[name].append(time.perf_counter() - started)
    plain, fused = (1000 * statistics.median(some) for some in seconds.values())
    sys.stdout.write(
        f"first compiled call {first:.1f} s; a batch {plain:.0f} ms eager, {fused:.0f} ms compiled,"
        f" {plain / fused:.2f} times\n"
    )


if __name__ == "__main__":
    main()
