"""Channels beside the landmarks: which there are, where they stand in a window, and how a mirror changes them.

Windows stay one array [time, vertex, 3], so that batches, masks, controls and devices need know nothing of channels.
Behind the V vertices of the landmark set stand, each only if asked for and always in this order:

* `canonical`: V vertices; each frame's points brought onto the set's mean face, in inner-eye distances. Made when read
  from what records hold anyway.
* `blendshapes`: 18 vertices; MediaPipe's 52 coefficients in [0, 1] and two zeros.
* `pose`: 3 vertices; the first two columns of the head's rotation (Zhou et al., "On the Continuity of Rotation
  Representations in Neural Networks", CVPR 2019: no jumps, unlike angles), and its translation less the clip's mean, in
  decimetres. MediaPipe's axes: x right, y up, z towards the camera.

The last two come from the track and are stored in records that were built with them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fingerprint.errors import ConfigError, UnknownName
from fingerprint.landmarks import topology

NAMES = ("canonical", "blendshapes", "pose")
STORED = {"blendshapes": (52,), "pose": (4, 4)}
"""Channels that records hold, and the shape of one frame of each."""
BRINGS_BACK = {"canonical": {"shape"}, "blendshapes": set(), "pose": {"rotation", "translation", "scale"}}
"""What a normalisation may have removed and the channel shows again (in the words of `Normalization.removes`)."""
CANONICAL = "pose_removed"
"""The normalisation that makes `canonical`."""
# MediaPipe's, in its order.
BLENDSHAPES = (
    *("_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff"),
    *("cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight"),
    *("eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight"),
    *("eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen"),
    *("jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight"),
    *("mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight"),
    *("mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *("mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft"),
    *("mouthUpperUpRight", "noseSneerLeft", "noseSneerRight"),
)
_BLENDSHAPE_VERTICES, _POSE_VERTICES = 18, 3
_CENTIMETRES = 10.0


class Parts(NamedTuple):
    """A window taken apart; NumPy's or JAX's arrays, as the window is.

    Attributes:
        points: normalised landmarks, [..., vertex, 3].
        canonical: the same in the canonical space, [..., vertex, 3]; None where not asked for.
        per_frame: blendshapes and pose side by side, [..., feature]; None where neither is asked for.
    """

    points: Any
    canonical: Any | None
    per_frame: Any | None


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where landmarks and channels stand in a window.

    Attributes:
        landmark_set: which landmarks.
        channels: which channels, in any order; kept in that of `NAMES`.

    Raises:
        UnknownName: no channel of that name, or no such landmark set.
        ConfigError: a channel twice.
    """

    landmark_set: str
    channels: Sequence[str] = ()

    def __post_init__(self):
        topology.get(self.landmark_set)
        object.__setattr__(self, "channels", ordered(self.channels))

    @property
    def num_points(self) -> int:
        """Vertices that are points of the face: the landmarks, and once more those of `canonical`."""
        return topology.get(self.landmark_set).num_vertices * (1 + ("canonical" in self.channels))

    @property
    def num_vertices(self) -> int:
        """Vertices of a window."""
        of_frames = {"blendshapes": _BLENDSHAPE_VERTICES, "pose": _POSE_VERTICES}
        return self.num_points + sum(of_frames.get(name, 0) for name in self.channels)

    @property
    def stored(self) -> tuple[str, ...]:
        """The channels that records must hold."""
        return tuple(name for name in self.channels if name in STORED)

    @property
    def brings_back(self) -> frozenset[str]:
        """What windows show though a normalisation removed it from the landmarks."""
        return frozenset().union(*(BRINGS_BACK[name] for name in self.channels))

    def pack(
        self,
        points: Float[np.ndarray, "time vertex 3"],
        frame_mask: Bool[np.ndarray, "time"],
        given: Mapping[str, Float[np.ndarray, "time ..."]],
    ) -> Float[np.ndarray, "time all 3"]:
        """A whole clip's landmarks with its channels behind them; zero where masked.

        Args:
            points: normalised landmarks.
            frame_mask: frames that count; of these the mean of the pose's translation is taken.
            given: each channel by name: `canonical` like `points`, the others as records hold them.
        """
        parts = [points]
        if "canonical" in self.channels:
            parts.append(given["canonical"])
        if "blendshapes" in self.channels:
            padding = ((0, 0), (0, 3 * _BLENDSHAPE_VERTICES - len(BLENDSHAPES)))
            parts.append(np.pad(given["blendshapes"], padding).reshape(len(points), -1, 3))
        if "pose" in self.channels:
            parts.append(_pose(given["pose"], frame_mask))
        return np.where(frame_mask[:, None, None], np.concatenate(parts, axis=1), 0).astype(np.float32)

    def split(self, windows) -> Parts:
        """Windows taken apart.

        Args:
            windows: [..., `num_vertices`, 3], of NumPy or JAX.

        Raises:
            ConfigError: windows of another layout.
        """
        if windows.shape[-2] != self.num_vertices:
            raise ConfigError(
                f"windows of {windows.shape[-2]} vertices; {self.landmark_set} with channels "
                f"({', '.join(self.channels)}) has {self.num_vertices}: is data.channels that of the model?"
            )
        vertices = topology.get(self.landmark_set).num_vertices
        points, canonical, per_frame = windows[..., :vertices, :], None, None
        if self.num_points > vertices:
            canonical = windows[..., vertices : self.num_points, :]
        if self.stored:
            flat = windows[..., self.num_points :, :].reshape(*windows.shape[:-2], -1)
            blends = len(BLENDSHAPES) if "blendshapes" in self.channels else 0
            pose = 3 * _POSE_VERTICES if "pose" in self.channels else 0
            used = np.concatenate([np.arange(blends), np.arange(flat.shape[-1] - pose, flat.shape[-1])])
            per_frame = flat[..., used]
        return Parts(points, canonical, per_frame)

    def mirror(self, windows: Float[np.ndarray, "time all 3"]) -> Float[np.ndarray, "time all 3"]:
        """Left and right exchanged in landmarks and channels. Its own inverse."""
        source, sign = _mirror(self)
        return (windows.reshape(len(windows), -1)[:, source] * sign).reshape(windows.shape)


