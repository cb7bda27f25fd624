"""How simulated people move: configurations, clips and the two kinds of drivers. See `simulator` for the
whole.

Everything is drawn from (seed, role, index): driver 7 is the same whatever else is generated, and a clip's
motion is the same on every target.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math

import numpy as np
from jaxtyping import Float, Int

from fingerprint.data import face_statistics
from fingerprint.errors import ConfigError, UnknownName

REGIMES = ("full", "dynamics_only")
PERIOD = 10
CHANNELS = 6  # kinds of speech events
EVENTS_PER_SECOND = 4.5


class Role(enum.IntEnum):
    """What a random stream is for; numbers are part of every data set ever made and never change."""

    WORLD = 0
    SCRIPT = 1
    DRIVER = 2
    TARGET = 3
    CLIP = 4
    MOTION = 5
    GENERATOR = 6
    CAMERA = 7
    RENDER = 8
    ORDERS = 9
    PLAN = 10


def stream(seed: int, role: Role, *index: int) -> np.random.Generator:
    """The random stream of (seed, role, index); streams are independent of each other."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(role), *index)))


@dataclasses.dataclass(frozen=True)
class SimulatorConfig:
    """What kind of people, clips and pictures are drawn.

    Attributes:
        name: key in `CONFIGS`.
        regime: `"full"` or `"dynamics_only"` (see the module).
        fps: frames a second.
        min_frames, max_frames: shortest and longest clip (dynamics_only: multiples of ten between them).
        driver_variation: how much drivers differ; 1 is about how much real people differ.
        clip_variation: how much one driver's clips differ in energy, posture and mood.
        lost_share: chance of each frame to show no face, independently.
        max_gap: longest run of lost frames (0: none); a quarter of the videos has one.
    """

    name: str
    regime: str
    fps: float = 25.0
    min_frames: int = 100
    max_frames: int = 140
    driver_variation: float = 1.0
    clip_variation: float = 1.0
    lost_share: float = 0.005
    max_gap: int = 6

    def __post_init__(self):
        if self.regime not in REGIMES:
            raise UnknownName("regime", self.regime, REGIMES)
        if not 2 <= self.min_frames <= self.max_frames:
            raise ConfigError(
                f"{self.name}: frames from {self.min_frames} to {self.max_frames}; wanted 2 <= min <= max"
            )
        if self.regime == "dynamics_only":
            if self.min_frames % PERIOD or self.max_frames % PERIOD:
                raise ConfigError(f"{self.name}: dynamics_only needs clip lengths that are multiples of {PERIOD}")
            if self.max_gap:
                raise ConfigError(f"{self.name}: dynamics_only must lose frames independently; max_gap must be 0")


CONFIGS = {
    "full": SimulatorConfig("full", "full"),
    "dynamics_only": SimulatorConfig("dynamics_only", "dynamics_only", clip_variation=0.5, max_gap=0),
}


def get_config(name: str) -> SimulatorConfig:
    """The configuration called `name`; UnknownName lists the known ones."""
    if name not in CONFIGS:
        raise UnknownName("simulator config", name, CONFIGS)
    return CONFIGS[name]


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """One recording: what is said, how long, in which mood; drawn without looking at how the driver moves.

    `event_times` (s), `event_weights` [event, channel] are the sentence's, the same for all who say it.
    `energy` scales each pose channel's motion, `posture` (yaw, pitch, roll) and `mood` [expression] are this
    clip's offsets, `phase` the slot it starts in (dynamics_only), `motion_seed` what its spontaneous motion
    is drawn from.
    """

    sentence: int
    repetition: int
    num_frames: int
    event_times: Float[np.ndarray, "event"]
    event_weights: Float[np.ndarray, "event channel"]
    energy: Float[np.ndarray, "pose"]
    posture: Float[np.ndarray, "3"]
    mood: Float[np.ndarray, "expression"]
    phase: int
    motion_seed: np.random.SeedSequence


@dataclasses.dataclass(frozen=True, eq=False)
class Motion:
    """A clip's motion, before target, generator and camera.

    Attributes:
        expression: coefficients of the expression modes, inner-eye distances.
        blink: closedness of the eyes, 0 to 1.
        rotation: yaw, pitch, roll in radians.
        translation: x and y in inner-eye distances, log scale.
        asymmetry: relative gain of the picture's right half over the middle; the left half loses as much.
    """

    expression: Float[np.ndarray, "time expression"]
    blink: Float[np.ndarray, "time"]
    rotation: Float[np.ndarray, "time 3"]
    translation: Float[np.ndarray, "time 3"]
    asymmetry: float


