"""The files that sentence-transformers takes: the folders that `modules.json` lists, by transformers' rules.

Without that file it makes a model of the folder itself. Source: sentence-transformers 6.2 `base/model.py`.
"""

from collections.abc import Iterator

from amdet_hub.encoders.loaders.listing import Listing, Take
from amdet_hub.encoders.loaders.transformers_files import files_of_model
from amdet_hub.encoders.weight_files import join


def sentence_transformers_models(listing: Listing) -> Iterator[Take]:
    """A call for each module folder and variant."""
    for root in {listing.root, *listing.folders_with("modules.json")}:
        modules = listing.read(root, "modules.json")
        paths = (
            [module.get("path") for module in modules if isinstance(module, dict)]
            if isinstance(modules, list)
            else [""]
        )
        for folder in {join(root, path).rstrip("/") for path in paths if isinstance(path, str)}:
            for how, files in files_of_model(listing, folder):
                yield Take("sentence-transformers", how, files)
