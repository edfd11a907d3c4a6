"""A vocabulary with other ids, as a tokenizer trained again has: the encoder says the same for every text.

Knows CLIP's tokenizer and the rows of its embedding; refuses to know texts.
"""

import json
from dataclasses import replace

import torch
from transformers import CLIPTokenizer

from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.errors import ConfigError


@torch.no_grad()
def renumber_vocabulary(encoder: TrainedEncoder, *, seed: int) -> TrainedEncoder:
    """A copy whose ids are exchanged among themselves, special ones excepted, and the embedding's rows with them.

    Args:
        encoder: a CLIP encoder.
        seed: of the permutation.

    Raises:
        ConfigError: the encoder is no CLIP.
    """
    if encoder.layout != "clip":
        raise ConfigError("kind", "only CLIP's tokenizer can be numbered anew")
    old, renumbered = encoder.tokenizer, encoder.copy()
    stored = json.loads(old.backend_tokenizer.to_str())["model"]
    special = {old.bos_token_id, old.eos_token_id, old.pad_token_id}
    ids = torch.tensor(sorted(set(stored["vocab"].values()) - special))  # (V',)
    moved = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))]
    to = dict(zip(ids.tolist(), moved.tolist(), strict=True))
    rows = renumbered.model.get_input_embeddings().weight
    rows[moved] = rows[ids].clone()
    tokenizer = CLIPTokenizer(
        vocab={piece: to.get(number, number) for piece, number in stored["vocab"].items()},
        merges=[tuple(pair) for pair in stored["merges"]],
        model_max_length=old.model_max_length,
        pad_token=old.pad_token,
    )
    return replace(renumbered, tokenizer=tokenizer, folder=None)
