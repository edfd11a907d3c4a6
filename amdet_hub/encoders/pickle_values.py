"""What a pickled state dict is made of, as descriptions: storages, tensors, names. Standard library only.

A closed list of globals has a meaning here, each the one that it has in torch's own restricted unpickler. Nothing is
imported or called: a "call" of a listed global makes a description of its result, and any other is refused.

Source: torch 2.13 `torch/_weights_only_unpickler.py`, `torch/_utils.py` and `torch/serialization.py`; what
AUTOMATIC1111's `modules/safe.py` lets Stable Diffusion checkpoints hold besides tensors.
"""

import re
from dataclasses import dataclass
from typing import Any

from amdet_hub.encoders.safetensors_header import MAX_DIMENSIONS
from amdet_hub.encoders.strict_json import printable

# Whole numbers of a tensor (sizes, strides, offsets) stay below this, as in a safetensors header.
MAX_NUMBER = 1 << 48
# Keys of a mapping that are whole numbers: an optimiser counts its parameters. Larger ones could be made to collide.
MAX_KEY_NUMBER = 1 << 20


class PickleRefused(Exception):
    """The stream holds something that is not on the list; the sentence names it."""


@dataclass(frozen=True, eq=False)
class Global:
    """A listed name, such as `torch.FloatStorage`."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Storage:
    """Stored values: dtype in safetensors' spelling ("" for bare bytes), record `data/<key>`, number of values."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; `offset` and `stride` count values."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Opaque:
    """The result of a listed call that is no tensor; only what was called is known, such as `numpy.dtype`."""

    called: str


class Ordered(dict[Any, Any]):
    """A `collections.OrderedDict`."""


STORAGE_DTYPES = {
    "torch.FloatStorage": "F32",
    "torch.DoubleStorage": "F64",
    "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16",
    "torch.LongStorage": "I64",
    "torch.IntStorage": "I32",
    "torch.ShortStorage": "I16",
    "torch.CharStorage": "I8",
    "torch.ByteStorage": "U8",
    "torch.BoolStorage": "BOOL",
    "torch.ComplexFloatStorage": "C64",
    "torch.storage.UntypedStorage": "",
}
DTYPES = {
    "torch.float32": "F32",
    "torch.float64": "F64",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.int16": "I16",
    "torch.int8": "I8",
    "torch.uint8": "U8",
    "torch.uint16": "U16",
    "torch.uint32": "U32",
    "torch.uint64": "U64",
    "torch.bool": "BOOL",
    "torch.complex64": "C64",
    "torch.float8_e4m3fn": "F8_E4M3",
    "torch.float8_e5m2": "F8_E5M2",
    "torch.float8_e8m0fnu": "F8_E8M0",
    "torch.float8_e4m3fnuz": "F8_E4M3FNUZ",
    "torch.float8_e5m2fnuz": "F8_E5M2FNUZ",
}
_KEY = re.compile(r"[0-9]{1,20}")
_LOCATION = re.compile(r"(?:cpu|cuda|mps|xpu|xla|hpu|npu)(?::\d{1,3})?")
_NUMPY_NUMBER = re.compile(r"[<>|=]?[biuf]\d{1,2}")
_CALLED = (
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch._utils._rebuild_parameter",
    "torch.Size",
    "torch.device",
    "_codecs.encode",
    "__builtin__.set",
    "builtins.set",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
)
_LEAVES = ("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",)  # a key in Stable Diffusion 1.4's file
_GLOBALS = {
    (name.rpartition(".")[0], name.rpartition(".")[2]): Global(name)
    for name in (*_CALLED, *STORAGE_DTYPES, *DTYPES, *_LEAVES)
}


def need(ok: bool, reason: str) -> None:
    """Refuse the stream for this reason, unless `ok`. Raises: PickleRefused."""
    if not ok:
        raise PickleRefused(reason)


def find_global(module: Any, name: Any) -> Global:
    """The listed global of this name. Raises: PickleRefused."""
    need(type(module) is str and type(name) is str, "it names a global by what is no text")
    need(
        (module, name) in _GLOBALS,
        f"it names '{printable(f'{module[:60]}.{name}')}', which is no part of a state dict",
    )
    return _GLOBALS[module, name]


