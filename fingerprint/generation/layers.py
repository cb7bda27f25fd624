"""Layers that Inception-2015 and I3D share: convolutions with folded normalisation, pooling, resizing. Channels last.

Convolutions ask for full float32: a GPU or TPU would otherwise multiply with 10 or 7 bits of mantissa.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

Params = dict[str, Float[Array, "..."]]


def convolution(
    params: Params, name: str, x: Float[Array, "batch *space channel"], *, stride: int = 1, padding: str = "SAME"
) -> Float[Array, "batch *out_space feature"]:
    """ReLU of the convolution `name`; padding `SAME` (TensorFlow's: the odd zero behind) or `VALID`."""
    kernel, bias = params[f"{name}.kernel"], params[f"{name}.bias"]
    space = "DHW"[-(kernel.ndim - 2) :]
    dimensions = (f"N{space}C", f"{space}IO", f"N{space}C")
    strides = (stride,) * len(space)
    y = lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=dimensions, precision=lax.Precision.HIGHEST
    )
    return jax.nn.relu(y + bias)


def max_pool(
    x: Float[Array, "batch *space channel"], window: Sequence[int], strides: Sequence[int], padding: str
) -> Float[Array, "batch *out_space channel"]:
    """Largest value of each window; what lies outside counts as minus infinity."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), padding)


def mean_pool_same(x: Float[Array, "batch height width channel"]) -> Float[Array, "batch height width channel"]:
    """Mean of each 3 x 3 neighbourhood over what lies inside."""
    window, strides = (1, 3, 3, 1), (1, 1, 1, 1)
    inside = lax.reduce_window(jnp.ones((1, *x.shape[1:3], 1), x.dtype), 0.0, lax.add, window, strides, "SAME")
    return lax.reduce_window(x, 0.0, lax.add, window, strides, "SAME") / inside


def resize(
    x: Float[Array, "batch height width channel"], size: tuple[int, int], corners: Literal["tf1", "centre"]
) -> Float[Array, "batch new_height new_width channel"]:
    """Bilinear, without smoothing before shrinking.

    Args:
        x: images.
        size: new height and width.
        corners: `tf1` samples at i * old / new, as TensorFlow 1 did; `centre` at (i + 0.5) * old / new - 0.5, as
            PyTorch does with `align_corners=False`. Places outside take the edge's value.
    """
    for axis, new in zip((1, 2), size, strict=True):
        old = x.shape[axis]
        if old == new:
            continue
        at = np.arange(new) * old / new if corners == "tf1" else (np.arange(new) + 0.5) * old / new - 0.5
        at = at.clip(0, old - 1)
        low = at.astype(int)
        share = jnp.asarray((at - low).astype(np.float32)).reshape([-1 if a == axis else 1 for a in range(4)])
        left, right = (jnp.take(x, i, axis) for i in (low, np.minimum(low + 1, old - 1)))
        x = left + share * (right - left)
    return x
