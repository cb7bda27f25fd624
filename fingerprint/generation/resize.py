"""Pictures at other sizes: an antialiased cut of any box, and byte for byte what published recipes call.

Sources: Pillow's `Resample.c` (before version 13, which at times begins with the rows); `resize.cpp` of OpenCV's
imgproc. What they do with bytes is done here in the same steps, so that it rounds alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped, UInt8

Picture = UInt8[np.ndarray, "height width 3"]
Places = Float[np.ndarray, " place"]
Box = Float[np.ndarray, "4"]
_PILLOW_BITS = 22
"""Of the fraction in Pillow's weights."""


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
    columns = _triangle(left, right, width, picture.shape[1], extend=True)
    return _rounded(_weighted(picture, *(_Taps(at, weight.astype(np.float32)) for at, weight in (rows, columns))))


def whole(picture: Picture, height: int, width: int) -> Picture:
    """A whole picture at another size, antialiased, as Pillow's bilinear `resize`; itself if it has that size."""
    if picture.shape[:2] == (height, width):
        return picture
    for axis, new in ((1, width), (0, height)):
        taps = _triangle(0, picture.shape[axis], new, picture.shape[axis], extend=False)
        whole_numbers = np.floor(taps.weight * (1 << _PILLOW_BITS) + 0.5).astype(np.int32)
        sums = _mixed(picture, _Taps(taps.at, whole_numbers), axis, start=1 << (_PILLOW_BITS - 1))
        picture = np.clip(sums >> _PILLOW_BITS, 0, 255).astype(np.uint8)
    return picture


def plain(picture: Picture, height: int, width: int) -> Picture:
    """A whole picture at another size as OpenCV's `resize` makes it by default, aliasing included."""
    old = picture.shape[:2]
    if old == (2 * height, 2 * width):
        return area(picture, height, width)
    places = [
        _float_places((np.arange(n) + 0.5) * _scale(o, n) - 0.5) for o, n in zip(old, (height, width), strict=True)
    ]
    return _bilinear_in_whole_numbers(picture, *places)


def area(picture: Picture, height: int, width: int) -> Picture:
    """A whole picture at another size as OpenCV's `resize` makes it by `INTER_AREA`.

    Where no side grows, each pixel is the mean of what it covers. Where one does, OpenCV samples both linearly, at
    places that keep the old pixels' areas: only a new pixel across the border of two old ones is between them.
    """
    old, new = picture.shape[:2], (height, width)
    if old == new:
        return picture
    scales = [_scale(o, n) for o, n in zip(old, new, strict=True)]
    if all(abs(scale - round(scale)) < np.finfo(float).eps for scale in scales):
        rows, columns = (round(scale) for scale in scales)
        sums = picture.reshape(height, rows, width, columns, 3).sum((1, 3), dtype=np.int32)
        if rows == columns == 2:
            return ((sums + 2) >> 2).astype(np.uint8)
        return np.rint(sums.astype(np.float32) * np.float32(1 / (rows * columns))).astype(np.uint8)
    if height <= old[0] and width <= old[1]:
        values = picture.astype(np.float32)
        for axis in (1, 0):
            values = _mixed(values, _covered(old[axis], new[axis]), axis)
        return _rounded(values)
    places = []
    for o, n in zip(old, new, strict=True):
        low = np.floor(np.arange(n) * _scale(o, n)).astype(int)
        share = (np.arange(1, n + 1) - (low + 1) * (n / o)).astype(np.float32)
        places.append(_Places(low, np.where(share <= 0, 0, share - np.floor(share))))
    return _bilinear_in_whole_numbers(picture, *places)


def warped(picture: Picture, rows: Places, columns: Places) -> Float32[np.ndarray, "row column 3"]:
    """Values between the pixels at the crossings of rows and columns (0 is the first pixel's middle); 0 outside."""
    places = ((rows, picture.shape[0]), (columns, picture.shape[1]))
    return _weighted(picture, *(_linear(at, size, extend=False) for at, size in places))


