"""Import released AVAPrintDB graph weights: `python -m fingerprint.import_weights CHECKPOINT.pt --out MODEL_DIR`."""

from __future__ import annotations

import argparse
import hashlib
import pathlib
import sys
from typing import Any

import numpy as np
from jaxtyping import Float

from fingerprint.errors import CheckpointError, FingerprintError
from fingerprint.landmarks import topology
from fingerprint.torch_files import read_tensors

_LAYERS = ("gcn1", "gcn2", "gcn3")


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
