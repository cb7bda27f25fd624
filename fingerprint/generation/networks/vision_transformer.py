"""Vision transformers in JAX: DINO's ViT-B/16, CLIP's ViT-B/32 and ViT-L/14, and LAION's aesthetic score on the last.

Weights are read as their authors publish them; CLIP's, stored in float16, are computed with in float32, as its own code
does on a CPU. Frames are prepared as VBench does: the shorter side becomes 224 without antialiasing, on values that are
not rounded; CLIP then sees the middle square, DINO all whole patches of 16 by 16.

Source: Dosovitskiy et al. (2010.11929); vision_transformer.py of facebookresearch/dino (Apache-2.0); clip/model.py of
openai/CLIP (MIT); LAION-AI/aesthetic-predictor (MIT); vbench/utils.py and {subject,background}_consistency.py and
aesthetic_quality.py of vbench 0.1.5.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, UInt8

from fingerprint.errors import CheckpointError
from fingerprint.generation.networks import official
from fingerprint.generation.networks.layers import Params, cubic, in_flight, resize
from fingerprint.torch_files import read_tensors

HEAD_WIDTH = 64
_EXACT = lax.Precision.HIGHEST

Frames = UInt8[np.ndarray, "frame height width 3"]
Tokens = Float[Array, "frame token width"]


@dataclasses.dataclass(frozen=True)
class Family:
    """What DINO and CLIP do differently.

    Attributes:
        mean, deviation: of RGB in [0, 1], taken out. epsilon: of the normalisations.
        names: of the official arrays by ours. block: the same for the arrays of block `{}`.
    """

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    epsilon: float
    names: dict[str, str]
    block: dict[str, str]


def _affine(ours: str, theirs: str, kernel: str = "kernel", separator: str = ".") -> dict[str, str]:
    return {f"{ours}.{kernel}": f"{theirs}{separator}weight", f"{ours}.bias": f"{theirs}{separator}bias"}


_DINO = Family(
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
    1e-6,
    {"class": "cls_token", "positions": "pos_embed"}
    | _affine("patches", "patch_embed.proj")
    | _affine("after", "norm", "scale"),
    _affine("norm_1", "blocks.{}.norm1", "scale")
    | _affine("qkv", "blocks.{}.attn.qkv")
    | _affine("out", "blocks.{}.attn.proj")
    | _affine("norm_2", "blocks.{}.norm2", "scale")
    | _affine("wide", "blocks.{}.mlp.fc1")
    | _affine("narrow", "blocks.{}.mlp.fc2"),
)
_CLIP = Family(
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
    1e-5,
    {"class": "class_embedding", "positions": "positional_embedding", "patches.kernel": "conv1.weight"}
    | {"projection": "proj"}
    | _affine("before", "ln_pre", "scale")
    | _affine("after", "ln_post", "scale"),
    _affine("norm_1", "transformer.resblocks.{}.ln_1", "scale")
    | _affine("qkv", "transformer.resblocks.{}.attn.in_proj", separator="_")
    | _affine("out", "transformer.resblocks.{}.attn.out_proj")
    | _affine("norm_2", "transformer.resblocks.{}.ln_2", "scale")
    | _affine("wide", "transformer.resblocks.{}.mlp.c_fc")
    | _affine("narrow", "transformer.resblocks.{}.mlp.c_proj"),
)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A vision transformer.

    Attributes:
        family: whose. width: of a token. depth: number of blocks. patch: its side in pixels.
        output: width of CLIP's projection. side: the shorter one of what the network sees.
    """

    family: Literal["dino", "clip"]
    width: int
    depth: int
    patch: int
    output: int = 0
    side: int = 224

    @property
    def of(self) -> Family:
        """What its family has in common."""
        return _CLIP if self.family == "clip" else _DINO

    @property
    def grid(self) -> int:
        """Patches along a side of the square that it was trained with."""
        return self.side // self.patch

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the official arrays, by their official names."""
        width, positions = self.width, self.grid**2 + 1
        dino = self.family == "dino"
        ours = {
            "class": (1, 1, width) if dino else (width,),
            "positions": (1, positions, width) if dino else (positions, width),
            "patches.kernel": (width, 3, self.patch, self.patch),
            "projection": (width, self.output),
        }
        block = {
            "qkv.kernel": (3 * width, width),
            "qkv.bias": (3 * width,),
            "out.kernel": (width, width),
            "wide.kernel": (4 * width, width),
            "wide.bias": (4 * width,),
            "narrow.kernel": (width, 4 * width),
        }
        out = {theirs: ours.get(name, (width,)) for name, theirs in self.of.names.items()}
        for i in range(self.depth):
            out |= {theirs.format(i): block.get(name, (width,)) for name, theirs in self.of.block.items()}
        return out


ARCHITECTURES = {
    "subject_consistency": Architecture("dino", 768, 12, 16),
    "background_consistency": Architecture("clip", 768, 12, 32, 512),
    "aesthetic_quality": Architecture("clip", 1024, 24, 14, 768),
}


def load(score: str, folder: str | os.PathLike | None = None) -> Params:
    """The weights of the network behind a score, on the device, those of all blocks stacked.

    Args:
        score: of `ARCHITECTURES`.
        folder: of weights.

    Raises:
        WeightsMissing: a file is not in the folder of weights.
        CheckpointError: it is another file.
    """
    architecture, path = ARCHITECTURES[score], official.require(score, folder)
    state = official.checked(path, _state(path, architecture), architecture.shapes())
    params = _arranged(architecture, state)
    if score == "aesthetic_quality":
        path = official.require("aesthetic_head", folder)
        head = official.checked(path, read_tensors(path), {"weight": (1, architecture.output), "bias": (1,)})
        params |= {"score.kernel": jnp.asarray(head["weight"].T), "score.bias": jnp.asarray(head["bias"])}
    return params


def _state(path: pathlib.Path, architecture: Architecture) -> Any:
    """What the official file holds by name; of CLIP's archive, the wanted part of what sees."""
    if architecture.family == "dino":
        return read_tensors(path)
    found = _attributes(read_tensors(path, "visual"))
    return {name: found[name] for name in architecture.shapes() if name in found}