class _Taps(NamedTuple):
    """Which pixels of an axis make each sample, and by what weight."""

    at: Int[np.ndarray, "place tap"]
    weight: Shaped[np.ndarray, "place tap"]


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
    return _Taps(np.clip(at, 0, size - 1), weight)


def _linear(places: Places, size: int, *, extend: bool = True) -> _Taps:
    at = np.floor(places).astype(int)[:, None] + np.arange(2)
    weight = 1 - np.abs(at - places[:, None])
    if not extend:
        weight[(at < 0) | (at >= size)] = 0
    return _Taps(np.clip(at, 0, size - 1), weight.astype(np.float32))


def _covered(old: int, new: int) -> _Taps:
    """Means over what each sample covers, of one that shrinks; shares below 0.001 of a pixel count for nothing."""
    scale = _scale(old, new)
    start = np.arange(new) * scale
    stop = start + scale
    width = np.minimum(scale, old - start)
    last = np.minimum(np.floor(stop).astype(int), old - 1)
    first = np.minimum(np.ceil(start).astype(int), last)
    at = first[:, None] - 1 + np.arange(int(np.ceil(scale)) + 2)
    weight = np.where((at >= first[:, None]) & (at < last[:, None]), 1.0, 0.0)
    weight[:, 0] = np.where(first - start > 1e-3, first - start, 0)
    rest = np.where(stop - last > 1e-3, np.minimum(np.minimum(stop - last, 1), width), 0)
    weight[np.arange(new), last - first + 1] = rest
    return _Taps(np.clip(at, 0, old - 1), (weight / width[:, None]).astype(np.float32))


class _Places(NamedTuple):
    """Between which pixel and the next each sample lies, and how far."""

    low: Int[np.ndarray, " place"]
    share: Float32[np.ndarray, " place"]


def _float_places(places: Places) -> _Places:
    places = places.astype(np.float32)
    low = np.floor(places)
    return _Places(low.astype(int), places - low)


def _scale(old: int, new: int) -> float:
    """Old pixels to a new one, rounded as OpenCV rounds it."""
    return 1 / (new / old)


def _bilinear_in_whole_numbers(picture: Picture, rows: _Places, columns: _Places) -> Picture:
    """OpenCV's bilinear sampling of bytes: shares of 1/2048, and sums that lose 4 bits, then 16."""
    low, share = columns
    edge = picture.shape[1] - 1
    share = np.where((low < 0) | (low >= edge), np.float32(0), share)
    wide = _mixed(picture, _in_2048(_Places(low, share), edge), 1) >> 4
    at, weight = _in_2048(rows, picture.shape[0] - 1)
    upper, lower = ((wide[at[:, i]] * weight[:, i, None, None]) >> 16 for i in (0, 1))
    return ((upper + lower + 2) >> 2).astype(np.uint8)


def _in_2048(places: _Places, edge: int) -> _Taps:
    weight = np.rint(np.stack([1 - places.share, places.share], 1) * np.float32(2048)).astype(np.int32)
    return _Taps(np.clip(places.low[:, None] + np.arange(2), 0, edge), weight)


def _weighted(picture: Picture, rows: _Taps, columns: _Taps) -> Float32[np.ndarray, "row column 3"]:
    top, left = rows.at.min(), columns.at.min()
    part = picture[top : rows.at.max() + 1, left : columns.at.max() + 1].astype(np.float32)
    tall = _mixed(part, _Taps(rows.at - top, rows.weight), 0)
    return _mixed(tall, _Taps(columns.at - left, columns.weight), 1)


def _mixed(
    values: Shaped[np.ndarray, "height width 3"], taps: _Taps, axis: int, start: int = 0
) -> Shaped[np.ndarray, "new_height new_width 3"]:
    """Sums along an axis, one tap after the other, in the weights' type."""
    values = np.ascontiguousarray(values.swapaxes(0, axis))
    out = np.full((len(taps.at), *values.shape[1:]), start, taps.weight.dtype)
    for at, weight in zip(taps.at.T, taps.weight.T, strict=True):
        out += values[at] * weight[:, None, None]
    return np.ascontiguousarray(out.swapaxes(0, axis))


def _rounded(values: Float32[np.ndarray, "height width 3"]) -> Picture:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