def ordered(names: Sequence[str]) -> tuple[str, ...]:
    """Channels by name in the order in which windows hold them.

    Raises:
        UnknownName: no channel of that name.
        ConfigError: one twice.
    """
    for name in names:
        if name not in NAMES:
            raise UnknownName("channel", name, NAMES)
    if len(set(names)) != len(names):
        raise ConfigError(f"channels {', '.join(names)}: one stands twice")
    return tuple(name for name in NAMES if name in names)


def _pose(pose: Float[np.ndarray, "time 4 4"], frame_mask: Bool[np.ndarray, "time"]) -> Float[np.ndarray, "time 3 3"]:
    columns = np.swapaxes(pose[:, :3, :2], 1, 2)
    place = pose[:, :3, 3].astype(np.float64)
    # In float64, so that the order of frames does not show.
    mean = place[frame_mask].mean(axis=0) if frame_mask.any() else 0.0
    return np.concatenate([columns, ((place - mean) / _CENTIMETRES)[:, None]], axis=1).astype(np.float32)


@functools.cache
def _mirror(layout: Layout) -> tuple[Int[np.ndarray, "number"], Float[np.ndarray, "number"]]:
    """Of each number of a mirrored frame: which number it was, and its sign."""
    exchanged = topology.get(layout.landmark_set).mirror
    points = (3 * exchanged[:, None] + np.arange(3)).ravel()
    source, sign = [points], [np.tile([-1, 1, 1], len(exchanged))]
    if "canonical" in layout.channels:
        source, sign = [points, points + len(points)], sign * 2
    first = 3 * layout.num_points
    if "blendshapes" in layout.channels:
        other = [BLENDSHAPES.index(_other_side(name)) for name in BLENDSHAPES]
        width = 3 * _BLENDSHAPE_VERTICES
        source.append(first + np.array([*other, *range(len(other), width)]))
        sign.append(np.ones(width))
        first += width
    if "pose" in layout.channels:
        # M R M and M t with M = diag(-1, 1, 1).
        source.append(first + np.arange(3 * _POSE_VERTICES))
        sign.append(np.array([1, -1, -1, -1, 1, 1, -1, 1, 1]))
    return np.concatenate(source), np.concatenate(sign).astype(np.float32)


def _other_side(name: str) -> str:
    if name.endswith("Left"):
        return name.removesuffix("Left") + "Right"
    return name.removesuffix("Right") + "Left" if name.endswith("Right") else name
