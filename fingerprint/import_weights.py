"""Import the released AVAPrintDB graph weights: `python -m fingerprint.import_weights CHECKPOINT.pt --out MODEL_DIR`.

A `.pt` file is a zip of raw tensors and a pickle that says how they fit together. The pickle is never executed: its
instructions are read one by one, and only those that build dicts, tuples and tensor descriptions are understood;
anything else is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import pathlib
import pickletools
import sys
import zipfile
from typing import Any

import numpy as np
from jaxtyping import Float

from fingerprint.errors import CheckpointError, FingerprintError
from fingerprint.landmarks import topology

_STORAGE_TYPES = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch HalfStorage": "<f2",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
}
_MAX_BYTES = 1 << 30
_LAYERS = ("gcn1", "gcn2", "gcn3")


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


def avaprintdb_params(
    state: dict[str, Any], landmark_set: str = "avaprintdb109"
) -> dict[str, dict[str, Float[np.ndarray, "..."]]]:
    """Flax parameters of GCN + TAP from AVAPrintDB's `model_state_dict`.

    Raises:
        CheckpointError: names or shapes are not that network's, a value is not finite, or the graph is another one.
    """
    wanted = {f"{layer}.{part}" for layer in _LAYERS for part in ("lin.weight", "bias")} | {"temporal_pool.query"}
    found = set(state) - {"base_edge_index"}
    if found != wanted:
        raise CheckpointError(
            f"not the graph network's weights: missing {sorted(wanted - found)}, "
            f"extra {sorted(map(str, found - wanted))}"
        )
    dimensions = {name: 2 if name.endswith("weight") else 1 for name in wanted}
    for name, value in state.items():
        if not isinstance(value, np.ndarray) or value.ndim != dimensions.get(name, 2):
            raise CheckpointError(
                f"{name} is {getattr(value, 'shape', type(value).__name__)}, not a tensor of this network"
            )
    if not all(np.isfinite(state[name]).all() for name in wanted):
        raise CheckpointError("a weight is not finite")
    edges = topology.get(landmark_set).edges
    if "base_edge_index" in state:
        pairs = {tuple(sorted(p)) for p in state["base_edge_index"].T.tolist()}
        if pairs != {tuple(e) for e in edges.tolist()}:
            raise CheckpointError(f"the checkpoint's graph has {len(pairs)} edges that are not those of {landmark_set}")
    params = {
        layer: {
            "kernel": state[f"{layer}.lin.weight"].T.astype(np.float32),
            "bias": state[f"{layer}.bias"].astype(np.float32),
        }
        for layer in _LAYERS
    }
    sizes = [params[layer]["kernel"].shape for layer in _LAYERS]
    query = state["temporal_pool.query"].astype(np.float32)
    chained = sizes[0][1] == sizes[1][0] and sizes[1][1] == sizes[2][0] and query.shape == (sizes[2][1],)
    biases = all(params[layer]["bias"].shape == (params[layer]["kernel"].shape[1],) for layer in _LAYERS)
    if not (chained and biases and sizes[0][0] == 3 and sizes[0][1] == sizes[1][1]):
        raise CheckpointError(f"layer shapes {sizes} and query {query.shape} do not follow one another")
    return {**params, "temporal_pool": {"query": query}}


def import_avaprintdb(
    path: str | pathlib.Path, out: str | pathlib.Path, window: int = 70, stride: int = 35
) -> pathlib.Path:
    """Turn a released AVAPrintDB graph checkpoint into a released-model directory."""
    from fingerprint import checkpoint

    raw = read_tensors(path)
    state = raw.get("model_state_dict", raw) if isinstance(raw, dict) else None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(raw).__name__}, wanted a dict with model_state_dict")
    params = avaprintdb_params(state)
    network = {
        "name": "gcn_tap",
        "landmark_set": "avaprintdb109",
        "hidden": int(params["gcn1"]["kernel"].shape[1]),
        "features": int(params["gcn3"]["kernel"].shape[1]),
        "form": "auto",
        "chunk": -1,
    }
    document = {
        "model": network,
        "landmark_set": "avaprintdb109",
        "normalization": "published",
        "window": {"length": window, "stride": stride},
        "provenance": {
            "imported_from": pathlib.Path(path).name,
            "sha256": hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest(),
            **{name: raw[name] for name in ("epoch", "train_loss") if isinstance(raw.get(name), int | float)},
        },
    }
    return checkpoint.save_model(out, params, document)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="fingerprint.import_weights", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="released AVAPrintDB graph checkpoint (.pt)")
    parser.add_argument("--out", required=True, help="released-model directory to write; must not exist")
    parser.add_argument("--window", type=int, default=70, help="frames in a window (70: as AVAPrintDB evaluates)")
    parser.add_argument(
        "--stride", type=int, default=35, help="frames between windows' starts (35: as AVAPrintDB evaluates)"
    )
    arguments = parser.parse_args(argv)
    try:
        print(import_avaprintdb(arguments.checkpoint, arguments.out, arguments.window, arguments.stride))
    except FingerprintError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