def _attributes(module: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays of TorchScript modules in modules, by dotted names."""
    if not isinstance(module, dict):
        raise CheckpointError(f"{prefix or 'visual'} is {type(module).__name__}, wanted a TorchScript module")
    out = {f"{prefix}{key}": value for key, value in module.items() if isinstance(value, np.ndarray)}
    for key, value in module.items():
        if isinstance(value, dict):
            out |= _attributes(value, f"{prefix}{key}.")
    return out


def _arranged(architecture: Architecture, state: dict[str, np.ndarray]) -> Params:
    """Our names and axes; `state` is emptied on the way, so that large weights are not held twice."""
    params: Params = {}
    for ours, theirs in architecture.of.names.items():
        params[ours] = jnp.asarray(_turned(ours, state.pop(theirs)), jnp.float32)
    for ours, theirs in architecture.of.block.items():
        layers = [_turned(ours, state.pop(theirs.format(i))) for i in range(architecture.depth)]
        params[f"blocks.{ours}"] = jnp.asarray(np.stack(layers), jnp.float32)
    return params


def _turned(name: str, values: np.ndarray) -> np.ndarray:
    """Matrices from (out, in) to (in, out), of patches with rows, columns and colours as `in`."""
    match name:
        case "patches.kernel":
            return values.transpose(2, 3, 1, 0).reshape(-1, values.shape[0])
        case "class":
            return values.reshape(-1)
        case "positions":
            return values.reshape(-1, values.shape[-1])
    return values.T if name.endswith(".kernel") else values


def features(
    params: Params, architecture: Architecture, frames: Frames, *, batch: int | None = None
) -> Float32[np.ndarray, "frame feature"]:
    """What the network says of each frame: DINO's class token, or CLIP's `encode_image`.

    Args:
        params: as `load` gives them.
        architecture: theirs.
        frames: RGB of any size.
        batch: frames in flight, by default 4 on a CPU and 64 elsewhere; results do not depend on it.
    """
    batch, out = in_flight(batch, 4, 64), []
    for start in range(0, len(frames), batch):
        part = frames[start : start + batch]
        full = np.pad(part, ((0, batch - len(part)), (0, 0), (0, 0), (0, 0)))
        out.append(np.asarray(_network(params, _prepared(full, architecture), architecture))[: len(part)])
    return np.concatenate(out)


def aesthetic_scores(
    params: Params, architecture: Architecture, frames: Frames, *, batch: int | None = None
) -> Float32[np.ndarray, " frame"]:
    """LAION's score of each frame, about 0 to 10; arguments as in `features`."""
    vectors = features(params, architecture, frames, batch=batch)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.asarray(_affinely(params, "score", vectors))[:, 0]


@functools.partial(jax.jit, static_argnums=1)
def _prepared(frames: UInt8[Array, "frame height width 3"], architecture: Architecture) -> Float[Array, "frame h w 3"]:
    """Frames at the size that the network sees, a mean and a deviation taken out."""
    side, (height, width) = architecture.side, frames.shape[1:3]
    new = (side, int(side * width / height)) if height <= width else (int(side * height / width), side)
    if architecture.family == "dino":
        x = resize(frames.astype(jnp.float32), new, "centre")
    else:
        x = frames
        for axis, (old, count) in enumerate(zip((height, width), new, strict=True), 1):
            first = round((count - side) / 2)
            x = cubic(x, axis, (np.arange(first, first + side) + 0.5) * old / count - 0.5)
    return (x / 255 - jnp.array(architecture.of.mean)) / jnp.array(architecture.of.deviation)


@functools.partial(jax.jit, static_argnums=2)
def _network(params: Params, x: Float[Array, "frame height width 3"], architecture: Architecture):
    epsilon = architecture.of.epsilon
    x = _tokens(params, x, architecture)
    if "before.scale" in params:
        x = _normalised(params, "before", x, epsilon)
    blocks = {name.removeprefix("blocks."): v for name, v in params.items() if name.startswith("blocks.")}
    x, _ = lax.scan(lambda x, block: (_block(block, x, architecture), None), x, blocks)
    x = _normalised(params, "after", x[:, 0], epsilon)
    return jnp.dot(x, params["projection"], precision=_EXACT) if "projection" in params else x


def _tokens(params: Params, x: Float[Array, "frame height width 3"], architecture: Architecture) -> Tokens:
    """The class and all whole patches, each with its place."""
    frames, height, width, _ = x.shape
    patch = architecture.patch
    rows, columns = height // patch, width // patch
    x = x[:, : rows * patch, : columns * patch].reshape(frames, rows, patch, columns, patch, 3)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(frames, rows * columns, -1)
    x = jnp.einsum("fpv,vw->fpw", x, params["patches.kernel"], precision=_EXACT) + params.get("patches.bias", 0)
    first = jnp.broadcast_to(params["class"], (frames, 1, architecture.width))
    places = params["positions"]
    if height != width:
        places = _interpolated(places, architecture.grid, (rows, columns))
    return jnp.concatenate([first, x], 1) + places


def _interpolated(
    positions: Float[Array, "place width"], grid: int, new: tuple[int, int]
) -> Float[Array, "new_place width"]:
    """DINO's positions on another grid: a tenth of a patch is added to its sides before the scale is taken."""
    x = positions[1:].reshape(grid, grid, -1)
    for axis, count in enumerate(new):
        x = cubic(x, axis, (np.arange(count) + 0.5) * np.float32(grid / (count + 0.1)) - 0.5)
    return jnp.concatenate([positions[:1], x.reshape(-1, x.shape[-1])])


def _block(block: Params, x: Tokens, architecture: Architecture) -> Tokens:
    epsilon = architecture.of.epsilon
    x = x + _attention(block, _normalised(block, "norm_1", x, epsilon))
    wide = _affinely(block, "wide", _normalised(block, "norm_2", x, epsilon))
    if architecture.family == "clip":
        wide = wide * jax.nn.sigmoid(1.702 * wide)
    else:
        wide = jax.nn.gelu(wide, approximate=False)
    return x + _affinely(block, "narrow", wide)


def _attention(block: Params, x: Tokens) -> Tokens:
    frames, tokens, width = x.shape
    qkv = _affinely(block, "qkv", x).reshape(frames, tokens, 3, width // HEAD_WIDTH, HEAD_WIDTH)
    q, k, v = (qkv[:, :, i].swapaxes(1, 2) for i in range(3))
    weight = jnp.einsum("fhqd,fhkd->fhqk", q, k, precision=_EXACT) * HEAD_WIDTH**-0.5
    x = jnp.einsum("fhqk,fhkd->fhqd", jax.nn.softmax(weight, -1), v, precision=_EXACT)
    return _affinely(block, "out", x.swapaxes(1, 2).reshape(frames, tokens, width))


def _affinely(params: Params, name: str, x: Float[Array, "*item old"]) -> Float[Array, "*item new"]:
    return jnp.dot(x, params[f"{name}.kernel"], precision=_EXACT) + params[f"{name}.bias"]


def _normalised(params: Params, name: str, x: Float[Array, "*item width"], epsilon: float):
    x = x - x.mean(-1, keepdims=True)
    x = x * lax.rsqrt((x * x).mean(-1, keepdims=True) + epsilon)
    return x * params[f"{name}.scale"] + params[f"{name}.bias"]
