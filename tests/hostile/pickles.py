"""Archives as `torch.save` writes them around any pickle stream, and streams that must be refused.

The kinds of hostile streams follow the public test lists of fickling and picklescan. Each would run something, look a
name up, or cost much, if it were unpickled.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from amdet_hub.records import TensorInfo
from tests.hostile.fuzz import MemorySource

NAME = "pytorch_model.bin"
DATA = bytes(range(64))
RECORDS: dict[str, bytes] = {"data.pkl": b"", "byteorder": b"little", "data/0": DATA, "version": b"3\n"}


class Events:
    """While `on`, keeps the name of every audit event: imports, opened files, executed code, looked-up names."""

    def __init__(self) -> None:
        self.on, self.seen = False, []  # type: bool, list[str]
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.on:
            self.seen.append(f"{event} {args!r}"[:200])

    @contextmanager
    def none(self) -> Iterator[None]:
        """Fail when the interpreter reports anything at all."""
        self.seen, self.on = [], True
        try:
            yield
        finally:
            self.on = False
            assert self.seen == [], self.seen  # of a refused file too


EVENTS = Events()


def records(archive: bytes) -> dict[str, bytes]:
    """Name without the root -> content."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {info.filename.partition("/")[2]: opened.read(info) for info in opened.infolist()}


def archive_of(
    files: Mapping[str, bytes], root: str = "archive/", method: int = zipfile.ZIP_STORED, comment: bytes = b""
) -> bytes:
    """A zip archive of these records."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as opened:
        for name, content in files.items():
            opened.writestr(zipfile.ZipInfo(root + name), content, method)
        opened.comment = comment
    return stream.getvalue()


def around(pickle: bytes, **others: bytes) -> bytes:
    """An archive whose `data.pkl` is this stream; its storage `0` is `DATA`."""
    return archive_of({**RECORDS, "data.pkl": pickle, **others})


def source_of(archive: bytes) -> MemorySource:
    return MemorySource({NAME: archive}, Path())


def loaded_state_dict(archive: bytes, *, weights_only: bool = True) -> dict[str, torch.Tensor]:
    """Name -> tensor as loaders take them from what `torch.load` returns. Raises: whatever it raises."""
    value = torch.load(io.BytesIO(archive), weights_only=weights_only, map_location="cpu")
    if not any(isinstance(item, torch.Tensor) for item in value.values()):
        value = value["state_dict"]
    return {name: item for name, item in value.items() if isinstance(item, torch.Tensor)}


_DTYPES = {
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    **{"BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "U16": torch.uint16},
    **{"F16": torch.float16, "BF16": torch.bfloat16, "I32": torch.int32, "U32": torch.uint32, "F32": torch.float32},
    **{"I64": torch.int64, "U64": torch.uint64, "F64": torch.float64, "C64": torch.complex64},
}


def assert_same(archive: bytes, table: Mapping[str, TensorInfo], expected: Mapping[str, torch.Tensor]) -> None:
    """Fail unless the table's bytes of the file are these tensors."""
    assert set(table) == set(expected)
    for name, tensor in expected.items():
        info = table[name]
        assert (_DTYPES[info.dtype], info.shape) == (tensor.dtype, tuple(tensor.shape)), name
        assert 0 <= info.start <= info.stop <= len(archive), name
        # a copy, because a single value counts as contiguous with any stride
        flat = (
            (tensor.T if info.column_major else tensor)
            .detach()
            .reshape(-1)
            .clone(memory_format=torch.contiguous_format)
        )
        raw = flat.view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        assert archive[info.start : info.stop] == raw, name


# ---------------------------------------------------------------- streams


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


STORAGE = (
    b"(" + text("storage") + named("torch", "FloatStorage") + text("0") + text("cpu") + b"K\x10t" + b"Q"
)  # 16 values
HOOKS = named("collections", "OrderedDict") + b")R"