@dataclasses.dataclass(frozen=True, eq=False)
class Driver:
    """A way of moving; `motion` is what it makes of a clip."""

    index: int

    def motion(self, clip: Clip, *, fps: float, num_frames: int) -> Motion:
        """The clip's first `num_frames` frames at `fps`, as this driver moves."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, eq=False)
class SlotDriver(Driver):
    """dynamics_only: visits the shared key poses [slot, expression + 3] in its own cyclic order."""

    order: Int[np.ndarray, "slot"]
    key_poses: Float[np.ndarray, "slot pose"]
    noise_sds: Float[np.ndarray, "pose"]

    def motion(self, clip: Clip, *, fps: float, num_frames: int) -> Motion:
        """Key pose of each frame's slot, scaled, plus noise of its own; see `simulator`."""
        del fps
        noise = np.random.default_rng(clip.motion_seed).standard_normal((num_frames, len(self.noise_sds)))
        slots = self.order[(np.arange(num_frames) + clip.phase) % PERIOD]
        pose = clip.energy[:-3] * self.key_poses[slots] + noise * self.noise_sds
        zeros = np.zeros(num_frames)
        still = np.zeros((num_frames, 3))
        return Motion(pose[:, :-3] + clip.mood, zeros, pose[:, -3:] + clip.posture, still, 0.0)


@dataclasses.dataclass(frozen=True, eq=False)
class FreeDriver(Driver):
    """full: a style of resting, speaking, blinking and moving the head.

    Pose channels are the expression coefficients, yaw, pitch, roll, x, y and log scale, in this order.

    Attributes:
        rest: resting expression.
        articulation: response of each expression coefficient and of yaw, pitch, roll to each kind of speech
            event.
        lag, width: delay and width (s) of these responses.
        spontaneous: mixing of independent processes into the pose channels (amplitudes and couplings).
        seconds: decorrelation times of those processes.
        tempo: speed of speech.
        asymmetry: relative gain of the right half of the picture.
        blink_rate, blink_regularity, blink_seconds, blink_depth: 1/s, shape of the gamma-distributed pauses,
            half-width, depth.
        sway: frequency (Hz) and amplitude (yaw, pitch, roll) of each of two head rhythms [rhythm, 4].
    """

    rest: Float[np.ndarray, "expression"]
    articulation: Float[np.ndarray, "channel response"]
    lag: Float[np.ndarray, "response"]
    width: Float[np.ndarray, "response"]
    spontaneous: Float[np.ndarray, "pose pose"]
    seconds: Float[np.ndarray, "pose"]
    tempo: float
    asymmetry: float
    blink_rate: float
    blink_regularity: float
    blink_seconds: float
    blink_depth: float
    sway: Float[np.ndarray, "rhythm 4"]

    def motion(self, clip: Clip, *, fps: float, num_frames: int) -> Motion:
        """Rest and mood, answers to the speech events, spontaneous motion, head rhythms and blinks."""
        rng = np.random.default_rng(clip.motion_seed)
        time = np.arange(num_frames) / fps
        free = _stationary(rng, self.seconds, num_frames, fps) @ self.spontaneous * clip.energy
        away = (time[:, None, None] - clip.event_times[:, None] / self.tempo - self.lag) / self.width
        near = np.exp(-0.5 * away**2)
        speech = np.einsum("tek,ek->tk", near, clip.event_weights @ self.articulation)
        speech -= EVENTS_PER_SECOND * self.width * math.sqrt(2 * math.pi) * self.articulation.mean(axis=0)
        speech *= clip.energy[:-3]
        count = len(self.rest)
        rotation = clip.posture + free[:, count : count + 3] + speech[:, count:]
        drift = 0.35 * np.cumsum(rng.standard_normal((num_frames, len(self.sway))), axis=0) / math.sqrt(fps)
        phases = 2 * np.pi * (time[:, None] * self.sway[:, 0] + rng.random(len(self.sway))) + drift
        rotation = rotation + np.sin(phases) @ self.sway[:, 1:]
        expression = self.rest + clip.mood + speech[:, :count] + free[:, :count]
        return Motion(expression, self._blinks(rng, time), rotation, free[:, count + 3 :], self.asymmetry)

    def _blinks(self, rng, time):
        pauses = rng.gamma(self.blink_regularity, 1 / (self.blink_regularity * self.blink_rate), 24)
        at = np.cumsum(pauses) - pauses[0] * rng.random()
        away = (time[:, None] - at) / self.blink_seconds
        closing = np.exp(-0.5 * (away / np.where(away < 0, 0.35, 0.6)) ** 2)
        return self.blink_depth * closing.max(axis=1)


