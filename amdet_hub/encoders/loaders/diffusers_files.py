"""The files that a diffusers pipeline takes: a folder for each component that its index names, by transformers' rules.

A component without a folder is loaded from the pipeline's own. Source: diffusers 0.42
`pipelines/pipeline_loading_utils.py` (`load_sub_model`), `modular_pipelines/`.
"""

from collections.abc import Iterator

from amdet_hub.encoders.loaders.listing import Listing, Take
from amdet_hub.encoders.loaders.transformers_files import files_of_model
from amdet_hub.encoders.weight_files import join

_INDEXES = ("model_index.json", "modular_model_index.json")


def pipelines(listing: Listing) -> Iterator[Take]:
    """A call for each component and variant."""
    for index in _INDEXES:
        for root in listing.folders_with(index):
            for name, entry in listing.fields(root, index).items():
                if not isinstance(entry, list) or len(entry) < 2:
                    continue
                spec = entry[2] if len(entry) > 2 and isinstance(entry[2], dict) else {}
                folder = join(root, str(spec.get("subfolder") or name))
                for how, files in files_of_model(listing, folder if folder in listing.names else root):
                    yield Take("diffusers", ", ".join(filter(None, (name[:80], how))), files)
