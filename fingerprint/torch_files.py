"""Reading `.pt` and `.pth` files of PyTorch without PyTorch.

Three kinds are read: the zip that `torch.save` writes, the archive of a TorchScript module, and the sequence of pickles
that `torch.save` wrote before PyTorch 1.6. In each a pickle says how raw tensors fit together. It is never executed:
its instructions are read one by one, and only those that build dicts, tuples and tensor descriptions are understood;
anything else is refused.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import pickletools
import struct
import zipfile
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from fingerprint.errors import CheckpointError, FingerprintError

_STORAGE_TYPES = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch HalfStorage": "<f2",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ShortStorage": "<i2",
    "torch CharStorage": "i1",
    "torch ByteStorage": "u1",
    "torch BoolStorage": "?",
}
_MAX_BYTES = 1 << 30
_MAX_PICKLE_BYTES, _MAX_INSTRUCTIONS = 1 << 26, 1_000_000
_ZIP = b"PK\x03\x04"
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_TORCHSCRIPT = ("__torch__.", "__torch__ ")


def read_tensors(path: str | pathlib.Path, part: str | None = None) -> Any:
    """The object saved in a PyTorch file, with read-only NumPy arrays for tensors, without executing its pickle.

    Args:
        path: the file. A TorchScript module becomes a dict of its attributes, the modules in it likewise.
        part: the one entry of the object that is wanted; tensors of others are not read.

    Raises:
        CheckpointError: not such a file, truncated, larger than 1 GiB, or its pickle does anything but describe tensors
        in dicts.
    """
    path = pathlib.Path(path)
    try:
        with open(path, "rb") as file:
            read = _read_zip if file.read(len(_ZIP)) == _ZIP else _read_legacy
            file.seek(0)
            return read(path, file, part)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist") from error
    except FingerprintError:
        raise
    except Exception as error:  # a malformed file can fail anywhere in the reading of zip and pickle
        raise CheckpointError(f"{path} is no whole PyTorch checkpoint: {error}") from error


def _read_zip(path: pathlib.Path, file: IO[bytes], part: str | None) -> Any:
    with zipfile.ZipFile(file) as archive:
        if sum(info.file_size for info in archive.infolist()) > _MAX_BYTES:
            raise CheckpointError(f"{path} unpacks to more than {_MAX_BYTES} bytes")
        members = [n for n in archive.namelist() if n.endswith("/data.pkl")]
        if len(members) != 1:
            raise CheckpointError(f"{path} is no PyTorch zip checkpoint: found {len(members)} data.pkl, wanted 1")
        root = members[0].removesuffix("data.pkl")
        order = f"{root}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise CheckpointError(f"{path}: only little-endian checkpoints are read")
        if archive.getinfo(members[0]).file_size > _MAX_PICKLE_BYTES:
            raise CheckpointError(f"{path}: its data.pkl unpacks to more than {_MAX_PICKLE_BYTES} bytes")
        tree = Assembler(path).run(archive.read(members[0]))
        return _Arrays(path, lambda key: archive.read(f"{root}data/{key}")).of(tree, part)


def _read_legacy(path: pathlib.Path, file: IO[bytes], part: str | None) -> Any:
    """Pickles of a magic number, the protocol, the machine, the object and its storages' keys; then the storages."""
    size = os.fstat(file.fileno()).st_size
    if size > _MAX_BYTES:
        raise CheckpointError(f"{path} has more than {_MAX_BYTES} bytes")
    if (Assembler(path).run(file), Assembler(path).run(file)) != (_LEGACY_MAGIC, _LEGACY_PROTOCOL):
        raise CheckpointError(f"{path} is no PyTorch checkpoint: neither a zip nor of the format before PyTorch 1.6")
    if Assembler(path).run(file)["little_endian"] is not True:
        raise CheckpointError(f"{path}: only little-endian checkpoints are read")
    assembler = Assembler(path)
    tree = assembler.run(file)
    places: dict[str, tuple[int, int]] = {}
    for key in Assembler(path).run(file):
        (count,) = struct.unpack("<q", file.read(8))
        start, length = file.tell(), count * np.dtype(assembler.storages[key].type).itemsize
        if count < 0 or start + length > size:
            raise CheckpointError(f"{path}: storage {key} of {count} values reaches outside the file")
        places[key] = start, length
        file.seek(length, os.SEEK_CUR)

    def read_storage(key: str) -> bytes:
        start, length = places[key]
        file.seek(start)
        return file.read(length)

    return _Arrays(path, read_storage).of(tree, part)


class _Mark:
    pass


class Name(str):
    """A global that the pickle names; never resolved to an object."""


class _Module(dict):
    """The attributes of a TorchScript module."""


