"""What a track file from elsewhere must be before anything relies on it: header, timestamps, values."""

from __future__ import annotations

import json
import pathlib
import re
import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fingerprint.errors import ArrayRefused
from fingerprint.landmarks import arrays

VERSION = 1
_MAX_SIDE, _MAX_NAME = 100_000, 4096
_FASTEST, _LATEST = 1e6, 2**53
"""Frames a second at steps of a microsecond; the last time at which float64 tells microseconds apart."""
_RATES_APART = 2.0
"""The header's rate and that of the timestamps differ by at most this factor; frames that are lost shift it."""
_BLENDSHAPE_SLACK = 1e-3


def header(text: bytes, where: pathlib.Path) -> dict[str, Any]:
    """The header of a track file, every entry of which is what it must be.

    Raises:
        ArrayRefused: `header` or `version`.
    """
    try:
        found = json.loads(text)
        version = found["version"]
    except (ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise ArrayRefused(where, "header", f"unreadable header ({type(error).__name__})") from error
    if type(version) is not int or version != VERSION:
        raise ArrayRefused(
            where, "version", f"track file of version {reprlib.repr(version)}; this package reads {VERSION}"
        )
    for key, (sound, wanted) in _HEADER.items():
        if key not in found or not sound(found[key]):
            raise ArrayRefused(where, "header", f"{key} {reprlib.repr(found.get(key))}; wanted {wanted}")
    if found["starts"] and found["starts"][-1] >= found["num_frames"]:
        raise ArrayRefused(where, "header", f"a track from {found['starts'][-1]} of {found['num_frames']} frames")
    return found


def _whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_provenance(value: Any) -> bool:
    if type(value) is not dict or type(value.get("file")) is not str or type(value.get("sha256")) is not str:
        return False
    if not all(type(entry) in (str, int, bool, type(None)) for entry in value.values()):
        return False
    return len(value["file"]) <= _MAX_NAME and re.fullmatch("[0-9a-f]{64}", value["sha256"]) is not None


def _is_starts(value: Any) -> bool:
    if type(value) is not list or not all(_whole(start, 0, arrays.MAX_FRAMES) for start in value):
        return False
    return not value or (value[0] == 0 and value == sorted(set(value)))


_HEADER: dict[str, tuple[Callable[[Any], bool], str]] = {
    "num_frames": (lambda value: _whole(value, 1, arrays.MAX_FRAMES), f"an integer from 1 to {arrays.MAX_FRAMES}"),
    "starts": (_is_starts, "rising integers from 0 on, or none"),
    "image_size": (
        lambda value: type(value) is list and len(value) == 2 and all(_whole(side, 1, _MAX_SIDE) for side in value),
        f"two integers from 1 to {_MAX_SIDE}",
    ),
    "fps": (lambda value: type(value) is float and 0 < value <= _FASTEST, f"a float above 0, at most {_FASTEST:g}"),
    "provenance": (
        _is_provenance,
        f"file (up to {_MAX_NAME} characters), sha256 (64 hex digits), else texts and integers",
    ),
}
"""What each entry of a header must be; exact types, since JSON's true and 1 are equal in Python."""


def times(found: Int[np.ndarray, "time"], fps: float, where: pathlib.Path) -> None:
    """Check that microseconds rise from 0 or later, at about the announced rate.

    Raises:
        ArrayRefused: `damaged`, or `header` where the rate is another.
    """
    if found[0] < 0 or found[-1] > _LATEST or np.any(found[1:] <= found[:-1]):
        raise ArrayRefused(where, "damaged", "times that do not rise, or lie outside 0 to 2^53 microseconds")
    if len(found) > 1:
        mean = (len(found) - 1) * 1e6 / float(found[-1] - found[0])
        if not 1 / _RATES_APART <= fps / mean <= _RATES_APART:
            detail = f"{fps:g} frames a second announced, {mean:g} found; wanted a factor of at most {_RATES_APART:g}"
            raise ArrayRefused(where, "header", detail)


def values(
    landmarks: Float[np.ndarray, "time _"],
    blendshapes: Float[np.ndarray, "time 52"],
    pose: Float[np.ndarray, "time 16"],
    where: pathlib.Path,
) -> None:
    """Check that landmarks and pose are finite and bounded, and blendshapes shares.

    Raises:
        ArrayRefused: `damaged`.
    """
    low, high = -_BLENDSHAPE_SLACK, 1 + _BLENDSHAPE_SLACK
    for name, found, least, most in (
        ("landmarks", landmarks, -arrays.MAX_MAGNITUDE, arrays.MAX_MAGNITUDE),
        ("blendshapes", blendshapes, low, high),
        ("pose", pose, -arrays.MAX_MAGNITUDE, arrays.MAX_MAGNITUDE),
    ):
        # Not the other way round: NaN fails every comparison.
        if not (found.min() >= least and found.max() <= most):
            detail = f"{name} from {found.min():g} to {found.max():g}; wanted {least:g} to {most:g}"
            raise ArrayRefused(where, "damaged", detail)
