"""RAFT, optical flow between two frames, in JAX: the full model, trained on FlyingThings, 20 iterations.

Weights are read as their authors publish them, `raft-things.pth`. The context network's normalisation by statistics is
folded into its convolutions. The correlation of all places takes (height * width / 64)^2 * 4 bytes and a third more: 85
MiB at 512 by 512. Where it would take more than 2 GiB (from about 1130 by 1130 pixels; 5.6 GB at 1080p) only those
values are formed that an iteration looks at: the same numbers in about twice the time, without the memory. The original
keeps all of them at any size.

Source: Teed and Deng, RAFT: Recurrent All-Pairs Field Transforms for Optical Flow (2003.12039); core/{raft,update}.py
of princeton-vl/RAFT (BSD-3-Clause), as vbench 0.1.5 carries and calls it (dynamic_degree.py).
"""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, UInt8

from fingerprint.generation.networks import correspondence, official
from fingerprint.generation.networks.correspondence import Correlation, convolution, convolution_shapes, convolved
from fingerprint.generation.networks.layers import Params
from fingerprint.torch_files import read_tensors

ITERATIONS = 20
_RADIUS = 4
_HIDDEN = 128
_WIDTHS, _FEATURES = (64, 96, 128), 256
_WINDOW = correspondence.LEVELS * (2 * _RADIUS + 1) ** 2
_STATISTICS = ("weight", "bias", "running_mean", "running_var")

Map = Float[Array, "1 height width channel"]


def load(folder: str | os.PathLike | None = None) -> Params:
    """The network's weights, on the device.

    Raises:
        WeightsMissing: `raft-things.pth` is not in the folder of weights.
        CheckpointError: it is another file.
    """
    path = official.require("dynamic_degree", folder)
    state = read_tensors(path)
    if isinstance(state, dict):
        state = {str(key).removeprefix("module."): value for key, value in state.items()}
    state = official.checked(path, state, shapes(), ignored=(".num_batches_tracked",))
    return jax.device_put(correspondence.kernels(_folded(state)))


def flow(
    params: Params, before: UInt8[np.ndarray, "height width 3"], after: UInt8[np.ndarray, "height width 3"]
) -> Float32[np.ndarray, "padded_height padded_width 2"]:
    """Motion from one frame to the next, x and y in pixels, of RGB frames of any size.

    The frames' edges go on to sides that are multiples of 8, half before and half behind, and as in VBench the motion
    of what is added is given too.
    """
    first, second = (correspondence.padded(frame, 8)[0] for frame in (before, after))
    return np.asarray(_network(params, first, second))


def shapes() -> correspondence.Shapes:
    """What `raft-things.pth` holds, by name."""
    out = correspondence.encoder_shapes("fnet", _WIDTHS, _FEATURES, bottleneck=False)
    out |= correspondence.encoder_shapes("cnet", _WIDTHS, 2 * _HIDDEN, bottleneck=False)
    for norm, convolved_by in _normalised(out).items():
        out |= {f"{norm}.{part}": out[f"{convolved_by}.bias"] for part in _STATISTICS}
    block, gated = "update_block", 3 * _HIDDEN
    out |= convolution_shapes(f"{block}.encoder.convc1", _WINDOW, 256, 1)
    out |= convolution_shapes(f"{block}.encoder.convc2", 256, 192, 3)
    out |= convolution_shapes(f"{block}.encoder.convf1", 2, 128, 7)
    out |= convolution_shapes(f"{block}.encoder.convf2", 128, 64, 3)
    out |= convolution_shapes(f"{block}.encoder.conv", 256, 126, 3)
    for gate in "zrq":
        out |= convolution_shapes(f"{block}.gru.conv{gate}1", gated, _HIDDEN, 1, 5)
        out |= convolution_shapes(f"{block}.gru.conv{gate}2", gated, _HIDDEN, 5, 1)
    out |= convolution_shapes(f"{block}.flow_head.conv1", _HIDDEN, 256, 3)
    out |= convolution_shapes(f"{block}.flow_head.conv2", 256, 2, 3)
    out |= convolution_shapes(f"{block}.mask.0", _HIDDEN, 256, 3)
    return out | convolution_shapes(f"{block}.mask.2", 256, 64 * 9, 1)


def _normalised(names) -> dict[str, str]:
    """Each normalisation of the context network and the convolution before it; that of a shortcut has two names."""
    out = {}
    for name in (key.removesuffix(".weight") for key in names if key.startswith("cnet.") and key.endswith(".weight")):
        head, _, last = name.rpartition(".")
        if name == "cnet.conv2":
            continue
        if last == "0":  # of `downsample`
            out |= {f"{head}.1": name, f"{head.removesuffix('downsample')}norm3": name}
        else:
            out[f"{head}.norm{last[-1]}"] = name
    return out


