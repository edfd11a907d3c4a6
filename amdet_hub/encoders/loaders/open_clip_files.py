"""The files that open_clip takes from a folder with its configuration, for `hf-hub:` and for `local-dir:`.

The models of timm's organisation (SigLIP and its like) are of this kind. Source: open_clip 3.3 `constants.py`,
`factory.py` (`_find_checkpoint_in_dir`), `pretrained.py` (`download_pretrained_from_hf`).
"""

from collections.abc import Iterator

from amdet_hub.encoders.loaders.listing import Listing, Take

_CONFIG = "open_clip_config.json"
_HUB = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_DIRECTORY = (
    "open_clip_model.safetensors",
    *(f"open_clip_pytorch_model.{ending}" for ending in ("safetensors", "bin", "pth")),
    *("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth"),
)


def open_clip_models(listing: Listing) -> Iterator[Take]:
    """The two calls on each folder with a configuration of open_clip's."""
    for folder in listing.folders_with(_CONFIG):
        ending = (".safetensors", ".bin", ".pth")
        others = sorted((not n.endswith(ending[:1]), n) for n in listing.names[folder] if n.endswith(ending))
        yield Take("open_clip", "hf-hub:", listing.first(folder, *_HUB))
        yield Take("open_clip", "local-dir:", listing.first(folder, *_DIRECTORY, *(name for _, name in others)))
