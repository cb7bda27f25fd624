"""Network weights as their publishers store them, turned into plain arrays; no pickle in them is ever executed.

A convolution is `NAME.kernel` (spatial..., in, out) and `NAME.bias` (out), float32. Inception and I3D normalise by
statistics after each: y = (conv(x) - mean) / sqrt(var + 0.001) + beta, which is folded into it, in float64.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from fingerprint.errors import CheckpointError, FingerprintError
from fingerprint.torch_files import Assembler, Name, read_tensors

_EPSILON = 1e-3

Arrays = dict[str, Float[np.ndarray, "..."]]


def inception(path: pathlib.Path) -> Arrays:
    """Inception-2015 from its TorchScript archive: 94 convolutions, named by their place, e.g. `mixed_3.tower.conv_1`.

    Raises:
        CheckpointError: not such an archive.
    """
    arrays: Arrays = {}

    def walk(node: dict[str, Any], name: str) -> None:
        if "weight" in node:
            arrays.update(
                _folded(name, node["weight"].transpose(2, 3, 1, 0), *(node[k] for k in ("mean", "var", "beta")))
            )
            return
        for key, child in node.items():
            if isinstance(child, dict):
                walk(child, f"{name}.{key}" if name else key)

    try:
        walk(read_tensors(path)["net"]["layers"], "")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{path} is not Inception-2015 as TorchScript: {error}") from error
    return arrays


def i3d(path: pathlib.Path) -> Arrays:
    """I3D (Kinetics-400) from a pickled Flax checkpoint: 57 convolutions and the classifier `logits`.

    Raises:
        CheckpointError: not such a file, or its pickle does anything but describe arrays in dicts.
    """
    return _of_flax(path, "I3D", _i3d_arrays)


def lpips(path: pathlib.Path) -> Arrays:
    """LPIPS (AlexNet) from a pickled Flax checkpoint: `conv_0` to `conv_4`, and heads `head_0` to `head_4` (channel).

    Raises:
        CheckpointError: not such a file, or its pickle does anything but describe arrays in dicts.
    """
    return _of_flax(path, "LPIPS", _lpips_arrays)


def _of_flax(path: pathlib.Path, network: str, arrays_of: Callable[[dict[str, Any]], Arrays]) -> Arrays:
    content = pathlib.Path(path).read_bytes()
    try:
        return arrays_of(_NumPyPickle(path).run(content))
    except FingerprintError:
        raise
    except Exception as error:  # a malformed file can fail anywhere in the reading
        raise CheckpointError(f"{path} is not {network}'s Flax checkpoint: {error}") from error


def _lpips_arrays(tree: dict[str, Any]) -> Arrays:
    arrays: Arrays = {}
    for i in range(5):
        layer = tree["AlexNet_0"][f"Conv_{i}"]
        arrays |= {f"conv_{i}.{part}": layer[part] for part in ("kernel", "bias")}
        arrays[f"head_{i}"] = tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].reshape(len(layer["bias"]))
    return arrays


def _i3d_arrays(tree: dict[str, Any]) -> Arrays:
    arrays: Arrays = {}

    def walk(params: dict[str, Any], statistics: dict[str, Any], name: str) -> None:
        for key, child in params.items():
            inner = f"{name}.{_short(key)}" if name else _short(key)
            if "BatchNorm_0" in child:
                kept, beta = statistics[key]["BatchNorm_0"], child["BatchNorm_0"]["bias"]
                arrays.update(_folded(inner, child["Conv_0"]["kernel"], kept["mean"], kept["var"], beta))
            elif "Conv_0" in child:
                kernel, bias = child["Conv_0"]["kernel"], child["Conv_0"]["bias"]
                arrays.update(
                    {f"{inner}.kernel": np.array(kernel, np.float32), f"{inner}.bias": np.array(bias, np.float32)}
                )
            else:
                walk(child, statistics[key], inner)

    walk(tree["params"], tree["batch_stats"], "")
    return arrays


def _short(key: str) -> str:
    """`Branch_1/Conv3d_0b_3x3` to `branch_1.conv_0b`, `Conv3d_2c_3x3` to `conv_2c`."""
    parts = (part.lower().replace("conv3d", "conv") for part in key.split("/"))
    return ".".join("_".join(part.split("_")[:2]) for part in parts)


def _folded(name: str, kernel: np.ndarray, mean: np.ndarray, var: np.ndarray, beta: np.ndarray) -> Arrays:
    kernel, (mean, var, beta) = kernel.astype(np.float64), (v.astype(np.float64).ravel() for v in (mean, var, beta))
    scale = 1 / np.sqrt(var + _EPSILON)
    return {
        f"{name}.kernel": np.ascontiguousarray(kernel * scale, np.float32),
        f"{name}.bias": (beta - mean * scale).astype(np.float32),
    }


class _NumPyPickle(Assembler):
    """Reads nested dicts of float32 arrays, as NumPy pickles them."""

    def step(self, name: str, argument: Any) -> None:
        match name:
            case "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8":
                self.stack.append(argument)
            case "BUILD":
                state, made = self.stack.pop(), self.stack.pop()
                self.stack.append(self.built(made, state))
            case _:
                super().step(name, argument)

    def call(self, function: Any, arguments: tuple) -> Any:
        match function, arguments:
            case "numpy dtype", ("f4", False, True):
                return Name("float32")
            case "numpy.core.multiarray _reconstruct", ("numpy ndarray", (0,), b"b"):
                return Name("array")
        raise CheckpointError(f"{self.path}: its pickle calls {function}{arguments}, which describes no float32 array")

    def built(self, made: Any, state: tuple) -> Any:
        match made, state:
            case "float32", (3, "<", None, None, None, -1, -1, 0):
                return made
            case "array", (1, shape, "float32", False, bytes(content)):
                return np.frombuffer(content, "<f4").reshape(shape)
        raise CheckpointError(f"{self.path}: its pickle gives {made} a state that describes no float32 array")