def find_storage(pid: Any, known: dict[str, Storage]) -> Storage:
    """The storage of a persistent id; one key is one storage. Raises: PickleRefused."""
    match pid if type(pid) is tuple else None:
        case ("storage", Global(kind), str() as key, str() as location, count) if (
            kind in STORAGE_DTYPES and _KEY.fullmatch(key) and _LOCATION.fullmatch(location) and _numbers((count,))
        ):
            storage = Storage(STORAGE_DTYPES[kind], key, count)
            need(known.setdefault(key, storage) == storage, f"it describes the storage '{key}' in two ways")
            return storage
    raise PickleRefused("one of its persistent ids is no storage")


def call_global(called: Any, args: Any) -> Any:
    """The description of what `called(*args)` makes in torch. Raises: PickleRefused."""
    name = called.name if isinstance(called, Global) else f"a {type(called).__name__.lower()}"
    match name, args if type(args) is tuple else None:
        case "collections.OrderedDict", ():
            return Ordered()
        case "torch._utils._rebuild_tensor", (Storage(dtype) as storage, offset, shape, stride):
            return _tensor(storage, dtype, offset, shape, stride)
        case (
            "torch._utils._rebuild_tensor_v2",
            (Storage(dtype) as storage, offset, shape, stride, bool(), Ordered() as hooks, *metadata),
        ) if not hooks and metadata in ([], [None]):
            return _tensor(storage, dtype, offset, shape, stride)
        case (
            "torch._utils._rebuild_tensor_v3",
            (Storage("") as storage, offset, shape, stride, bool(), Ordered() as hooks, Global(dtype), *metadata),
        ) if not hooks and metadata in ([], [None]):
            return _tensor(storage, DTYPES.get(dtype, ""), offset, shape, stride)
        case "torch._utils._rebuild_parameter", (Tensor() as tensor, bool(), Ordered() as hooks) if not hooks:
            return tensor
        case "numpy.dtype", (str() as code, *flags) if _NUMPY_NUMBER.fullmatch(code) and all(
            isinstance(flag, int) for flag in flags
        ):
            return Opaque(name)
        case (
            ("torch.Size", (tuple(),))
            | ("torch.device", (str(),) | (str(), int()))
            | ("_codecs.encode", (str(), str()))
            | ("__builtin__.set" | "builtins.set", (list(),))
            | (
                "numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar",
                (Opaque("numpy.dtype"), bytes() | Opaque("_codecs.encode")),
            )
        ):
            return Opaque(name)
    raise PickleRefused(f"it calls '{name}' otherwise than torch.save does")


def set_item(target: Any, key: Any, value: Any) -> None:
    """Add an entry to a mapping that is being built. Raises: PickleRefused."""
    need(isinstance(target, dict), "it sets an entry of what is no mapping")
    listed = type(key) is str or isinstance(key, Global) or (type(key) is int and 0 <= key < MAX_KEY_NUMBER)
    need(listed, f"a key of a mapping is a {type(key).__name__.lower()}")
    need(key not in target, f"it sets the entry '{printable(str(key))}' twice")
    target[key] = value


def build(target: Any, state: Any) -> Any:
    """`target` with its state: the `_metadata` of an OrderedDict, or numpy's byte order. Raises: PickleRefused."""
    # versions of modules; any other attribute could stand in for a method of the mapping
    versions = isinstance(target, Ordered) and isinstance(state, dict) and list(state) == ["_metadata"]
    plain = type(state) is tuple and {type(value) for value in state} <= {int, str, type(None)}
    need(
        versions or (plain and target == Opaque("numpy.dtype")),
        "it sets the state of an object (BUILD) otherwise than torch.save does",
    )
    return target


def _tensor(storage: Storage, dtype: str, offset: Any, shape: Any, stride: Any) -> Tensor:
    need(
        bool(dtype) and all(map(_numbers, ((offset,), shape, stride))) and len(shape) == len(stride),
        "it describes a tensor otherwise than torch.save does",
    )
    return Tensor(storage, dtype, offset, shape, stride)


def _numbers(value: Any) -> bool:
    return (
        type(value) is tuple
        and len(value) <= MAX_DIMENSIONS
        and all(type(number) is int and 0 <= number < MAX_NUMBER for number in value)
    )
