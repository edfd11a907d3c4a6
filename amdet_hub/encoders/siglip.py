"""SigLIP's text tower: every position sees every other, pooled at the last position through a head with bias.

Knows SigLIP's mask and pooling rules. Refuses to know files and configs beyond `TowerConfig`. Shapes: see
`amdet_hub.detect.protocol`. SigLIP was trained on inputs padded to the full length without an attention mask, so
padding is part of the input and none is passed here. Source: transformers `models/siglip/modeling_siglip.py`
(`SiglipTextModel.forward`).
"""

from typing import cast

import torch
from torch import Tensor
from transformers import SiglipTextConfig, SiglipTextModel
from transformers.masking_utils import create_bidirectional_mask

from amdet_hub.encoders.text_tower import TextTower, layer_config
from amdet_hub.records import TowerConfig


class SiglipTextEncoder(TextTower):
    """A SigLIP text tower with its head. It has no incremental form: new positions change the old ones."""

    @classmethod
    def _empty(cls, config: TowerConfig) -> SiglipTextModel:
        return SiglipTextModel(SiglipTextConfig(**layer_config(config), projection_size=config.projection_dim))

    def _encode_exactly(self, hidden: Tensor) -> Tensor:
        mask = create_bidirectional_mask(config=self._model.config, inputs_embeds=hidden, attention_mask=None)
        return self._final_norm(self._model.encoder(inputs_embeds=hidden, attention_mask=mask).last_hidden_state)

    def pool_positions(self, input_ids: Tensor) -> Tensor:
        """`input_ids (B, T)` -> `(B,)` int64, always the last position."""
        return torch.full((input_ids.shape[0],), input_ids.shape[1] - 1, dtype=torch.int64, device=self.device)

    def _head(self, pooled: Tensor) -> Tensor:
        return cast(Tensor, self._model.head(pooled))
