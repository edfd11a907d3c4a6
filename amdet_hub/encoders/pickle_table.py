"""The tensors of a file that `torch.save` wrote, as a table, without unpickling it. Standard library only.

Knows what a checkpoint's pickle means. Refuses to know what the tensors mean. Together with `torch_zip` and
`pickle_program` it reads a file as `torch.load` does, or refuses it: what was looked at is what loads.

Source: torch 2.13 `torch/serialization.py`; which entry of a nested checkpoint is loaded: open_clip 3.3
`load_state_dict`, diffusers 0.42 `load_single_file_checkpoint`, AUTOMATIC1111 `get_state_dict_from_checkpoint`.
"""

import itertools
import math
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from amdet_hub.encoders.pickle_program import MAX_PICKLE_BYTES, interpret
from amdet_hub.encoders.pickle_values import Opaque, PickleRefused, Tensor
from amdet_hub.encoders.safetensors_header import DTYPE_BITS, MAX_NAME_LENGTH, MAX_TENSORS
from amdet_hub.encoders.strict_json import printable, require
from amdet_hub.encoders.torch_zip import TorchZip
from amdet_hub.errors import BadRepository
from amdet_hub.records import RepoSource, TensorInfo

_UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # a pickled text may hold halves of characters


def read_pickle_table(
    source: RepoSource, path: str, placed: Callable[[Collection[str]], Collection[str]] = frozenset
) -> Mapping[str, TensorInfo]:
    """Name -> `TensorInfo` of every tensor in a listed file of `torch.save`, in file order.

    Where a tensor lies stands in front of its bytes: a request for each. `placed` picks the names to ask for, out of
    all; the others have their size, and a place by the zip's directory alone, which is not to be read from.

    The tensors are those of the mapping in the file, where it holds tensors, else those of its entry `state_dict`. A
    file with both is refused, as is a `state_dict` in a `state_dict`. Other entries beside `state_dict` (an optimiser,
    counters) are not looked into. Names stay as they are, with `module.` in front. Tensors that are views of one
    storage (tied weights) may share bytes; two storages never do.

    Raises:
        BadRepository: the file is not listed, is no zip archive of `torch.save` or one that could be read in two ways,
            its pickle holds anything but a state dict, or a tensor is not one run of values inside its storage, row by
            row or, of a matrix, column by column.
        HubError: it could not be read.
    """
    archive = TorchZip(source, path)
    little = "byteorder" not in archive.entries or archive.read("byteorder", max_bytes=16) == b"little"
    require(little, path, "its values are not in little-endian byte order")
    try:
        value = interpret(archive.read("data.pkl", max_bytes=MAX_PICKLE_BYTES))
    except PickleRefused as error:
        raise BadRepository(path, f"its pickle is not read: {error}") from error
    tensors = _state_dict(value, path)
    views = {name: _view(name, tensor, archive, path) for name, tensor in tensors.items()}
    records = {name: f"data/{tensor.storage.key}" for name, tensor in tensors.items()}
    starts = archive.starts({records[name] for name in placed(tensors.keys())})
    infos = {}
    for name, view in views.items():
        start = starts[records[name]]
        infos[name] = replace(view, start=start + view.start, stop=start + view.stop)
    return dict(sorted(infos.items(), key=lambda item: (item[1].start, item[1].stop)))


def _state_dict(value: Any, path: str) -> dict[str, Tensor]:
    """The mapping of names to tensors that a loader takes out of the file's value."""
    require(isinstance(value, dict), path, "its value is not a mapping")
    if not any(isinstance(item, Tensor) for item in value.values()):
        value = value.get("state_dict")
        require(isinstance(value, dict), path, "it holds no tensors, neither directly nor under 'state_dict'")
    require("state_dict" not in value, path, "it holds tensors beside another 'state_dict'")
    for name, item in value.items():
        acceptable = type(name) is str and 0 < len(name) <= MAX_NAME_LENGTH and not _UNFIT.search(name)
        require(acceptable, path, f"the tensor name '{printable(str(name))}' is not acceptable")
        leaf = item is None or isinstance(item, Tensor | bool | int | float | str | bytes | Opaque)
        require(leaf, path, f"'{printable(name)}' is neither a tensor nor a plain value")
    tensors = {name: item for name, item in value.items() if isinstance(item, Tensor)}
    require(0 < len(tensors) <= MAX_TENSORS, path, f"it holds {len(tensors):,} tensors")
    return tensors


def _view(name: str, tensor: Tensor, archive: TorchZip, path: str) -> TensorInfo:
    """The tensor as it lies in its storage, whose first byte is 0 here."""
    said, storage = f"tensor '{printable(name)}'", tensor.storage
    entry = archive.entries.get(f"data/{storage.key}")
    bytes_stated = storage.count * DTYPE_BITS[storage.dtype or "U8"] // 8
    require(
        entry is not None and entry.size_bytes == bytes_stated,
        path,
        f"{said} has a storage that is not stored in its size of {bytes_stated} bytes",
    )
    start = tensor.offset * DTYPE_BITS[tensor.dtype] // 8
    stop = start + math.prod(tensor.shape) * DTYPE_BITS[tensor.dtype] // 8
    require(stop <= bytes_stated, path, f"{said} ends after its storage")
    by_rows = _in_order(tensor.shape, tensor.stride)
    # a transposed matrix, as the projections of CLIP's published conversion are
    by_columns = len(tensor.shape) == 2 and _in_order(tensor.shape[::-1], tensor.stride[::-1])
    require(by_rows or by_columns, path, f"the values of {said} do not lie one after the other")
    return TensorInfo(tensor.dtype, tensor.shape, start, stop, column_major=not by_rows)


def _in_order(shape: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether the values lie one after the other, the last dimension fastest; dimensions of size 1 do not count."""
    steps = itertools.accumulate(reversed(shape), initial=1, func=operator.mul)
    dimensions = zip(reversed(shape), reversed(stride), steps, strict=False)
    return 0 in shape or all(size == 1 or stated == step for size, stated, step in dimensions)
