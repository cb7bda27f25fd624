"""ONNX Runtime, where it is installed: sessions that compute on the CPU and ask nobody."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fingerprint.errors import LibraryMissing, WeightsMissing

INSTALL = "pip install 'fingerprint[quality]'"

Shape = tuple[int | None, ...]


def session(path: pathlib.Path, takes: Sequence[Shape] | None = None, *, threads: int = 0) -> Any:
    """A session of the network at `path`.

    Args:
        path: an ONNX file.
        takes: shapes of its float32 inputs, where None is any length; default: whatever it takes.
        threads: 0: as many as there are cores.

    Raises:
        LibraryMissing: ONNX Runtime is not installed.
        WeightsMissing: it cannot read the file, or the network takes something else.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise LibraryMissing(f"{path.name} wants ONNX Runtime, which is not installed: {INSTALL}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    try:
        network = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise WeightsMissing(f"{path} is no network that ONNX Runtime can read ({error})") from error
    found = network.get_inputs()
    if takes is not None and not (len(found) == len(takes) and all(map(_fits, found, takes))):
        wanted = ", ".join(f"float32 {list(shape)}".replace("None", "any") for shape in takes)
        raise WeightsMissing(f"{path} is another network than wanted: it takes {_inputs(network)}; wanted {wanted}")
    return network


def run(network: Any, *inputs: np.ndarray) -> list[np.ndarray]:
    """All outputs of a network for inputs in its own order.

    Raises:
        WeightsMissing: the network does not compute with such inputs: it is another than wanted.
    """
    names = [entry.name for entry in network.get_inputs()]
    try:
        return network.run(None, dict(zip(names, inputs, strict=True)))
    except Exception as error:  # its errors have no base of their own
        given = ", ".join(f"{array.dtype} {list(array.shape)}" for array in inputs)
        raise WeightsMissing(f"a network that takes {_inputs(network)} fails on {given} ({error})") from error


def _fits(found: Any, wanted: Shape) -> bool:
    """Whether an input can take that shape; where its own lengths have names or none, it takes any."""
    lengths = zip(found.shape, wanted, strict=False)
    return (
        found.type == "tensor(float)"
        and len(found.shape) == len(wanted)
        and all(have == want or want is None or not isinstance(have, int) for have, want in lengths)
    )


def _inputs(network: Any) -> str:
    return ", ".join(f"{entry.name}: {entry.type} {entry.shape}" for entry in network.get_inputs())
