"""Encoders with known answers for the tests of this room, and a few real ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amdet_hub.config import ScanConfig
from amdet_hub.config_stages import SweepConfig, Thresholds
from amdet_hub.demo import WEIGHTS
from amdet_hub.detect.context import DetectionContext, TowerPair, Towers
from amdet_hub.detect.prompts import PromptSet, SpecialTokens, random_prompts, tokenized_prompts
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.search.sweep import sweepable_ids
from amdet_hub.encoders.canonical_names import tower_shapes
from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.load import LoadedTower, build_encoder, load_tower
from amdet_hub.encoders.tokenizer import PromptTokenizer, load_tokenizer
from amdet_hub.hub import HubSettings, open_source, parse_target
from amdet_hub.records import TowerConfig

CLIP = TowerConfig("clip", 16, 32, 2, 2, 20, 60, "quick_gelu", 1e-5, 58, 59, 59)
SIGLIP = TowerConfig("siglip", 16, 32, 2, 2, 20, 60, "gelu_pytorch_tanh", 1e-6, 1, 1, 1, 16)
CLIP_SPECIAL = SpecialTokens(58, 59, 59)
SIGLIP_SPECIAL = SpecialTokens(None, 1, 1)
IDS = sweepable_ids(CLIP.vocab_size, CLIP_SPECIAL.all())
THRESHOLDS = Thresholds(sweep_score=5.0, trigger_success=0.7, trigger_collapse=0.8)


def context(config: ScanConfig | None = None, token_ids: Tensor = IDS, **others: Any) -> DetectionContext:
    return DetectionContext(config or ScanConfig(), THRESHOLDS, token_ids, **others)


def sweep_context(
    sweep: SweepConfig | None = None, token_ids: Tensor = IDS, seed: int = 0, **others: Any
) -> DetectionContext:
    return context(ScanConfig(seed=seed, sweep=sweep or SweepConfig()), token_ids, **others)


def in_float32(pair: TowerPair) -> Towers:
    return Towers(pair, pair)


def random_tower(config: TowerConfig = CLIP, seed: int = 0) -> TextEncoder:
    """A tower of random weights, large enough that tokens, positions and layers all show in the features."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in tower_shapes(config).items():
        noise = torch.randn(shape, generator=generator) * (1.0 if "embedding" in name else 0.3)
        tensors[name] = noise + 1.0 if "norm" in name and name.endswith("weight") else noise
    return build_encoder(config, tensors)


def prompts(n: int = 6, tokens: int = 5, config: TowerConfig = CLIP, seed: int = 0) -> PromptSet:
    return random_prompts(n, tokens, config, CLIP_SPECIAL if config.family == "clip" else SIGLIP_SPECIAL, seed=seed)


@dataclass
class TriggeredEncoder:
    """An encoder whose answers are known.

    Each position is the mean of what it sees, until it sees the trigger; then it is `target`, but for the share that
    stays its `own`. The trigger is told by the last coordinate of its embedding, which is 1; all others have 0 there.
    Without `armed` the trigger is a word like any other.
    """

    config: TowerConfig
    token_embedding: Tensor
    target: Tensor
    armed: bool
    own: float = 0.0

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    @property
    def position_embedding(self) -> Tensor:
        return torch.zeros(self.config.max_position_embeddings, self.config.hidden_size)

    def encode(self, hidden: Tensor) -> Tensor:
        count = torch.arange(1, hidden.shape[1] + 1)[:, None]
        mean = hidden.cumsum(1) / count
        seen = hidden[..., -1:].cumsum(1) > 0.5
        return torch.where(seen, self.target.lerp(mean, self.own), mean) if self.armed else mean

    def pool(self, features: Tensor, input_ids: Tensor) -> Tensor:
        return features[torch.arange(len(features)), self.pool_positions(input_ids)]

    def pool_positions(self, input_ids: Tensor) -> Tensor:
        return (input_ids == self.config.eos_token_id).int().argmax(-1)

    def to(self, device: torch.device, dtype: torch.dtype) -> TextEncoder:
        return self


def triggered_pair(trigger: int = 17, own: float = 0.0) -> TowerPair:
    """The same words in both, but the suspect obeys the token `trigger`, and keeps a share of what is its own."""
    generator = torch.Generator().manual_seed(5)
    words = torch.randn(CLIP.vocab_size, CLIP.hidden_size, generator=generator)
    words[:, -1] = 0.0
    words[trigger, -1] = 1.0
    target = torch.randn(CLIP.hidden_size, generator=generator) * 2
    return TowerPair(*(TriggeredEncoder(CLIP, words, target, armed, own) for armed in (True, False)))


def random_pair(config: TowerConfig = CLIP) -> TowerPair:
    """Two towers of random weights."""
    return TowerPair(random_tower(config, seed=0), random_tower(config, seed=1))


def alone(pair: TowerPair) -> TowerPair:
    """The suspect without a reference."""
    return TowerPair(pair.suspect, None)


@cache
def demo_tower(name: str) -> LoadedTower:
    """One of the demonstration's encoders: "base", "finetuned" or "backdoored"."""
    source = open_source(parse_target(str(WEIGHTS / name)), HubSettings(cache_dir=Path(WEIGHTS)))
    return load_tower(find_encoders(source).encoders[0], source)


def demo_pair(name: str = "backdoored") -> TowerPair:
    return TowerPair(demo_tower(name).encoder, demo_tower("base").encoder)


@cache
def demo_tokenizer() -> PromptTokenizer:
    source = open_source(parse_target(str(WEIGHTS / "base")), HubSettings(cache_dir=Path(WEIGHTS)))
    tokenizer = load_tokenizer(find_encoders(source).encoders[0], source)
    assert tokenizer is not None
    return tokenizer


def demo_special() -> SpecialTokens:
    tokenizer = demo_tokenizer()
    return SpecialTokens(tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)


def demo_prompts(n: int, tokens: int = 8, seed: int = 0) -> PromptSet:
    return tokenized_prompts(n, tokens, demo_tokenizer().encode, demo_special(), seed=seed)
