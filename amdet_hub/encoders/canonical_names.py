"""Which tensors make a text tower, under one set of names. Knows names and shapes; refuses to know torch and files.

Canonical names are those of a flat tower: `embeddings.token_embedding.weight`,
`encoder.layers.0.self_attn.q_proj.weight`, `final_layer_norm.bias`, for SigLIP `head.weight`, and
`text_projection.weight` where a CLIP checkpoint has one. What files make of them is in
`amdet_hub.encoders.key_layouts`.

Source: transformers `models/clip/modeling_clip.py`, `models/siglip/modeling_siglip.py`.
"""

from __future__ import annotations

from amdet_hub.records import TowerConfig

TOKEN_EMBEDDING = "embeddings.token_embedding.weight"
POSITION_EMBEDDING = "embeddings.position_embedding.weight"
POSITION_IDS = "embeddings.position_ids"
PROJECTION = "text_projection.weight"


def tower_shapes(config: TowerConfig) -> dict[str, tuple[int, ...]]:
    """Every canonical tensor name of a tower and its exact shape, projection or head included."""
    d, m = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        TOKEN_EMBEDDING: (config.vocab_size, d),
        POSITION_EMBEDDING: (config.max_position_embeddings, d),
    }
    for i in range(config.num_hidden_layers):
        layer = f"encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= {f"{layer}.self_attn.{name}.weight": (d, d), f"{layer}.self_attn.{name}.bias": (d,)}
        for name in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{layer}.{name}.weight": (d,), f"{layer}.{name}.bias": (d,)}
        shapes |= {f"{layer}.mlp.fc1.weight": (m, d), f"{layer}.mlp.fc1.bias": (m,)}
        shapes |= {f"{layer}.mlp.fc2.weight": (d, m), f"{layer}.mlp.fc2.bias": (d,)}
    shapes |= {"final_layer_norm.weight": (d,), "final_layer_norm.bias": (d,)}
    if config.projection_dim is not None:
        p = config.projection_dim
        shapes |= {"head.weight": (p, d), "head.bias": (p,)} if config.family == "siglip" else {PROJECTION: (p, d)}
    return shapes