@dataclasses.dataclass(frozen=True)
class _Storage:
    """Raw values under a key, as many as the pickle says."""

    key: str
    type: str
    count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """Where in a storage a tensor lies, in values."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Arrays:
    """A tree that `Assembler` gave, with arrays in the place of tensor descriptions.

    Arrays are views: however many tensors share a storage, it is read and held once.
    """

    def __init__(self, path: pathlib.Path, read_storage: Callable[[str], bytes]):
        self._path, self._read_storage = path, read_storage
        self._storages: dict[str, np.ndarray] = {}
        self._done: dict[int, Any] = {}

    def of(self, tree: Any, part: str | None) -> Any:
        """The tree, or its entry `part`."""
        if part is None:
            return self._resolved(tree)
        if not isinstance(tree, dict) or part not in tree:
            raise CheckpointError(f"{self._path} holds no {part}")
        return self._resolved(tree[part])

    def _resolved(self, node: Any) -> Any:
        if not isinstance(node, dict | list | tuple | _Tensor):
            return node
        if id(node) not in self._done:  # a node met twice is done once: else few of them could make endless work
            match node:
                case dict():
                    made = {key: self._resolved(value) for key, value in node.items()}
                case list() | tuple():
                    made = type(node)(self._resolved(value) for value in node)
                case _Tensor():
                    made = self._array(node)
            self._done[id(node)] = made
        return self._done[id(node)]

    def _array(self, tensor: _Tensor) -> np.ndarray:
        storage = tensor.storage
        if storage.key not in self._storages:
            values = np.frombuffer(self._read_storage(storage.key), storage.type)
            if len(values) != storage.count:
                raise CheckpointError(
                    f"{self._path}: storage {storage.key} holds {len(values)} values, wanted {storage.count}"
                )
            self._storages[storage.key] = values
        values = self._storages[storage.key]
        strides = [s * values.itemsize for s in tensor.stride]
        return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.size, strides, writeable=False)


class Assembler:
    """Reads pickle instructions into dicts, lists, tuples, numbers and descriptions of tensors."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, _Storage] = {}

    def run(self, pickled: bytes | IO[bytes]) -> Any:
        """What a pickle describes; of a file, what the next one does."""
        for number, (opcode, argument, _) in enumerate(pickletools.genops(pickled)):
            if number == _MAX_INSTRUCTIONS:  # each of one byte can make an object of many
                raise CheckpointError(f"{self.path}: its pickle holds more than {_MAX_INSTRUCTIONS:,d} instructions")
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
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINSTRING" | "SHORT_BINSTRING":
                stack.append(argument)
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
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
            case "NEWOBJ":
                arguments, made = stack.pop(), stack.pop()
                stack.append(self.new(made, arguments))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], _Module):  # else attributes of a dict or a parameter: nothing we use
                    stack[-1].update(state)
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

    def storage(self, persistent_id: Any) -> _Storage:
        kind, storage_type, key, _, count, *view = persistent_id
        known = kind == "storage" and storage_type in _STORAGE_TYPES and view in ([], [None])
        if not known or not str(key).isalnum():
            raise CheckpointError(f"{self.path}: unknown tensor storage {persistent_id!r}")
        storage = _Storage(str(key), _STORAGE_TYPES[storage_type], count)
        if self.storages.setdefault(storage.key, storage) != storage:
            raise CheckpointError(
                f"{self.path}: storage {key} is said to be {storage} and {self.storages[storage.key]}"
            )
        return storage

    def call(self, function: Any, arguments: tuple) -> Any:
        match function, arguments:
            case Name("collections OrderedDict"), ():
                return {}
            case Name("collections OrderedDict"), (list(pairs),):
                return dict(pairs)
            case Name("torch Size"), (tuple(size),):
                return size
            case Name("torch._utils _rebuild_tensor" | "torch._utils _rebuild_tensor_v2"), (
                _Storage() as storage, offset, size, stride, *_,
            ):  # fmt: skip
                return self.tensor(storage, offset, size, stride)
            case Name("torch._utils _rebuild_parameter"), (_Tensor() as tensor, *_):
                return tensor
            case Name(), (items, *_) if function.startswith("torch.jit._pickle "):
                return items  # a list, and what TorchScript says of its type
        raise CheckpointError(f"{self.path}: its pickle calls {function}, which describes no tensor")

    def new(self, kind: Any, arguments: tuple) -> Any:
        match kind, arguments:
            case Name(), () if kind.startswith(_TORCHSCRIPT):
                return _Module()
            case Name("torch.nn.parameter Parameter"), (_Tensor() as tensor, *_):
                return tensor
        raise CheckpointError(f"{self.path}: its pickle makes {kind}, which describes no tensor")

    def tensor(self, storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> _Tensor:
        needed = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1
        if min((offset, *size, *stride), default=0) < 0 or (0 not in size and needed > storage.count):
            raise CheckpointError(f"{self.path}: a tensor reaches outside its storage")
        if math.prod(size) > storage.count:  # strides of zero can make a file of bytes a tensor of terabytes
            raise CheckpointError(f"{self.path}: a tensor of shape {tuple(size)} is larger than its storage")
        return _Tensor(storage, offset, tuple(size), tuple(stride))
