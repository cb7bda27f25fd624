"""NVIDIA's avatar-fingerprinting network: a temporal CNN over the distances between landmarks.

Source: Prashnani et al., "Avatar Fingerprinting for Authorized Use of Synthetic Talking-Head Videos", arXiv 2305.03713:
126 landmarks, all 7,875 distances of a frame, clips of 71 frames, one embedding a clip. No code was released. Width,
blocks and schedules follow the network of ID-Reveal (ICCV 2021), whose 51-frame schedule is the same: a choice.
Choices further: group normalisation takes its statistics from one frame's channels (ID-Reveal: from all frames of the
input), so that an embedding depends on the clip it belongs to and on nothing beside it, however long the input is.
Embeddings have unit length, as everywhere in this house; the squared Euclidean distance of the paper is then
2 - 2 cosine, and orders pairs as the cosine does. What the free length of an embedding would do, the loss's temperature
does.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fingerprint.errors import ConfigError, UnknownName
from fingerprint.landmarks import topology
from fingerprint.landmarks.channels import Layout, Parts
from fingerprint.models import pairwise_distances
from fingerprint.models.embedding import Clips, Embedding, unit
from fingerprint.models.frame_order import Continuous, continuous

FEATURES = ("distances", "coordinates")
CENTRES = ("face", "window", "nothing")
VELOCITY = ("without", "with", "only")
# Dilations of the layers after the first, by clip length; 0: the layer sees one frame.
SCHEDULES = {
    1: (0,) * 14,
    31: (1, 1, 1, 2, 2, 2, 2, 4),
    51: (1, 1, 1, 2, 2, 2, 4, 4, 4, 4),
    71: (1, 1, 1, 2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4),
}
GROUP_SIZE = 16
SLOPE = 0.02


class TemporalCNN(nn.Module):
    """Temporal CNN: one embedding for every place a clip can have in a window, and their mean for the window.

    First layer: a product with each frame's features. Then valid convolutions of kernel 3 over time, `hidden` wide,
    each normalised, added to its input's middle and rectified; the last gives the embedding.
    Masked frames: the window is read from its first valid frame to its last; gaps are filled with the line between
    their neighbours; a span shorter than a clip is continued with its last frame (`frame_order`). A place counts if its
    clip ends within the span, the first one always. So padding changes nothing.
    A window's vector is the mean of its counting places' unit embeddings, at unit length. Its attention says how often
    each valid frame stands in a counting clip, summing to one.

    Attributes:
        landmark_set: which landmarks.
        features: `distances` between landmarks, or `coordinates` (an ablation; as normalised).
        regions, every: which distances: `pairwise_distances.pairs`; of coordinates, which points.
        depth: use z too; the paper's landmarks are points of the picture.
        scale: unit of distances: the inner eye corners' distance of each `frame`, or its mean over the `window` (for
            normalisations that keep the size of the face, such as `box`). The latter is one number for all places, so
            that a place sees of other clips how large the face is there.
        centre: what is taken off the features. `face`: those of the set's mean face, which a bias would have to learn;
            `window`: their mean over the window's span, so that the face's shape is not seen (and a place sees of other
            clips what that mean is); `nothing`: for coordinates that have no face left (`deviation`).
        velocity: `without`; `with` changes from frame to frame beside the features; `only` changes. Clips are then one
            frame longer.
        clip: frames that an embedding sees: 31, 51, 71; 1 (an ablation) is as deep as 71.
        hidden: channels; a multiple of 16. dim: of the embedding.
        chunk: frames worked on at a time, about so many in whole windows; 0: all. A window's numbers then depend
            neither on its batch nor, where each device has as many windows, on the number of devices.
        extra_channels: channels that stand behind the landmarks (`landmarks.channels`), which become further features
            of a frame; canonical coordinates as they differ from the set's mean face, of the chosen `regions`.
    """

    landmark_set: str = "nvfair126"
    features: str = "distances"
    regions: str = "all"
    every: int = 1
    depth: bool = False
    scale: str = "frame"
    centre: str = "face"
    velocity: str = "without"
    clip: int = 71
    hidden: int = 512
    dim: int = 128
    chunk: int = 0
    extra_channels: tuple[str, ...] = ()

    @property
    def receptive_field(self) -> int:
        """Frames that an embedding sees."""
        return self.clip + (self.velocity != "without")

    def __call__(
        self,
        windows: Float[Array, "batch time vertex coord"],
        frame_mask: Bool[Array, "batch time"],
        train: bool = False,
        example_index: Int[Array, "batch"] | None = None,
    ) -> Embedding:
        """Embed windows.

        Args:
            windows: normalised landmarks and `extra_channels`; masked frames may hold anything finite.
            frame_mask: frames that count.
            train, example_index: of the house's interface; nothing is random here.
        """
        clips = self.clips(windows, frame_mask, train, example_index)
        first = jnp.argmax(frame_mask, axis=1).astype(jnp.int32)
        places = clips.counts.sum(axis=1, dtype=jnp.int32)
        at = jnp.arange(windows.shape[1], dtype=jnp.int32) - first[:, None]
        covering = jnp.minimum(at, places[:, None] - 1) - jnp.maximum(at - self.receptive_field + 1, 0) + 1
        weight = jnp.where(frame_mask, jnp.maximum(covering, 0), 0).astype(jnp.float32)
        attention = weight / jnp.maximum(weight.sum(axis=1, keepdims=True), 1.0)
        return Embedding(clips.pooled(), attention)

    @nn.compact
    def clips(
        self,
        windows: Float[Array, "batch time vertex coord"],
        frame_mask: Bool[Array, "batch time"],
        train: bool = False,
        example_index: Int[Array, "batch"] | None = None,
    ) -> Clips:
        """Embeddings by place: place p sees the frames p … p + receptive_field - 1 from the first valid one on."""
        del train, example_index
        self._check()
        batch, time = frame_mask.shape
        frames = max(time, self.receptive_field)
        at_once = max(round(self.chunk / frames), 1) if self.chunk else batch
        at_once = max(number for number in range(1, min(at_once, batch) + 1) if batch % number == 0)
        if at_once == batch:
            return self._places(windows, frame_mask)

        def piece(module, carry, rows):
            return carry, module._places(*rows)

        rows = jax.tree.map(lambda x: x.reshape(-1, at_once, *x.shape[1:]), (jnp.asarray(windows), frame_mask))
        _, places = nn.scan(piece, variable_broadcast="params", split_rngs={"params": False})(self, None, rows)
        return jax.tree.map(lambda x: x.reshape(batch, *x.shape[2:]), places)

    def _places(self, windows: Float[Array, "batch time vertex coord"], frame_mask: Bool[Array, "batch time"]) -> Clips:
        track = continuous(jnp.asarray(windows), frame_mask, self.receptive_field)
        x = self._first(track)
        for layer, dilation in enumerate(SCHEDULES[self.clip][:-1], start=1):
            y = Convolution(self.hidden, dilation, name=f"conv{layer}")(x)
            y = FrameNorm(name=f"norm{layer}")(y)
            x = nn.leaky_relu(y + x[:, dilation : x.shape[1] - dilation], SLOPE)
        dilation = SCHEDULES[self.clip][-1]
        x = Convolution(self.dim, dilation, name=f"conv{len(SCHEDULES[self.clip])}")(x)
        place = jnp.arange(x.shape[1], dtype=jnp.int32)
        ends = place + self.receptive_field <= track.span[:, None]
        return Clips(unit(x), ends | ((place == 0) & (track.span[:, None] > 0)))

    def _check(self) -> None:
        for what, value, known in (
            ("features", self.features, FEATURES),
            ("centre", self.centre, CENTRES),
            ("velocity", self.velocity, VELOCITY),
            ("clip length", self.clip, SCHEDULES),
        ):
            if value not in known:
                raise UnknownName(what, value, known)
        if self.hidden % GROUP_SIZE:
            raise ConfigError(f"hidden is {self.hidden}; wanted a multiple of {GROUP_SIZE}")

    def _first(self, track: Continuous) -> Float[Array, "batch frame channel"]:
        """The first layer. It is linear, so changes from frame to frame are taken behind the product."""
        channels = Layout(self.landmark_set, self.extra_channels).split(track.frames)
        points = channels.points if self.depth else channels.points[..., :2]
        batch, time = points.shape[:2]
        parts = 2 if self.velocity == "with" else 1
        valid = jnp.arange(time, dtype=jnp.int32) < track.span[:, None]
        product, fan_in = self._project(points, valid, parts * self.hidden)
        if self.extra_channels:
            product = product + self._project_channels(channels, parts * self.hidden)
        product = product.reshape(batch, time, parts, self.hidden)
        if self.centre == "window":
            inside = valid[:, :, None, None]
            number = jnp.maximum(jnp.sum(inside, axis=1, keepdims=True, dtype=product.dtype), 1)
            product = product - jnp.sum(jnp.where(inside, product, 0.0), axis=1, keepdims=True) / number
        state, motion = product[:, :, 0], product[:, :, -1]
        match self.velocity:
            case "with":
                x = state[:, 1:] + motion[:, 1:] - motion[:, :-1]
            case "only":
                x = motion[:, 1:] - motion[:, :-1]
            case _:
                x = state
        bias = self.param("bias0", _bias(fan_in), (self.hidden,))
        return nn.leaky_relu(FrameNorm(name="norm0")(x + bias), SLOPE)

    def _project(self, points, valid, channels: int) -> tuple[Float[Array, "frame channel"], int]:
        """Features times the first layer's kernel, and the number of features."""
        mean_face = jnp.asarray(topology.get(self.landmark_set).reference_shape[None, None, :, : points.shape[-1]])
        kernel_init = nn.initializers.lecun_normal()
        if self.features == "coordinates":
            chosen = topology.select(self.landmark_set, self.regions)
            flat = (points if self.centre == "nothing" else points - mean_face)[:, :, chosen]
            flat = flat.reshape(points.shape[0] * points.shape[1], -1)
            return flat @ self.param("kernel0", kernel_init, (flat.shape[1], channels)), flat.shape[1]

        def scaled(x, mask):
            return x / pairwise_distances.scale(x, mask, self.landmark_set, self.scale)[:, :, None, None]

        between = pairwise_distances.pairs(self.landmark_set, self.regions, self.every)
        origin = pairwise_distances.distances(scaled(mean_face, jnp.ones((1, 1), bool))[0], between)[:, 0]
        kernel = self.param("kernel0", kernel_init, (len(between), channels))
        flat = scaled(points, valid).reshape(-1, *points.shape[2:])
        origin = None if self.centre == "nothing" else origin
        return pairwise_distances.project(flat, between, origin, kernel, self.chunk), len(between)

    def _project_channels(self, parts: Parts, channels: int) -> Float[Array, "frame channel"]:
        """Channels times a kernel of their own: beside the features times theirs, but started as large as if there
        were no thousands of those."""
        beside = []
        if parts.canonical is not None:
            chosen = topology.select(self.landmark_set, self.regions)
            moved = (parts.canonical - topology.get(self.landmark_set).reference_shape)[:, :, chosen]
            beside.append(moved.reshape(*moved.shape[:2], -1))
        if parts.per_frame is not None:
            beside.append(parts.per_frame)
        flat = jnp.concatenate(beside, axis=-1).reshape(parts.points.shape[0] * parts.points.shape[1], -1)
        kernel = self.param("channels0", nn.initializers.lecun_normal(), (flat.shape[1], channels))
        return flat @ kernel


