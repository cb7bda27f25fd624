"""ONNX Runtime, where it is installed: sessions that compute on one thread and ask nobody."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from fingerprint.errors import LibraryMissing, WeightsMissing

INSTALL = "pip install 'fingerprint[quality]'"


def session(path: pathlib.Path) -> Any:
    """A session of the network at `path`.

    Raises:
        LibraryMissing: ONNX Runtime is not installed.
        WeightsMissing: it cannot read the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise LibraryMissing(f"{path.name} wants ONNX Runtime, which is not installed: {INSTALL}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise WeightsMissing(f"{path} is no network that ONNX Runtime can read ({error})") from error


def run(network: Any, *inputs: np.ndarray) -> list[np.ndarray]:
    """All outputs of a network for inputs in its own order."""
    names = [entry.name for entry in network.get_inputs()]
    return network.run(None, dict(zip(names, inputs, strict=True)))
