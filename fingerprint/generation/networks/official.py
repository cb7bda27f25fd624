"""Official weight files of VBench's networks: looked for in the folder of weights, and checked array by array."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from fingerprint.errors import CheckpointError, WeightsMissing
from fingerprint.generation.networks import vbench, weights


def require(name: str, folder: str | os.PathLike | None = None) -> pathlib.Path:
    """The official file of the network behind the score `name`.

    Raises:
        WeightsMissing: it is not in the folder of weights.
    """
    network = vbench.NETWORKS[name]
    path = weights.folder_of(folder) / network.official
    if not path.is_file():
        raise WeightsMissing(
            f"{path} is not there: {name} wants {network.official} as published ({network.licence}), from "
            f"{network.address}, in the folder of weights"
        )
    return path


def checked(
    path: pathlib.Path, state: Any, shapes: Mapping[str, tuple[int, ...]], *, ignored: tuple[str, ...] = ()
) -> dict[str, Float[np.ndarray, "..."]]:
    """The arrays of a network, if they are all there, of the right shapes, finite, and nothing else is.

    Args:
        path: the file they come from.
        state: arrays by name, as the file holds them.
        shapes: wanted, by name.
        ignored: ends of names that count for nothing.

    Raises:
        CheckpointError: the file is another network's, or damaged.
    """
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds {type(state).__name__}, wanted the arrays of {path.name} by name")
    state = {str(key): value for key, value in state.items() if not str(key).endswith(ignored or "\0")}
    for wrong, what in ((shapes.keys() - state.keys(), "lacks"), (state.keys() - shapes.keys(), "also holds")):
        if wrong:
            raise CheckpointError(
                f"{path} {what} {len(wrong)} arrays, {min(wrong)} among them; wanted the {len(shapes)} of the "
                f"official {path.name}"
            )
    for name, shape in shapes.items():
        array = state[name]
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind != "f":
            found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise CheckpointError(f"{path}: {name} is {found}, wanted floats of shape {shape}")
        if not np.isfinite(array).all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite")
    return {name: state[name] for name in shapes}