def tensor(shape: bytes = b"K\x02K\x03\x86", stride: bytes = b"K\x03K\x01\x86", offset: bytes = b"K\x00") -> bytes:
    """A float32 tensor of 2 x 3 values, by `_rebuild_tensor_v2`."""
    return (
        named("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + STORAGE
        + offset
        + shape
        + stride
        + b"\x89"
        + HOOKS
        + b"tR"
    )


def stream(*entries: tuple[str, bytes], protocol: int = 2) -> bytes:
    """A pickled dict."""
    return b"\x80" + bytes([protocol]) + b"}(" + b"".join(text(key) + value for key, value in entries) + b"u."


def beside(value: bytes) -> bytes:
    """A state dict with one good tensor, and another entry of this value."""
    return stream(("a", tensor()), ("b", value))


def called(module: str, name: str, *args: str) -> bytes:
    return named(module, name) + b"(" + b"".join(map(text, args)) + b"tR"


def framed(more: int) -> bytes:
    """A stream of protocol 4 in one frame, whose stated size is `more` than its bytes."""
    rest = stream(("a", tensor()))[2:]
    return b"\x80\x04\x95" + (len(rest) + more).to_bytes(8, "little") + rest


_COMMANDS = {
    "os.system": called("os", "system", "id"),
    "posix.system": called("posix", "system", "id"),
    "nt.system": called("nt", "system", "id"),
    "subprocess": called("subprocess", "check_output", "id"),
    "builtins.eval": called("builtins", "eval", "1+1"),
    "builtins.exec": called("builtins", "exec", "x=1"),
    "__builtin__.eval": called("__builtin__", "eval", "1+1"),
    "builtins.__import__": called("builtins", "__import__", "os"),
    "builtins.getattr": called("builtins", "getattr", "os", "system"),
    "builtins.open": called("builtins", "open", "x", "w"),
    "builtins.compile": called("builtins", "compile", "1", "a", "eval"),
    "dotted name": called("builtins", "object.__subclasses__"),
    "operator.attrgetter": called("operator", "attrgetter", "system"),
    "operator.methodcaller": called("operator", "methodcaller", "system", "id"),
    "functools.partial": called("functools", "partial", "id"),
    "importlib": called("importlib", "import_module", "os"),
    "runpy": called("runpy", "_run_code", "x"),
    "pty": called("pty", "spawn", "sh"),
    "socket": called("socket", "create_connection", "x"),
    "webbrowser": called("webbrowser", "open", "http://localhost"),
    "requests": called("requests.api", "get", "http://localhost"),
    "urllib": called("urllib.request", "urlopen", "http://localhost"),
    "pickle.loads": called("pickle", "loads", "x"),
    "_pickle.loads": called("_pickle", "loads", "x"),
    "dill": called("dill._dill", "_create_function", "x"),
    "joblib": called("joblib", "load", "x"),
    "numpy.load": called("numpy", "load", "x"),
    "numpy.f2py": called("numpy.f2py.crackfortran", "getlincoef", "1+1", "x"),
    "numpy.testing runstring": called("numpy.testing._private.utils", "runstring", "1", "x"),
    "torch.load": called("torch", "load", "x"),
    "torch.hub": called("torch.hub", "load", "x", "y"),
    "torch.jit": called("torch.jit", "load", "x"),
    "torch.storage._load_from_bytes": called("torch.storage", "_load_from_bytes", "x"),
    "torch._inductor": called("torch._inductor.codecache", "compile_file", "x"),
    "torch.utils._config_module": called("torch.utils._config_module", "ConfigModule.load_config", "x"),
    "cProfile": called("cProfile", "run", "1"),
    "timeit": called("timeit", "timeit", "1"),
    "bdb": called("bdb", "Bdb"),
    "code": called("code", "InteractiveInterpreter"),
    "asyncio": called("asyncio.unix_events", "_UnixSubprocessTransport._start", "x"),
    "pip": called("pip", "main", "x"),
    "venv": called("venv", "create", "x"),
    "pydoc": called("pydoc", "pipepager", "x", "y"),
    "shutil": called("shutil", "rmtree", "x"),
    "ctypes": called("ctypes", "CDLL", "x"),
    "lib2to3": called("lib2to3.pgen2.grammar", "Grammar.loads", "x"),
    "_rebuild_from_type_v2": called("torch._tensor", "_rebuild_from_type_v2", "x"),
    "sparse tensor": called("torch._utils", "_rebuild_sparse_tensor", "x"),
    "quantised tensor": called("torch._utils", "_rebuild_qtensor", "x"),
    "meta tensor": called("torch._utils", "_rebuild_meta_tensor_no_storage", "x"),
    "subclass": called("torch._utils", "_rebuild_wrapper_subclass", "x"),
    "a name that looks like a storage": called("os", "FloatStorage"),
    "a storage of another module": named("os", "FloatStorage"),
    "a quantised storage": named("torch", "QInt8Storage"),
    "an escaped name": named("t\\x6frch", "float32"),
    "control characters": named("o\x1b[31ms\x07", "\u202esystem"),
}
_OPCODES = {
    "STACK_GLOBAL": text("os") + text("system") + b"\x93" + text("id") + b"\x85R",
    "STACK_GLOBAL of numbers": b"K\x01K\x02\x93",
    "INST": b"(" + text("id") + b"ios\nsystem\n",
    "OBJ": b"(" + named("collections", "OrderedDict") + b"o",
    "NEWOBJ": named("torch.nn.parameter", "Parameter") + b")\x81",
    "NEWOBJ of a listed class": named("collections", "OrderedDict") + b")\x81",
    "NEWOBJ_EX": named("collections", "OrderedDict") + b")}\x92",
    "EXT1": b"\x82\x01",
    "EXT2": b"\x83\x01\x00",
    "EXT4": b"\x84\x01\x00\x00\x00",
    "PERSID": b"Pstorage\n",
    "BINPERSID of a text": text("0") + b"Q",
    "BINPERSID of a file": b"(" + text("file") + text("/etc/passwd") + b"tQ",
    "BUILD of a tensor": tensor() + b")b",
    "BUILD with __setstate__": HOOKS + b"}" + text("__setstate__") + named("os", "system") + b"sb",
    "BUILD of a method": HOOKS + b"}" + text("items") + b"Nsb",
    "BUILD of _metadata and a method": HOOKS + b"}(" + text("_metadata") + b"}" + text("keys") + b"Nub",
    "BUILD of a dict": b"}}b",
    "BUILD of a class": named("collections", "OrderedDict") + b"}b",
    "REDUCE of a text": text("a") + b")R",
    "REDUCE of a dtype": named("torch", "float32") + b")R",
    "REDUCE with a list": named("collections", "OrderedDict") + b"]R",
    "REDUCE with items": named("collections", "OrderedDict") + b"]\x85R",
    "REDUCE of numpy.dtype of objects": called("numpy", "dtype", "O8"),
    "REDUCE of numpy.core.multiarray.scalar": called("numpy.core.multiarray", "scalar", "f8", "x"),
    "POP": b"K\x010",
    "POP_MARK": b"(K\x011",
    "DUP": b"K\x012",
    "LONG": b"L1L\n",
    "INT": b"I1\n",
    "FLOAT": b"F1.0\n",
    "STRING": b"S'os'\n",
    "UNICODE": b"Vos\n",
    "PUT": b"Np0\n",
    "GET": b"g0\n",
    "LONG1 of 255 bytes": b"\x8a\xff" + b"\x01" * 255,
    "LONG4": b"\x8b\xff\xff\xff\x7f" + b"\x01" * 9,
    "LONG4 of a negative length": b"\x8b\xff\xff\xff\xff",
    "BINUNICODE that is too long": b"X\xff\xff\xff\xffa",
    "BINUNICODE8": b"\x8d" + b"\xff" * 8,
    "BINBYTES that are too long": b"B\xff\xff\xff\xffa",
    "BINBYTES8": b"\x8e" + b"\xff" * 8,
    "BYTEARRAY8": b"\x96" + b"\xff" * 8,
    "NEXT_BUFFER": b"\x97",
    "READONLY_BUFFER": b"\x98",
    "FRAME that is too long": b"\x95" + b"\xff" * 8,
    "a text that is not UTF-8": b"X\x02\x00\x00\x00\xff\xfe",
    "EMPTY_SET": b"\x8f",
    "FROZENSET": b"(\x91",
    "PROTO again": b"\x80\x02N",
    "BINGET of nothing": b"h\xee",
    "LONG_BINGET of nothing": b"j\xff\xff\xff\xff",
    "LONG_BINPUT far away": b"Nr\xff\xff\xff\x7f",
    "an unknown opcode": b"\xff",
    "MARKs": b"(" * 100_000,
    "MARKs closed again": b"(" * 1000 + b"t" * 1000,
    "values": b"N" * 100_000,
    "opcodes": b"]" + b"Na" * 800_000,
    "a name without an end": b"c" + b"a" * 100_000,
    "a key that is a list": b"}]Ns",
    "a key that is a tuple": b"})Ns",
    "a key that is a float": b"}G" + bytes(8) + b"Ns",
    "a key that is True": b"}\x88Ns",
    "a key twice": b"}(" + text("a") + b"N" + text("a") + b"Nu",
    "a listed name as a key twice": b"}(" + 2 * (named("torch", "float32") + b"N") + b"u",
    "a key without a value": b"}(" + text("a") + b"u",
    "an entry of a list": b"]K\x00Ns",
    "an entry of a tensor": tensor() + b"K\x00Ns",
    "append to a dict": b"}Na",
    "append to a tuple": b")(Ne",
    "a cycle": b"]q\x00h\x00a",
    "a mapping in itself": b"}q\x00" + text("a") + b"h\x00s",
    "an unlisted leaf": named("torch", "FloatStorage"),
    "a bare storage": STORAGE,
}
_TENSORS = {
    "expanded": tensor(stride=b"K\x00K\x01\x86"),
    "strides left out": tensor(stride=b")"),
    "behind its storage": tensor(offset=b"K\x0b"),
    "huge": tensor(shape=b"\x8a\x05\x00\x00\x00\x00\x01\x8a\x05\x00\x00\x00\x00\x01\x86"),
    "a negative offset": tensor(offset=b"J\xff\xff\xff\xff"),
    "a negative size": tensor(shape=b"J\xff\xff\xff\xffK\x03\x86"),
    "a size that is True": tensor(shape=b"\x88K\x03\x86"),
    "a size that is a float": tensor(shape=b"G@\x00\x00\x00\x00\x00\x00\x00K\x03\x86"),
    "a shape that is a list": tensor(shape=b"]K\x02aK\x03a"),
    "many dimensions": tensor(shape=b"(" + b"K\x01" * 9 + b"t", stride=b"(" + b"K\x01" * 9 + b"t"),
    "BINPERSID of another key": tensor().replace(text("0"), text("../0")),
    "BINPERSID of a key in other digits": tensor().replace(text("0"), text("\u0660")),
    "BINPERSID with a list": tensor().replace(b"tQ", b"lQ"),
    "BINPERSID on meta": tensor().replace(text("cpu"), text("meta")),
    "a hook": tensor().replace(HOOKS, HOOKS + b"K\x00Ns"),
    "conjugated": tensor()[:-2] + b"}" + text("conj") + b"\x88stR",
    "a missing storage": tensor().replace(text("0"), text("1")),
    "a storage of another size": tensor().replace(b"K\x10", b"K\x11"),
    "a smaller storage": tensor().replace(b"K\x10", b"K\x0f"),
    "a bare storage as typed": tensor().replace(b"torch\nFloatStorage", b"torch.storage\nUntypedStorage"),
    "a parameter of a number": named("torch._utils", "_rebuild_parameter") + b"K\x01\x89" + HOOKS + b"\x87R",
}
_WHOLE = {
    "empty": b"",
    "a protocol alone": b"\x80\x02",
    "no protocol": stream(("a", tensor()))[2:],
    "protocol 1": stream(("a", tensor()), protocol=1),
    "protocol 6": stream(("a", tensor()), protocol=6),
    "no value": b"\x80\x02.",
    "two values": b"\x80\x02N" + stream(("a", tensor()))[2:],
    "an open MARK": b"\x80\x02N(" + stream(("a", tensor()))[2:],
    "something behind it": stream(("a", tensor())) + b".",
    "a second stream": stream(("a", tensor())) * 2,
    "a frame that is a byte too long": framed(1),
    "cut short": stream(("a", tensor()))[:-1],
    "a second size of the storage": stream(("a", tensor()), ("b", tensor().replace(b"K\x10", b"K\x08"))),
    "a second type of the storage": stream(("a", tensor()), ("b", tensor().replace(b"FloatS", b"IntS"))),
    "a list": b"\x80\x02](" + tensor() + b"e.",
    "a tensor": b"\x80\x02" + tensor() + b".",
    "no tensors": stream(("a", b"N")),
    "an empty state_dict": stream(("state_dict", b"}")),
    "a state_dict that is a tensor": stream(("state_dict", tensor())),
    "tensors beside a state_dict": stream(("a", tensor()), ("state_dict", b"}" + text("b") + tensor() + b"s")),
    "tensors beside an empty state_dict": stream(("a", tensor()), ("state_dict", b"}")),
    "a state_dict in a state_dict": stream(
        ("state_dict", b"}(" + text("a") + tensor() + text("state_dict") + b"}" + text("b") + tensor() + b"su")
    ),
    "deep tuples beside a state_dict": stream(
        ("state_dict", b"}" + text("a") + tensor() + b"s"), ("b", b"(" * 1000 + b"t" * 1000)
    ),
    "tensors under another name": stream(("model", b"}" + text("a") + tensor() + b"s")),
    "an entry that is a mapping": beside(b"}" + text("c") + tensor() + b"s"),
    "an entry that is a list": beside(b"]"),
    "a name of another type": b"\x80\x02}(" + text("a") + tensor() + b"K\x01" + tensor() + b"u.",
    "a name that is a global": b"\x80\x02}(" + text("a") + tensor() + named("torch", "float32") + b"Nu.",
    "a name with a line feed": stream(("a\nb", tensor())),
    "a name with half a character": stream(("a???", tensor())).replace(b"???", b"\xed\xa0\x80"),
    "an empty name": stream(("", tensor())),
    "a long name": stream(("x" * 513, tensor())),
    "a name twice": stream(("a", tensor()), ("a", tensor(offset=b"K\x01"))),
    "TUPLE2 of one value": b"\x80\x02K\x01\x86.",
    "SETITEM of one value": b"\x80\x02Ns.",
}
HOSTILE: dict[str, bytes] = {
    **{f"call {kind}": beside(value) for kind, value in _COMMANDS.items()},
    **{f"opcode {kind}": beside(value) for kind, value in _OPCODES.items()},
    **{f"tensor {kind}": stream(("a", value)) for kind, value in _TENSORS.items()},
    **{f"stream {kind}": value for kind, value in _WHOLE.items()},
}
"""Kind -> a `data.pkl` that must be refused."""
