"""A pickle stream followed symbolically: its opcodes move descriptions, nothing is imported, called or unpickled.

Standard library only. The opcodes are those that Python's pickler writes for a state dict, protocols 2 to 5; each does
here what it does there, and any other is refused by name, before its argument is decoded. The stream has to be one
value, up to its last byte.

Source: Python 3.11 `Lib/pickle.py` and `Lib/pickletools.py`.
"""

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from amdet_hub.encoders.pickle_values import (
    PickleRefused,
    Storage,
    build,
    call_global,
    find_global,
    find_storage,
    need,
    set_item,
)

# A tensor takes about 150 bytes and 45 opcodes; both suffice for `safetensors_header.MAX_TENSORS` of them.
MAX_PICKLE_BYTES = 8 << 20
MAX_OPCODES = 1_500_000
# The pickler closes a batch after 1,000 entries, so real stacks stay below some 2,100 values.
MAX_STACK = 1 << 16
# Containers inside each other; real checkpoints stay below 10.
MAX_DEPTH = 64
# The pickler numbers its memo from 0 on, about 10 entries a tensor.
MAX_MEMO = 1 << 20
# Ints are counters, sizes and hyperparameters; the pickler writes an int of 9 bytes and more only above 2**63.
MAX_INT_BITS = 64
# A line of a module or a name; the longest of the listed ones has 58 characters.
MAX_LINE_BYTES = 200


def interpret(data: bytes) -> Any:
    """The one value that a stream describes, made of `pickle_values`, dicts, lists, tuples and plain values.

    Raises:
        PickleRefused: an opcode, a global or a use of one that is not on the list, or the stream is broken.
    """
    machine = _Machine(io.BytesIO(data))
    for number in range(MAX_OPCODES):
        code = machine.stream.read(1)
        need(code != b"", "it ends before its last opcode")
        name = _NAMES.get(code, f"0x{code.hex()}")
        need(
            name in _STEPS and (name == "PROTO") == (number == 0),
            f"it holds the opcode {name}, which torch.save never writes there",
        )
        read = _READERS.get(name)
        try:
            _STEPS[name](machine, read(machine.stream) if read else None)
        except (LookupError, ValueError) as error:
            raise PickleRefused(f"the opcode {name} ends early or finds too few values") from error
        if name == "STOP":
            break
        need(len(machine.stack) <= MAX_STACK, "it has too many values at once")
    else:
        raise PickleRefused(f"it has more than {MAX_OPCODES:,} opcodes")
    whole = not machine.stream.read(1) and not machine.marks and len(machine.stack) == 1
    need(whole, "something lies behind its value")
    return machine.stack[0]


@dataclass
class _Machine:
    """The unpickler's state: the stream, stack, stacks below open marks, memo, storages by key."""

    stream: io.BytesIO
    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, count: int) -> list[Any]:
        return [self.stack.pop() for _ in range(count)][::-1]

    def pop_marked(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items


def _mark(m: _Machine, _: None) -> None:
    need(len(m.marks) < MAX_DEPTH, f"it is nested deeper than {MAX_DEPTH}")
    m.marks.append(m.stack)
    m.stack = []


def _frame(m: _Machine, size: int) -> None:
    need(size <= len(m.stream.getbuffer()) - m.stream.tell(), "a frame in it ends after it")


def _long(m: _Machine, number: int) -> None:
    need(number.bit_length() <= MAX_INT_BITS, "a whole number in it is too large")
    m.push(number)


def _extend(m: _Machine, items: list[Any]) -> None:
    need(type(m.stack[-1]) is list, "it appends to what is no list")
    m.stack[-1].extend(items)


def _set_items(m: _Machine, items: list[Any]) -> None:
    for key, value in zip(items[::2], items[1::2], strict=True):
        set_item(m.stack[-1], key, value)


def _put(m: _Machine, place: int) -> None:
    need(place < MAX_MEMO, "its memo has a place that is too far away")
    m.memo[place] = m.stack[-1]


def _read_names(stream: IO[bytes]) -> list[str]:
    """A module and a name. The reader of `pickletools` undoes escapes, which an unpickler does not."""
    return [stream.readline(MAX_LINE_BYTES).removesuffix(b"\n").decode("utf-8") for _ in range(2)]


_NAMES = {opcode.code.encode("latin-1"): opcode.name for opcode in pickletools.opcodes}
_READERS: dict[str, Callable[[IO[bytes]], Any]] = {
    **{opcode.name: opcode.arg.reader for opcode in pickletools.opcodes if opcode.arg},
    "GLOBAL": _read_names,
}
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda _, protocol: need(2 <= protocol <= 5, f"it has protocol {protocol}"),
    "FRAME": _frame,
    "STOP": lambda _, __: None,
    "MARK": _mark,
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "BINFLOAT"), _Machine.push),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"), _Machine.push),
    "LONG1": _long,
    "TUPLE1": lambda m, _: m.push(tuple(m.pop(1))),
    "TUPLE2": lambda m, _: m.push(tuple(m.pop(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.pop(3))),
    "TUPLE": lambda m, _: m.push(tuple(m.pop_marked())),
    "APPEND": lambda m, _: _extend(m, m.pop(1)),
    "APPENDS": lambda m, _: _extend(m, m.pop_marked()),
    "SETITEM": lambda m, _: _set_items(m, m.pop(2)),
    "SETITEMS": lambda m, _: _set_items(m, m.pop_marked()),
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": lambda m, _: _put(m, len(m.memo)),
    "BINGET": lambda m, place: m.push(m.memo[place]),
    "LONG_BINGET": lambda m, place: m.push(m.memo[place]),
    "GLOBAL": lambda m, names: m.push(find_global(*names)),
    "STACK_GLOBAL": lambda m, _: m.push(find_global(*m.pop(2))),
    "BINPERSID": lambda m, _: m.push(find_storage(m.pop(1)[0], m.storages)),
    "REDUCE": lambda m, _: m.push(call_global(*m.pop(2))),
    "BUILD": lambda m, _: m.push(build(*m.pop(2))),
}