def _stationary(rng, seconds, num_frames: int, fps: float) -> Float[np.ndarray, "time channel"]:
    """Gaussian processes of unit variance, autocorrelation (1 + t/a) exp(-t/a) with 1/e at `seconds`."""
    length = 1 << math.ceil(math.log2(num_frames + 3 * fps))
    frequency = np.fft.rfftfreq(length, 1 / fps)[:, None]
    response = 1 / (1 + (2 * np.pi * frequency * seconds / 2.146) ** 2)
    power = 2 * np.sum(response**2, axis=0) - response[0] ** 2 - response[-1] ** 2
    spectrum = np.fft.rfft(rng.standard_normal((length, len(seconds))), axis=0)
    return np.fft.irfft(spectrum * response * np.sqrt(length / power), length, axis=0)[:num_frames]


@functools.lru_cache(maxsize=4)
def _world(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What all drivers of a seed share, in standard deviations.

    Returns:
        Articulation [channel, expression], how the head follows it [expression, 3], the loop of key poses
        [slot, pose].
    """
    rng, count = stream(seed, Role.WORLD), face_statistics.everywhere().num_expressions
    articulation, coupling = rng.standard_normal((CHANNELS, count)), rng.standard_normal((count, 3))
    articulation[:, 0] = np.abs(articulation[:, 0]) * np.array([1.5, 1.0, 0.7, 1.0, -0.7, -0.5])
    angle = 2 * np.pi * np.arange(PERIOD)[:, None] / PERIOD
    parts = [rng.standard_normal((2, count + 3)) / harmonic for harmonic in (1, 2)]
    loop = sum(np.cos(h * angle) * p[0] + np.sin(h * angle) * p[1] for h, p in enumerate(parts, start=1))
    return articulation / np.sqrt(np.mean(articulation**2, axis=0)), coupling, loop / loop.std(axis=0)


@functools.lru_cache(maxsize=4)
def _order_ranks(seed: int) -> np.ndarray:
    return stream(seed, Role.ORDERS).permutation(math.factorial(PERIOD - 1) // 2)


def slot_order(seed: int, index: int) -> Int[np.ndarray, "slot"]:
    """The cyclic order of slots of driver `index`: no two drivers' are rotations or reversals of each other.

    There are 9!/2 = 181,440 cyclic orders of ten up to reversal; a seeded permutation of them gives each
    driver another one.

    Raises:
        ConfigError: more drivers than orders.
    """
    ranks = _order_ranks(seed)
    if not 0 <= index < len(ranks):
        raise ConfigError(f"driver {index}: dynamics_only has {len(ranks)} drivers, 0…{len(ranks) - 1}")
    rank, order, free = int(ranks[index]), [0], list(range(1, PERIOD))
    # The ends beside slot 0 in increasing order make each order and its reversal one.
    ends = [(a, b) for a in free for b in free if a < b]
    rank, choice = divmod(rank, len(ends))
    first, last = ends[choice]
    free = [slot for slot in free if slot not in (first, last)]
    order.append(first)
    while free:
        rank, choice = divmod(rank, len(free))
        order.append(free.pop(choice))
    return np.array([*order, last])


def draw_driver(seed: int, index: int, config: SimulatorConfig) -> Driver:
    """The way of moving of person `index`."""
    rng, stats = stream(seed, Role.DRIVER, index), face_statistics.everywhere()
    count, motion = stats.num_expressions, stats.motion
    articulation, coupling, loop = _world(seed)

    def pooled(figure):
        return np.concatenate([motion[f"{k}_{figure}"] for k in ("expression", "rotation", "translation")])

    sds = pooled("person_sd")
    if config.regime == "dynamics_only":
        pose_sds = sds[: count + 3]
        return SlotDriver(index, slot_order(seed, index), loop * pose_sds, 0.3 * pose_sds)

    def factor(spread, size=None):
        return np.exp(config.driver_variation * spread * rng.standard_normal(size))

    seconds, spreads = pooled("decorrelation_seconds"), pooled("decorrelation_log_spread")
    channels, variation = count + 6, config.driver_variation
    amplitude = sds * factor(0.3, channels)
    amplitude[count:] *= 1.1 * factor(0.4)  # people who hold their head still, people who do not
    response = count + 3
    width = 0.5 * seconds[:response] * factor(0.5, response)
    own = articulation + 0.15 * variation * rng.standard_normal(articulation.shape)
    own = np.concatenate([own, own @ (coupling + 0.5 * variation * rng.standard_normal((count, 3)))], axis=1)
    share = np.where(np.arange(response) < count, 0.8, 0.4)
    free_share = np.where(np.arange(channels) < count, 0.6, 0.8)
    sway = [
        [hertz * factor(0.35), *(0.7 * sds[count:response] * factor(0.4, 3) * rng.choice([-1, 1], 3))]
        for hertz in (0.35, 1.1)
    ]
    per_event = np.sqrt(EVENTS_PER_SECOND * width * math.sqrt(math.pi) / CHANNELS)
    return FreeDriver(
        index=index,
        rest=0.3 * variation * sds[:count] * rng.standard_normal(count),
        articulation=share * amplitude[:response] * own / np.sqrt(np.sum(own**2, axis=0)) / per_event,
        lag=0.08 * variation * rng.standard_normal(response),
        width=width,
        spontaneous=_mixing(rng, 0.12 * variation, channels) * amplitude * free_share,
        seconds=seconds * factor(1.2 * spreads, channels),
        tempo=float(factor(0.12)),
        asymmetry=float(np.clip(0.08 * variation * rng.standard_normal(), -0.4, 0.4)),
        blink_rate=float(np.clip(motion["blink_rate"][0] * factor(0.5), 0.08, 1.5)),
        blink_regularity=float(2.5 * factor(0.4)),
        blink_seconds=float(motion["blink_seconds"][1] * factor(0.25)),
        blink_depth=float(np.clip(0.9 * factor(0.12), 0.5, 1.0)),
        sway=np.array(sway),
    )


def _mixing(rng, strength: float, channels: int) -> Float[np.ndarray, "channel channel"]:
    mixing = np.eye(channels) + strength * rng.standard_normal((channels, channels)) / math.sqrt(channels / 4)
    return mixing / np.sqrt(np.sum(mixing**2, axis=0))


def draw_clip(seed: int, driver_index: int, sentence: int, repetition: int, config: SimulatorConfig) -> Clip:
    """The recording of person `driver_index` saying `sentence` for the `repetition`-th time."""
    script = stream(seed, Role.SCRIPT, sentence)
    rng = stream(seed, Role.CLIP, driver_index, sentence, repetition)
    stats = face_statistics.everywhere()
    events = math.ceil(1.5 * EVENTS_PER_SECOND * config.max_frames / config.fps)
    times = np.cumsum(script.gamma(3.0, 1 / (3.0 * EVENTS_PER_SECOND), events)) - 0.3
    weights = np.zeros((events, CHANNELS))
    kinds = script.integers(CHANNELS, size=events)
    weights[np.arange(events), kinds] = np.exp(0.35 * script.standard_normal(events))
    step = PERIOD if config.regime == "dynamics_only" else 1
    variation = config.clip_variation
    mood_sd = 0.3 * variation * stats.motion["expression_person_sd"]
    energy = 0.15 * rng.standard_normal() + 0.2 * rng.standard_normal(stats.num_expressions + 6)
    return Clip(
        sentence=sentence,
        repetition=repetition,
        num_frames=int(rng.integers(config.min_frames // step, config.max_frames // step + 1) * step),
        event_times=times * math.exp(0.05 * variation * rng.standard_normal()) + 0.15 * rng.random(),
        event_weights=weights,
        energy=np.exp(variation * energy),
        posture=variation * np.array([0.06, 0.05, 0.03]) * rng.standard_normal(3),
        mood=mood_sd * rng.standard_normal(stats.num_expressions),
        phase=int(rng.integers(PERIOD)),
        motion_seed=np.random.SeedSequence(seed, spawn_key=(int(Role.MOTION), driver_index, sentence, repetition)),
    )
