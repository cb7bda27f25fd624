"""Reading `.pt` and `.pth` files of PyTorch without PyTorch.

Such a file is a zip of raw tensors and a pickle that says how they fit together. The pickle is never executed: its
instructions are read one by one, and only those that build dicts, tuples and tensor descriptions are understood;
anything else is refused.
"""

from __future__ import annotations

import math
import pathlib
import pickletools
import zipfile
from typing import Any

import numpy as np

from fingerprint.errors import CheckpointError, FingerprintError

_STORAGE_TYPES = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch HalfStorage": "<f2",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
}
_MAX_BYTES = 1 << 30


def read_tensors(path: str | pathlib.Path, assembler: type[Assembler] | None = None) -> dict[str, Any]:
    """The object saved in a PyTorch `.pt` zip, with tensors as NumPy arrays, without executing its pickle.

    Args:
        path: the zip.
        assembler: what reads the pickle's instructions; default: `Assembler`.

    Raises:
        CheckpointError: not such a file, truncated, larger than 1 GiB, or its pickle does anything but describe tensors
        in dicts.
    """
    path = pathlib.Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > _MAX_BYTES:
                raise CheckpointError(f"{path} unpacks to more than {_MAX_BYTES} bytes")
            members = [n for n in archive.namelist() if n.endswith("/data.pkl")]
            if len(members) != 1:
                raise CheckpointError(f"{path} is no PyTorch zip checkpoint: found {len(members)} data.pkl, wanted 1")
            root = members[0].removesuffix("data.pkl")
            order = f"{root}byteorder"
            if order in archive.namelist() and archive.read(order) != b"little":
                raise CheckpointError(f"{path}: only little-endian checkpoints are read")
            reader = (assembler or Assembler)(path, lambda key: archive.read(f"{root}data/{key}"))
            return reader.run(archive.read(members[0]))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist") from error
    except FingerprintError:
        raise
    except Exception as error:  # a malformed file can fail anywhere in the reading of zip and pickle
        raise CheckpointError(f"{path} is no whole PyTorch zip checkpoint: {error}") from error


class _Mark:
    pass


class Name(str):
    """A global that the pickle names; never resolved to an object."""


class Assembler:
    """Reads pickle instructions into dicts, lists, tuples, numbers and arrays."""

    def __init__(self, path, read_storage):
        self.path, self.read_storage = path, read_storage
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, pickle_bytes: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(pickle_bytes):
            if opcode.name == "STOP":
                return self.stack.pop()
            self.step(opcode.name, argument)
        raise CheckpointError(f"{self.path}: its pickle does not end")

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "MARK":
                stack.append(_Mark())
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "TUPLE":
                stack.append(tuple(self.pop_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "SETITEMS":
                items = self.pop_mark()
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "APPENDS":
                items = self.pop_mark()
                stack[-1].extend(items)
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "GLOBAL":
                stack.append(Name(argument))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(Name(f"{module} {attribute}"))
            case "BINPERSID":
                stack.append(self.storage(stack.pop()))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self.call(function, arguments))
            case "BUILD":
                stack.pop()  # attributes of a dict (PyTorch's `_metadata`): nothing we use
            case _:
                raise CheckpointError(
                    f"{self.path}: its pickle holds the instruction {name}, which describes no tensor"
                )

    def pop_mark(self) -> list[Any]:
        items = []
        while not isinstance(self.stack[-1], _Mark):
            items.append(self.stack.pop())
        self.stack.pop()
        return items[::-1]

    def storage(self, persistent_id: Any) -> np.ndarray:
        kind, storage_type, key, _, count = persistent_id
        if kind != "storage" or storage_type not in _STORAGE_TYPES or not str(key).isalnum():
            raise CheckpointError(f"{self.path}: unknown tensor storage {persistent_id!r}")
        values = np.frombuffer(self.read_storage(key), _STORAGE_TYPES[storage_type])
        if len(values) != count:
            raise CheckpointError(f"{self.path}: storage {key} holds {len(values)} values, wanted {count}")
        return values

    def call(self, function: Any, arguments: tuple) -> Any:
        match function:
            case "collections OrderedDict" if not arguments:
                return {}
            case "torch._utils _rebuild_tensor_v2":
                values, offset, size, stride = arguments[:4]
                needed = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1
                if min((offset, *size, *stride), default=0) < 0 or (0 not in size and needed > len(values)):
                    raise CheckpointError(f"{self.path}: a tensor reaches outside its storage")
                if math.prod(size) > len(values):  # strides of zero can make a file of bytes a tensor of terabytes
                    raise CheckpointError(f"{self.path}: a tensor of shape {tuple(size)} is larger than its storage")
                strides = [s * values.itemsize for s in stride]
                return np.lib.stride_tricks.as_strided(values[offset:], size, strides, writeable=False).copy()
        raise CheckpointError(f"{self.path}: its pickle calls {function}, which describes no tensor")