class Convolution(nn.Module):
    """Valid convolution over time of kernel 3, or 1 for a dilation of 0, as one product of gathered frames.

    Flax's own takes ten times as long in the backward pass of a loop on a CPU.
    """

    channels: int
    dilation: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch frame channel"]) -> Float[Array, "batch place channel"]:
        taps = 3 if self.dilation else 1
        wide = taps * x.shape[-1]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (taps, x.shape[-1], self.channels))
        bias = self.param("bias", _bias(wide), (self.channels,))
        places = x.shape[1] - (taps - 1) * self.dilation
        seen = [x[:, tap * self.dilation : tap * self.dilation + places] for tap in range(taps)]
        return jnp.concatenate(seen, axis=-1) @ kernel.reshape(wide, self.channels) + bias


def _bias(fan_in: int) -> Callable[..., Array]:
    """PyTorch's start for biases. From zero ones, frames without any motion would be normalised from no spread at all,
    and their gradients grow with every layer beyond what float32 holds."""

    def initial(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -1, 1) / math.sqrt(fan_in)

    return initial


class FrameNorm(nn.Module):
    """Mean 0 and variance 1 of each group of 16 channels in every frame; scale and bias.

    Flax's group normalisation by another route: three times faster on a CPU.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "batch frame channel"]) -> Float[Array, "batch frame channel"]:
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros_init(), (x.shape[-1],))
        groups = x.reshape(*x.shape[:-1], -1, GROUP_SIZE)
        centred = groups - jnp.mean(groups, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        return (centred * jax.lax.rsqrt(variance + 1e-5)).reshape(x.shape) * scale + bias
