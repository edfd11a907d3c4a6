"""The tensors of a text tower, under one set of names. Knows names and shapes; refuses to know torch and files.

Canonical names are those of a flat tower: `embeddings.token_embedding.weight`,
`encoder.layers.0.self_attn.q_proj.weight`, `final_layer_norm.bias`, for SigLIP `head.weight`, and
`text_projection.weight` where a CLIP checkpoint has one. What files make of them is in
`amdet_hub.encoders.key_layouts`.

Source: transformers `models/clip/modeling_clip.py`, `models/siglip/modeling_siglip.py`.
"""

from amdet_hub.records import TowerConfig

TOKEN_EMBEDDING = "embeddings.token_embedding.weight"
POSITION_EMBEDDING = "embeddings.position_embedding.weight"
# LongCLIP's second table, as far as the tower is loaded: its rows become those of the first.
SECOND_POSITIONS = "embeddings.position_embedding_res.weight"
POSITION_IDS = "embeddings.position_ids"
PROJECTION = "text_projection.weight"


def tower_shapes(config: TowerConfig) -> dict[str, tuple[int, ...]]:
    """Every canonical tensor name of a tower and its exact shape, projection or head included."""
    d, m, p = config.hidden_size, config.intermediate_size, config.projection_dim
    shapes: dict[str, tuple[int, ...]] = {
        TOKEN_EMBEDDING: (config.vocab_size, d),
        POSITION_EMBEDDING: (config.max_position_embeddings, d),
    }
    modules: dict[str, tuple[int, ...]] = {
        **{f"self_attn.{name}": (d, d) for name in ("q_proj", "k_proj", "v_proj", "out_proj")},
        **{"layer_norm1": (d,), "layer_norm2": (d,), "mlp.fc1": (m, d), "mlp.fc2": (d, m)},
    }
    layers = {
        f"encoder.layers.{i}.{name}": shape for i in range(config.num_hidden_layers) for name, shape in modules.items()
    }
    head = {"head": (p, d)} if p is not None and config.family == "siglip" else {}
    for name, shape in (layers | {"final_layer_norm": (d,)} | head).items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes if p is None or config.family == "siglip" else {**shapes, PROJECTION: (p, d)}
