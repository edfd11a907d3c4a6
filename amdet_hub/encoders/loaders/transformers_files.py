"""The files that transformers' `from_pretrained` takes from a folder, adapters by PEFT among them.

In a folder: what `transformers_weights` of its configuration names; else one file before an index, safetensors before
pickles, and a variant never without its name. Source: transformers 5.23 `_get_resolved_checkpoint_files`,
`maybe_load_adapters`.
"""

import re
from collections.abc import Iterator

from amdet_hub.encoders.loaders.listing import Listing, Take

_VARIANT = re.compile(
    r"(?:pytorch_)?model\.(?:(?P<file>.+)\.)?(?:safetensors|bin)"
    r"|(?:model\.safetensors|pytorch_model\.bin)\.index\.(?:(?P<index>.+)\.)?json",
    re.DOTALL,
)
_SAFETENSORS = ("model{}.safetensors", "model.safetensors.index{}.json")
_PICKLES = ("pytorch_model{}.bin", "pytorch_model.bin.index{}.json")
_NAMED = (".safetensors", ".safetensors.index.json")


def transformers_models(listing: Listing) -> Iterator[Take]:
    """A call for each folder with a configuration, variant and format."""
    for folder in listing.names:
        place = f"subfolder={folder}" if folder != listing.root else ""
        for how, files in files_of_model(listing, folder):
            yield Take("transformers", ", ".join(filter(None, (place, how))), files)


def files_of_model(listing: Listing, folder: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Further arguments and the files of each call on one folder."""
    names = listing.names.get(folder, frozenset())
    if "adapter_config.json" in names:
        yield "with its adapter", listing.first(folder, "adapter_model.safetensors", "adapter_model.bin")
    if "config.json" not in names:
        return
    matches = {name: _VARIANT.fullmatch(name) for name in names}
    if any(match is None and name.endswith(_NAMED) for name, match in matches.items()):
        named = listing.fields(folder, "config.json").get("transformers_weights")
        if isinstance(named, str) and named in names:
            yield "", listing.shards(folder, named)
            return
    for variant in sorted({match["file"] or match["index"] or "" for match in matches.values() if match}):
        dotted, argument = (f".{variant}", f"variant={variant}") if variant else ("", "")
        pickled = [name for name in (form.format(dotted) for form in _PICKLES) if name in names]
        found = [name for name in (form.format(dotted) for form in _SAFETENSORS) if name in names]
        for chosen in found[:1] or pickled[:1]:
            yield argument, listing.shards(folder, chosen)
        for chosen in pickled[:1] if found else ():
            yield f"{argument}, use_safetensors=False".lstrip(", "), listing.shards(folder, chosen)
