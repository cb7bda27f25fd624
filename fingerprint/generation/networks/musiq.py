"""MUSIQ trained on SPAQ, the picture's technical quality, in JAX: the network of VBench's imaging quality.

A frame is seen at three sizes, each cut into patches of 32 by 32. A small convolutional stem makes a token of each
patch, which learns its place on a grid of 10 by 10 and its size; 14 transformer layers follow. The original fills each
size up with empty patches and masks them with -1000 in the softmax, where they count for exp(-1000), zero in float32:
here there are none.

Source: Ke et al., MUSIQ: Multi-scale Image Quality Transformer (2108.05997); pyiqa 0.1.16 (archs/musiq_arch.py,
data/multiscale_trans_util.py) as vbench 0.1.5 calls it (imaging_quality.py, mode `longer`).
"""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, UInt8

from fingerprint.generation.networks import official
from fingerprint.generation.networks.layers import Params, cubic, in_flight, max_pool, resize
from fingerprint.torch_files import read_tensors

LONGEST = 512
"""VBench makes larger frames so small before the network sees them."""
SIDES = (224, 384)
"""Longer sides of the two sizes beside the frame's own."""
_PATCH, _GRID, _GROUPS = 32, 10, 32
_WIDTH, _WIDE, _HEADS, _LAYERS = 384, 1152, 6, 14
_CONVOLUTIONS = {
    "conv_root": (64, 3, 7, 7),
    "block1.conv1": (64, 64, 1, 1),
    "block1.conv2": (64, 64, 3, 3),
    "block1.conv3": (256, 64, 1, 1),
    "block1.conv_proj": (256, 64, 1, 1),
}
_TOKEN = 256 * (_PATCH // 4) ** 2
_ENCODER, _QKV = "transformer_encoder", ("query", "key", "value")
_EXACT = lax.Precision.HIGHEST

Tokens = Float[Array, "frame token 384"]
Images = Float[Array, "patch height width channel"]


def load(folder: str | os.PathLike | None = None) -> Params:
    """The network's weights, on the device.

    Raises:
        WeightsMissing: `musiq_spaq_ckpt-358bb6af.pth` is not in the folder of weights.
        CheckpointError: it is another file.
    """
    path = official.require("imaging_quality", folder)
    state = read_tensors(path)
    if isinstance(state, dict):
        state = {str(key).removeprefix("module."): value for key, value in state.items()}
    return jax.device_put(arranged(official.checked(path, state, shapes())))


def shapes() -> dict[str, tuple[int, ...]]:
    """What the official file holds, by name."""
    out: dict[str, tuple[int, ...]] = {}

    def affine(name: str, *shape: int) -> None:
        out.update({f"{name}.weight": shape, f"{name}.bias": shape[:1]})

    for name, shape in _CONVOLUTIONS.items():
        out[f"{name}.weight"] = shape
        affine(_norm_after(name), shape[0])
    affine("embedding", _WIDTH, _TOKEN)
    out[f"{_ENCODER}.posembed_input.position_emb"] = (1, _GRID**2, _WIDTH)
    out[f"{_ENCODER}.scaleembed_input.scale_emb"] = (len(SIDES) + 1, _WIDTH)
    out[f"{_ENCODER}.cls"] = (1, 1, _WIDTH)
    affine(f"{_ENCODER}.encoder_norm", _WIDTH)
    for layer in range(_LAYERS):
        block = f"{_ENCODER}.transformer.encoderblock_{layer}"
        for name in ("norm1", "norm2"):
            affine(f"{block}.{name}", _WIDTH)
        for name in (*_QKV, "out"):
            affine(f"{block}.attention.{name}", _WIDTH, _WIDTH)
        affine(f"{block}.mlp.fc1", _WIDE, _WIDTH)
        affine(f"{block}.mlp.fc2", _WIDTH, _WIDE)
    affine("head", 1, _WIDTH)
    return out


def arranged(state: dict[str, Float[np.ndarray, "..."]]) -> Params:
    """The official arrays as the network takes them.

    Kernels are standardised as the original does it anew for every picture; matrices are (in, out), those of all layers
    stacked.
    """
    params: Params = {}
    for name in _CONVOLUTIONS:
        kernel = state[f"{name}.weight"].astype(np.float64)
        kernel -= kernel.mean((1, 2, 3), keepdims=True)
        kernel /= kernel.std((1, 2, 3), ddof=1, keepdims=True) + 1e-5
        params[f"{name}.kernel"] = kernel.transpose(2, 3, 1, 0).astype(np.float32)
        for part in ("weight", "bias"):
            params[f"{_norm_after(name)}.{part}"] = state[f"{_norm_after(name)}.{part}"]
    params["places"] = state[f"{_ENCODER}.posembed_input.position_emb"][0]
    params["sizes"] = state[f"{_ENCODER}.scaleembed_input.scale_emb"]
    params["first"] = state[f"{_ENCODER}.cls"][0, 0]
    for part in ("weight", "bias"):
        params[f"last.{part}"] = state[f"{_ENCODER}.encoder_norm.{part}"]
        for name in ("embedding", "head"):
            params[f"{name}.{part}"] = state[f"{name}.{part}"].T
        blocks = [f"{_ENCODER}.transformer.encoderblock_{layer}" for layer in range(_LAYERS)]
        for name in ("norm1", "norm2", "attention.out", "mlp.fc1", "mlp.fc2"):
            params[f"blocks.{name}.{part}"] = np.stack([state[f"{block}.{name}.{part}"].T for block in blocks])
        qkv = [np.concatenate([state[f"{block}.attention.{name}.{part}"].T for name in _QKV], -1) for block in blocks]
        params[f"blocks.attention.qkv.{part}"] = np.stack(qkv)
    return {name: np.ascontiguousarray(values, np.float32) for name, values in params.items()}


def scores(
    params: Params, frames: UInt8[np.ndarray, "frame height width 3"], *, batch: int | None = None
) -> Float32[np.ndarray, " frame"]:
    """Quality of each frame, about 0 to 100.

    Args:
        params: as `load` gives them.
        frames: RGB of any size.
        batch: frames in flight, by default 1 on a CPU and 16 elsewhere; results do not depend on it.
    """
    batch = in_flight(batch, 1, 16)
    out = np.empty(len(frames), np.float32)
    for start in range(0, len(frames), batch):
        part = frames[start : start + batch]
        full = np.pad(part, ((0, batch - len(part)), (0, 0), (0, 0), (0, 0)))
        out[start : start + len(part)] = _network(params, full)[: len(part)]
    return out


@jax.jit
def _network(params: Params, frames: UInt8[Array, "frame height width 3"]) -> Float[Array, " frame"]:
    x = _shrunk(frames.astype(jnp.float32)) / 255 * 2 - 1
    seen = [_resized(x, side) for side in SIDES] + [x]
    patches = jnp.concatenate([_patches(x) for x in seen], 1)
    places = jnp.concatenate([params["sizes"][i] + params["places"][hashed(x.shape)] for i, x in enumerate(seen)])
    x = _stem(params, patches.reshape(-1, *patches.shape[2:])).reshape(*patches.shape[:2], -1)
    x = _affinely(params, "embedding", x) + places
    x = jnp.concatenate([jnp.broadcast_to(params["first"], (len(x), 1, _WIDTH)), x], 1)
    blocks = {name.removeprefix("blocks."): v for name, v in params.items() if name.startswith("blocks.")}
    x, _ = lax.scan(lambda x, block: (_block(block, x), None), x, blocks)
    return _affinely(params, "head", _normalised(params, "last", x[:, 0]))[:, 0]


def _shrunk(x: Float[Array, "frame height width 3"]) -> Float[Array, "frame h w 3"]:
    """As VBench does it: rounded down, without antialiasing."""
    height, width = x.shape[1:3]
    scale = LONGEST / max(height, width)
    return resize(x, (int(scale * height), int(scale * width)), "centre") if scale < 1 else x


def _resized(x: Float[Array, "frame height width 3"], side: int) -> Float[Array, "frame h w 3"]:
    ratio = side / max(x.shape[1:3])
    for axis in (2, 1):
        old, new = x.shape[axis], round(x.shape[axis] * ratio)
        x = cubic(x, axis, (np.arange(new) + 0.5) * old / new - 0.5)
    return x


def _patches(x: Float[Array, "frame height width 3"]) -> Float[Array, "frame patch 32 32 3"]:
    """Row by row, zeros around a picture whose sides are no multiples: half before, the odd one behind."""
    missing = [-side % _PATCH for side in x.shape[1:3]]
    x = jnp.pad(x, ((0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)))
    frames, height, width, _ = x.shape
    x = x.reshape(frames, height // _PATCH, _PATCH, width // _PATCH, _PATCH, 3)
    return x.swapaxes(2, 3).reshape(frames, -1, _PATCH, _PATCH, 3)


def hashed(shape: tuple[int, ...]) -> np.ndarray:
    """Place of each patch of pictures [frame, height, width, 3] on the grid, row by row; [patch]."""
    rows, columns = (np.arange(n) * _GRID // n for n in (-(-side // _PATCH) for side in shape[1:3]))
    return (rows[:, None] * _GRID + columns).ravel()


def _stem(params: Params, x: Images) -> Images:
    """A ResNet's first layers, from 32 x 32 x 3 to 8 x 8 x 256."""
    x = jax.nn.relu(_convolved(params, "conv_root", x, 1e-6, stride=2))
    x = max_pool(x, (3, 3), (2, 2), "SAME")
    beside = _convolved(params, "block1.conv_proj", x)
    for name in ("block1.conv1", "block1.conv2"):
        x = jax.nn.relu(_convolved(params, name, x))
    return jax.nn.relu(_convolved(params, "block1.conv3", x) + beside)


def _convolved(params: Params, name: str, x: Images, epsilon: float = 1e-4, stride: int = 1) -> Images:
    """The convolution and its normalisation over groups of channels and all places."""
    x = lax.conv_general_dilated(
        x,
        params[f"{name}.kernel"],
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=_EXACT,
    )
    shape, norm = x.shape, _norm_after(name)
    groups = x.reshape(*shape[:3], _GROUPS, -1)
    groups -= groups.mean((1, 2, 4), keepdims=True)
    groups *= lax.rsqrt(jnp.square(groups).mean((1, 2, 4), keepdims=True) + epsilon)
    return groups.reshape(shape) * params[f"{norm}.weight"] + params[f"{norm}.bias"]


def _norm_after(convolution: str) -> str:
    return convolution.replace("conv", "gn")


def _block(block: Params, x: Tokens) -> Tokens:
    frames, tokens, width = x.shape
    qkv = _affinely(block, "attention.qkv", _normalised(block, "norm1", x))
    q, k, v = jnp.moveaxis(qkv.reshape(frames, tokens, 3, _HEADS, width // _HEADS), (2, 3), (0, 2))
    weight = jnp.einsum("fhqd,fhkd->fhqk", q, k, precision=_EXACT) * (width // _HEADS) ** -0.5
    seen = jnp.einsum("fhqk,fhkd->fqhd", jax.nn.softmax(weight, -1), v, precision=_EXACT)
    x = x + _affinely(block, "attention.out", seen.reshape(frames, tokens, width))
    wide = jax.nn.gelu(_affinely(block, "mlp.fc1", _normalised(block, "norm2", x)), approximate=False)
    return x + _affinely(block, "mlp.fc2", wide)


def _affinely(params: Params, name: str, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
    return jnp.dot(x, params[f"{name}.weight"], precision=_EXACT) + params[f"{name}.bias"]


def _normalised(params: Params, name: str, x: Float[Array, "*batch 384"]) -> Float[Array, "*batch 384"]:
    x = x - x.mean(-1, keepdims=True)
    x *= lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6)
    return x * params[f"{name}.weight"] + params[f"{name}.bias"]