def _folded(state: dict[str, Float[np.ndarray, "..."]]) -> dict[str, Float[np.ndarray, "..."]]:
    """Without the context network's normalisations, whose work its convolutions then do."""
    norms = _normalised(key for key in state if state[key].ndim == 4)
    statistics = {f"{norm}.{part}" for norm in norms for part in _STATISTICS}
    out = {key: value for key, value in state.items() if key not in statistics}
    for norm, name in norms.items():
        if norm.endswith(".norm3"):
            continue  # PyTorch stores it twice, and reads the other one last
        weight, bias, mean, variance = (state[f"{norm}.{part}"].astype(np.float64) for part in _STATISTICS)
        factor = weight / np.sqrt(variance + 1e-5)
        out[f"{name}.weight"] = state[f"{name}.weight"] * factor[:, None, None, None]
        out[f"{name}.bias"] = (state[f"{name}.bias"] - mean) * factor + bias
    return out


@jax.jit
def _network(
    params: Params, before: UInt8[Array, "height width 3"], after: UInt8[Array, "height width 3"]
) -> Float[Array, "height width 2"]:
    both = 2 * (jnp.stack([before, after]).astype(jnp.float32) / 255) - 1
    features = correspondence.encoder(params, "fnet", both, correspondence.instance_normalised)
    found = correspondence.correlation(*features)
    context = correspondence.encoder(params, "cnet", both[:1], lambda x: x)
    hidden, context = jnp.tanh(context[..., :_HIDDEN]), jax.nn.relu(context[..., _HIDDEN:])
    still = correspondence.grid(*features.shape[1:3])
    shares = _shares(params, context)

    def step(state, _):
        hidden, places = state
        moved = _motion(params, found, places, places - still)
        for turn in (1, 2):
            hidden = _gated(params, turn, hidden, moved, shares[turn])
        return (hidden, places + _head(params, "flow_head.conv1", "flow_head.conv2", hidden)[0]), None

    (hidden, places), _ = lax.scan(step, (hidden, still), None, ITERATIONS)
    return _upsampled(places - still, 0.25 * _head(params, "mask.0", "mask.2", hidden)[0])


def _motion(params: Params, found: Correlation, places: Float[Array, "height width 2"], motion) -> Map:
    """What the update knows: correlation around the present places, and the present motion itself."""
    name = "update_block.encoder"
    seen = correspondence.looked_up(found, places, _RADIUS)[None]
    seen = jax.nn.relu(convolution(params, f"{name}.convc1", seen))
    seen = jax.nn.relu(convolution(params, f"{name}.convc2", seen))
    motion = motion[None]
    moved = jax.nn.relu(convolution(params, f"{name}.convf1", motion))
    moved = jax.nn.relu(convolution(params, f"{name}.convf2", moved))
    out = jax.nn.relu(convolution(params, f"{name}.conv", jnp.concatenate([seen, moved], -1)))
    return jnp.concatenate([out, motion], -1)


def _kernel(params: Params, gate: str, turn: int) -> Float[Array, "k_height k_width channel feature"]:
    return params[f"update_block.gru.conv{gate}{turn}.kernel"]


def _shares(params: Params, context: Map) -> dict[int, dict[str, Map]]:
    """The context's share of every gate: it is the same in all iterations."""
    kept = slice(_HIDDEN, 2 * _HIDDEN)
    return {
        turn: {
            gate: convolved(context, _kernel(params, gate, turn)[:, :, kept])
            + params[f"update_block.gru.conv{gate}{turn}.bias"]
            for gate in "zrq"
        }
        for turn in (1, 2)
    }


def _gated(params: Params, turn: int, hidden: Map, moved: Map, shares: dict[str, Map]) -> Map:
    """One turn of the gated unit: along x, then along y."""

    def gate(name: str, hidden: Map) -> Map:
        kernel = _kernel(params, name, turn)
        kernel = jnp.concatenate([kernel[:, :, :_HIDDEN], kernel[:, :, 2 * _HIDDEN :]], 2)
        return convolved(jnp.concatenate([hidden, moved], -1), kernel) + shares[name]

    update, reset = jax.nn.sigmoid(gate("z", hidden)), jax.nn.sigmoid(gate("r", hidden))
    return (1 - update) * hidden + update * jnp.tanh(gate("q", reset * hidden))


def _head(params: Params, first: str, second: str, hidden: Map) -> Map:
    x = jax.nn.relu(convolution(params, f"update_block.{first}", hidden))
    return convolution(params, f"update_block.{second}", x)


def _upsampled(
    motion: Float[Array, "height width 2"], mask: Float[Array, "height width 576"]
) -> Float[Array, "full_height full_width 2"]:
    """Motion at eight times the size: each pixel a weighted mean of the nine places around its own, 0 outside."""
    height, width = motion.shape[:2]
    share = jax.nn.softmax(mask.reshape(height, width, 9, 8, 8), 2)
    wide = jnp.pad(8 * motion, ((1, 1), (1, 1), (0, 0)))
    around = jnp.stack([wide[y : y + height, x : x + width] for y in range(3) for x in range(3)], 2)
    out = jnp.einsum("hwnyx,hwnc->hywxc", share, around, precision=lax.Precision.HIGHEST)
    return out.reshape(8 * height, 8 * width, 2)
