"""Pictures at other sizes: an antialiased cut of any box, and the plain sampling that published recipes use."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

Picture = UInt8[np.ndarray, "height width 3"]
Places = Float[np.ndarray, " place"]
Box = Float[np.ndarray, "4"]


def cut(picture: Picture, box: Box, height: int, width: int) -> Picture:
    """The part of a picture inside a box, at another size; beyond the picture its edge goes on.

    Weights are a triangle as wide as the step between the samples, and at least a pixel (Pillow's reducing bilinear
    filter), so that a large picture made small does not alias.

    Args:
        picture: any size.
        box: left, top, right, bottom in pixels; need not be whole, and may lead out of the picture.
        height, width: of the result.
    """
    left, top, right, bottom = box
    rows = _triangle(top, bottom, height, picture.shape[0], extend=True)
    return _rounded(_weighted(picture, rows, _triangle(left, right, width, picture.shape[1], extend=True)))


def whole(picture: Picture, height: int, width: int) -> Picture:
    """A whole picture at another size, antialiased as Pillow's bilinear `resize`; itself if it has that size."""
    if picture.shape[:2] == (height, width):
        return picture
    rows = _triangle(0, picture.shape[0], height, picture.shape[0], extend=False)
    return _rounded(_weighted(picture, rows, _triangle(0, picture.shape[1], width, picture.shape[1], extend=False)))


def plain(picture: Picture, height: int, width: int) -> Picture:
    """A whole picture at another size as OpenCV's `resize` makes it by default, aliasing included."""
    return _rounded(sampled(picture, height, width))


def sampled(picture: Picture, height: int, width: int, *, cubic: bool = False) -> Float32[np.ndarray, "height width 3"]:
    """A whole picture at another size without antialiasing, as torchvision's `Resize(antialias=False)` does.

    Args:
        picture: any size.
        height, width: of the result.
        cubic: the cubic kernel with a = -0.75 (values may then leave 0 to 255), else the linear one.
    """
    taps = _cubic if cubic else _linear
    rows = (np.arange(height) + 0.5) * picture.shape[0] / height - 0.5
    columns = (np.arange(width) + 0.5) * picture.shape[1] / width - 0.5
    return _weighted(picture, taps(rows, picture.shape[0]), taps(columns, picture.shape[1]))


def warped(picture: Picture, rows: Places, columns: Places) -> Float32[np.ndarray, "row column 3"]:
    """Values between the pixels at the crossings of rows and columns (0 is the first pixel's middle); 0 outside."""
    places = ((rows, picture.shape[0]), (columns, picture.shape[1]))
    return _weighted(picture, *(_linear(at, size, extend=False) for at, size in places))


class _Taps(NamedTuple):
    """Which pixels of an axis make each sample, and by what weight."""

    at: Int[np.ndarray, "place tap"]
    weight: Float32[np.ndarray, "place tap"]


def _triangle(low: float, high: float, count: int, size: int, *, extend: bool) -> _Taps:
    """Samples spread over [low, high); what lies beyond the picture counts for its edge, or (not `extend`) not."""
    step = (high - low) / count
    reach = max(step, 1.0)
    middle = low + (np.arange(count) + 0.5) * step - 0.5
    at = np.ceil(middle - reach).astype(int)[:, None] + np.arange(int(np.floor(2 * reach)) + 1)
    weight = np.maximum(1 - np.abs(at - middle[:, None]) / reach, 0)
    if not extend:
        weight[(at < 0) | (at >= size)] = 0
    weight /= weight.sum(axis=1, keepdims=True)
    return _Taps(np.clip(at, 0, size - 1), weight.astype(np.float32))


def _linear(places: Places, size: int, *, extend: bool = True) -> _Taps:
    at = np.floor(places).astype(int)[:, None] + np.arange(2)
    weight = 1 - np.abs(at - places[:, None])
    if not extend:
        weight[(at < 0) | (at >= size)] = 0
    return _Taps(np.clip(at, 0, size - 1), weight.astype(np.float32))


def _cubic(places: Places, size: int) -> _Taps:
    """Keys' kernel (1981) with a = -0.75, as OpenCV and PyTorch have it."""
    a, at = -0.75, np.floor(places).astype(int)[:, None] + np.arange(-1, 3)
    x = np.abs(at - places[:, None])
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, ((x - 5) * x + 8) * x * a - 4 * a
    return _Taps(np.clip(at, 0, size - 1), np.where(x <= 1, near, far).astype(np.float32))


def _weighted(picture: Picture, rows: _Taps, columns: _Taps) -> Float32[np.ndarray, "row column 3"]:
    top, left = rows.at.min(), columns.at.min()
    part = picture[top : rows.at.max() + 1, left : columns.at.max() + 1].astype(np.float32)
    tall = _mixed(part, _Taps(rows.at - top, rows.weight)).transpose(1, 0, 2)
    wide = _mixed(np.ascontiguousarray(tall), _Taps(columns.at - left, columns.weight))
    return np.ascontiguousarray(wide.transpose(1, 0, 2))


def _mixed(values: Float32[np.ndarray, "old other 3"], taps: _Taps) -> Float32[np.ndarray, "new other 3"]:
    out = np.zeros((len(taps.at), *values.shape[1:]), np.float32)
    for at, weight in zip(taps.at.T, taps.weight.T, strict=True):
        out += values[at] * weight[:, None, None]
    return out


def _rounded(values: Float32[np.ndarray, "height width 3"]) -> Picture:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
