"""A writer of PyTorch's files without PyTorch: pickles by opcode, and the three kinds of file around them."""

from __future__ import annotations

import pathlib
import struct
import zipfile

import numpy as np

STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage", "float16": "HalfStorage"}


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def sequence(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def mapping(items: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def ordered(items: dict[str, bytes]) -> bytes:
    """An OrderedDict with PyTorch's `_metadata` on it."""
    inside = b"".join(text(key) + value for key, value in items.items())
    return name("collections", "OrderedDict") + b")R(" + inside + b"u" + mapping({"_metadata": b"}"}) + b"b"


def module(items: dict[str, bytes]) -> bytes:
    """A module of TorchScript with its attributes."""
    return name("__torch__", "Made") + b")\x81" + mapping({"training": b"\x89", **items}) + b"b"


def tensor(key: str, array, count=None, offset=0, size=None, stride=None, kind=None, more=(), version=b"_v2") -> bytes:
    """A tensor's description; `more` ends the storage's, as the format before PyTorch 1.6 has it."""
    array = np.asarray(array, order="C")
    storage_type = name("torch", kind or STORAGES[array.dtype.name])
    values = number(array.size if count is None else count)
    storage = sequence(text("storage"), storage_type, text(key), text("cpu"), values, *more)
    size = array.shape if size is None else size
    stride = [s // array.itemsize for s in array.strides] if stride is None else stride
    parts = [storage + b"Q", number(offset), sequence(*map(number, size)), sequence(*map(number, stride))]
    hooks = name("collections", "OrderedDict") + b")R"
    extra = (b"\x89", hooks) if version else ()
    return name("torch._utils", "_rebuild_tensor" + version.decode()) + sequence(*parts, *extra) + b"R"


def write(path: pathlib.Path, pickled: bytes, storages: dict[str, np.ndarray] | None = None, **members: bytes):
    """A zip as `torch.save` writes it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, array in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
        for member, content in members.items():
            archive.writestr(f"archive/{member}", content)
    return path


def write_legacy(path: pathlib.Path, pickled: bytes, storages: dict[str, np.ndarray] | None = None, **changes: bytes):
    """A file as `torch.save` wrote it before PyTorch 1.6; `changes` replace its parts."""
    storages = storages or {}
    machine = mapping({"protocol_version": b"M\xe9\x03", "little_endian": b"\x88", "type_sizes": b"}"})
    parts = {
        "magic": b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        "protocol": b"\x80\x02M\xe9\x03.",
        "machine": b"\x80\x02" + machine + b".",
        "pickled": pickled,
        "keys": b"\x80\x02](" + b"".join(map(text, storages)) + b"e.",
        "values": b"".join(struct.pack("<q", array.size) + array.tobytes() for array in storages.values()),
    }
    path.write_bytes(b"".join((parts | changes).values()))
    return path


def write_weights(path: pathlib.Path, weights: dict[str, np.ndarray], under: str | None = None):
    """Named weights as `torch.save` writes a state dict, itself or as an entry of a dict."""
    arrays = {str(i): value for i, value in enumerate(weights.values())}
    described = ordered({key: tensor(str(i), value) for i, (key, value) in enumerate(weights.items())})
    whole = described if under is None else mapping({under: described, "epoch": number(7)})
    return write(path, b"\x80\x02" + whole + b".", arrays)


def write_torchscript(path: pathlib.Path, weights: dict[str, np.ndarray]):
    """Named weights as a TorchScript archive holds them: modules in modules, as the dots in their names say."""
    keys = {name: str(i) for i, name in enumerate(weights)}

    def described(prefix: str) -> bytes:
        inner = dict.fromkeys(n.removeprefix(prefix).partition(".")[0] for n in weights if n.startswith(prefix))
        return module(
            {
                part: tensor(keys[prefix + part], weights[prefix + part])
                if prefix + part in weights
                else described(f"{prefix}{part}.")
                for part in inner
            }
        )

    arrays = {keys[name]: value for name, value in weights.items()}
    return write(path, b"\x80\x02" + described("") + b".", arrays, version=b"3\n")
