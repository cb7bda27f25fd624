"""Simulated talking heads: who drives is known exactly, and so is what a model may learn it from.

A *driver* has a way of moving, a *target* a face, a *clip* is one recording of a driver saying a sentence, a
*generator* renders the clip's motion on a target, a *camera* looks at it. Faces are the mean face plus shape,
expression and blink modes of `face_statistics`; amplitudes and times follow the real people behind that
table. Everything is drawn from (seed, role, index): driver 7 is the same whatever else is generated, and a
clip's motion is the same on every target.

Two regimes (see `CONFIGS`):

**full**: drivers differ in resting expression, amplitudes, speeds, lags, coupling of expression and head,
asymmetry, blinking, nodding and swaying, and in how they articulate what everybody says. Poses alone tell a
good deal, poses and their order more.

**dynamics_only**: a control in which order is the only cue. Time runs through a period of `PERIOD` = 10
slots. Slot r has a key pose, the same for all drivers; a frame in slot r is that pose, times the clip's
amplitude, plus noise drawn anew for each frame. A driver visits the ten slots in a cyclic order of its own.
The claim: *the multiset of frames in a window has the same law for every driver*. Proof: a window of 10q
frames meets every slot q times wherever it starts, and given the slots frames are independent, so the
multiset is q frames of each slot, whatever the order; a window of 10q + 1 frames holds one more frame, whose
slot is uniform because clips start at a random phase. Amplitude, phase, length, camera, generator and lost
frames are drawn without looking at the driver; frames are lost independently of each other, so a lost frame
takes each slot with equal chance and tells nothing of its neighbours; generators do not smooth over time,
which would write neighbours into single frames; there is no blinking; tracks are a multiple of ten frames
long, so what is taken from the whole track (its mean face) obeys the same law. Hence any order-blind function
has the same distribution for all drivers, and at equal targets it verifies at an expected AUC of exactly one
half. This is exact for window lengths 0 or 1 modulo 10, and jointly for several windows of one track if their
stride is a multiple of 10. With other lengths which slots are missing depends on the driver's order.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from fingerprint.data import face_statistics
from fingerprint.data.simulated_motion import (  # noqa: F401 (part of this interface)
    CONFIGS,
    PERIOD,
    Clip,
    Driver,
    Role,
    SimulatorConfig,
    draw_clip,
    draw_driver,
    get_config,
    slot_order,
    stream,
)
from fingerprint.errors import ConfigError, UnknownName

NECK = np.array([0.0, 0.4, 1.8])  # what the head turns about, from the nose tip
IMAGE_SIZES = ((1280, 720), (640, 480), (512, 512))
# Seconds of temporal smoothing, gains of expression and head rotation, landmark jitter, size of the bias.
_GENERATORS = {
    "ORIG": (0.0, 1.0, 1.0, 0.003, 0.0),
    "SIMA": (0.03, 0.85, 0.95, 0.004, 0.3),
    "SIMB": (0.05, 0.70, 0.80, 0.003, 0.5),
    "SIMC": (0.04, 0.60, 1.00, 0.006, 0.4),
}
GENERATORS = tuple(_GENERATORS)


@dataclasses.dataclass(frozen=True, eq=False)
class Target:
    """A face: coefficients of the shape modes (in sds) and how strongly it shows each expression."""

    index: int
    shape: Float[np.ndarray, "shape"]
    expression_gain: Float[np.ndarray, "expression"]


def draw_target(seed: int, index: int, config: SimulatorConfig) -> Target:
    """The face of person `index`, drawn apart from how that person moves. Both regimes draw alike."""
    del config
    rng, stats = stream(seed, Role.TARGET, index), face_statistics.everywhere()
    shape = np.clip(rng.standard_normal(stats.num_shapes), -2.5, 2.5)
    gain = 0.08 * rng.standard_normal() + 0.05 * rng.standard_normal(stats.num_expressions)
    return Target(index, shape, np.exp(gain))


@dataclasses.dataclass(frozen=True, eq=False)
class GeneratorModel:
    """What rendering does to motion.

    Temporal smoothing (sd of the Gaussian kernel, s), gains, jitter (sd of each coordinate, inner-eye
    distances, independent over frames), constant bias of shape (in sds) and expression.
    """

    name: str
    smoothing_seconds: float
    expression_gain: float
    rotation_gain: float
    jitter_sd: float
    shape_bias: Float[np.ndarray, "shape"]
    expression_bias: Float[np.ndarray, "expression"]


def draw_generator(seed: int, name: str, config: SimulatorConfig) -> GeneratorModel:
    """The generator called `name` of `GENERATORS`; `"ORIG"` is none. It never smooths in dynamics_only.

    Raises:
        UnknownName: no generator of that name.
    """
    if name not in _GENERATORS:
        raise UnknownName("simulated generator", name, _GENERATORS)
    smoothing, expression, rotation, jitter, bias = _GENERATORS[name]
    rng, stats = stream(seed, Role.GENERATOR, GENERATORS.index(name)), face_statistics.everywhere()
    typical = stats.motion["expression_person_sd"]
    return GeneratorModel(
        name=name,
        smoothing_seconds=0.0 if config.regime == "dynamics_only" else smoothing,
        expression_gain=expression,
        rotation_gain=rotation,
        jitter_sd=jitter,
        shape_bias=bias * rng.standard_normal(stats.num_shapes),
        expression_bias=0.5 * bias * typical * rng.standard_normal(stats.num_expressions),
    )


@dataclasses.dataclass(frozen=True)
class Camera:
    """Picture size (width, height), inner-eye distance and nose tip in pixels, roll (rad), lost frames."""

    image_size: tuple[int, int]
    eye_pixels: float
    nose_pixels: tuple[float, float]
    roll: float
    lost_share: float
    max_gap: int


def draw_camera(seed: int, index: int, config: SimulatorConfig) -> Camera:
    """Camera number `index`; nothing about it depends on driver or target."""
    rng = stream(seed, Role.CAMERA, index)
    width, height = IMAGE_SIZES[rng.integers(len(IMAGE_SIZES))]
    return Camera(
        image_size=(width, height),
        eye_pixels=float(min(width, height) * rng.uniform(0.08, 0.13)),
        nose_pixels=(width * float(rng.uniform(0.42, 0.58)), height * float(rng.uniform(0.48, 0.56))),
        roll=float(0.03 * rng.standard_normal()),
        lost_share=config.lost_share,
        max_gap=config.max_gap,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class RenderedVideo:
    """A track as MediaPipe gives it: x / width, y / height, z / width; lost frames are zero and masked."""

    landmarks: Float[np.ndarray, "time vertex 3"]
    image_size: tuple[int, int]
    frame_mask: Bool[np.ndarray, "time"]
    fps: float


def render(
    driver: Driver,
    target: Target,
    clip: Clip,
    generator: GeneratorModel,
    camera: Camera,
    landmark_indices: Int[np.ndarray, "vertex"],
    *,
    fps: float,
    num_frames: int,
    seed: int,
) -> RenderedVideo:
    """The clip's motion on the target's face.

    Args:
        driver: whose motion.
        target: whose face.
        clip: which recording of the driver.
        generator: what renders it.
        camera: what looks at it.
        landmark_indices: which of MediaPipe's 478 points, in which order.
        fps: frames a second.
        num_frames: length of the video; `clip.num_frames` for the whole clip.
        seed: of what belongs to this video alone, its jitter and lost frames.

    Returns:
        landmarks float32, finite; in masked frames zero.
    """
    stats, rng = face_statistics.at(landmark_indices), stream(seed, Role.RENDER)
    motion = driver.motion(clip, fps=fps, num_frames=num_frames)
    poses = np.concatenate([motion.expression, motion.blink[:, None], motion.rotation, motion.translation], axis=1)
    poses = _smoothed(poses, generator.smoothing_seconds * fps)
    count = stats.num_expressions
    shape = target.shape + generator.shape_bias
    gain = generator.expression_gain * target.expression_gain
    expression = _lips_apart(poses[:, :count] * gain + generator.expression_bias, shape, stats)
    coefficients = np.concatenate([expression, poses[:, count : count + 1]], axis=1)
    modes = np.concatenate([stats.expression_modes, stats.blink_direction[None]])
    modes = modes * (1 + motion.asymmetry * np.tanh(stats.mean_face[:, :1]))
    face = stats.mean_face + np.tensordot(shape, stats.shape_modes, 1)
    points = (face - NECK) + (coefficients @ modes.reshape(count + 1, -1)).reshape(num_frames, -1, 3)

    angles = poses[:, count + 1 : count + 4] * generator.rotation_gain + np.array([0, 0, camera.roll])
    move = poses[:, count + 4 :] * generator.rotation_gain
    points = points @ rotation_matrices(angles).transpose(0, 2, 1) + NECK
    points[..., :2] += move[:, None, :2]
    points = points * np.exp(move[:, 2])[:, None, None]
    points += generator.jitter_sd * rng.standard_normal(points.shape)
    width, height = camera.image_size
    points = points * camera.eye_pixels + np.array([*camera.nose_pixels, 0.0])
    mask = _visible(rng, camera, num_frames)
    landmarks = (points / np.array([width, height, width]) * mask[:, None, None]).astype(np.float32)
    return RenderedVideo(landmarks, camera.image_size, mask, fps)


def rotation_matrices(angles: Float[np.ndarray, "time 3"]) -> Float[np.ndarray, "time 3 3"]:
    """R = Rz(roll) Ry(yaw) Rx(pitch), from (yaw, pitch, roll) in radians; acts on column vectors."""
    (cy, cp, cr), (sy, sp, sr) = np.cos(angles).T, np.sin(angles).T
    rows = [
        [cr * cy, cr * sy * sp - sr * cp, cr * sy * cp + sr * sp],
        [sr * cy, sr * sy * sp + cr * cp, sr * sy * cp - cr * sp],
        [-sy, cy * sp, cy * cp],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def _smoothed(series, frames: float):
    if frames <= 0:
        return series
    time = np.arange(len(series))
    kernel = np.exp(-0.5 * ((time[:, None] - time) / frames) ** 2)
    return (kernel / kernel.sum(axis=1, keepdims=True)) @ series


def _lips_apart(expression, shape, stats):
    """Opens the jaw (first mode) where lips would cross: lips meet, they do not pass through each other."""
    rest, of_shape, of_expression = stats.lip_gap
    gap = rest + shape @ of_shape + expression @ of_expression
    out = expression.copy()
    out[:, 0] += np.maximum(0.01 - gap, 0) / of_expression[0]
    return out


def _visible(rng, camera: Camera, num_frames: int) -> Bool[np.ndarray, "time"]:
    mask = rng.random(num_frames) >= camera.lost_share
    if camera.max_gap and rng.random() < 0.25:
        start = int(rng.integers(num_frames))
        mask[start : start + int(rng.integers(1, camera.max_gap + 1))] = False
    return mask


SPLITS = {"train": 0, "validation": 10_000, "test": 20_000}  # number of each split's first person


@dataclasses.dataclass(frozen=True)
class PlanSizes:
    """How many of what.

    Attributes:
        name: key in `PLANS`.
        people: persons in train, validation and test; no person is in two splits, as driver or as target.
        sentences, repetitions: everybody says each sentence that often; clips per driver = sentences *
            repetitions.
        cross_targets: other people of the split whose faces each clip is rendered on, besides the driver's
            own.
        generators: what renders; drawn for each video without looking at driver or target.
        unseen_generators: further ones that only the test split has.
    """

    name: str
    people: tuple[int, int, int]
    sentences: int
    repetitions: int
    cross_targets: int
    generators: tuple[str, ...] = ("SIMA", "SIMB")
    unseen_generators: tuple[str, ...] = ()

    def __post_init__(self):
        if max(self.people) > 10_000 or min(self.people) <= self.cross_targets:
            raise ConfigError(
                f"plan {self.name}: {self.people} people; wanted more than {self.cross_targets} (the cross "
                "targets) and at most 10000 in each split"
            )
        for generator in self.generators + self.unseen_generators:
            if generator not in _GENERATORS:
                raise UnknownName("simulated generator", generator, _GENERATORS)


PLANS = {
    "tiny": PlanSizes("tiny", (4, 3, 3), sentences=2, repetitions=2, cross_targets=1),
    "quickstart": PlanSizes("quickstart", (40, 10, 16), sentences=3, repetitions=2, cross_targets=2),
    "full": PlanSizes("full", (120, 20, 40), sentences=5, repetitions=2, cross_targets=3, unseen_generators=("SIMC",)),
}


def get_plan(name: str) -> PlanSizes:
    """The sizes called `name`; UnknownName lists the known ones."""
    if name not in PLANS:
        raise UnknownName("simulator plan", name, PLANS)
    return PLANS[name]


@dataclasses.dataclass(frozen=True)
class VideoSpec:
    """One video to be made; person i has motion i and face i."""

    video_id: str
    split: str
    driver: str
    target: str
    generator: str
    clip_id: str
    sentence: str
    driver_index: int
    target_index: int
    sentence_index: int
    repetition: int
    video_seed: int


def plan(seed: int, sizes: PlanSizes, split: str) -> tuple[VideoSpec, ...]:
    """The videos of a split: every clip on its driver's own face and on `cross_targets` others of the split,
    at random.

    Raises:
        UnknownName: no split of that name.
    """
    if split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    first, count = SPLITS[split], sizes.people[list(SPLITS).index(split)]
    generators = sizes.generators + (sizes.unseen_generators if split == "test" else ())
    videos = []
    for driver in range(first, first + count):
        others = [person for person in range(first, first + count) if person != driver]
        for sentence in range(sizes.sentences):
            for repetition in range(sizes.repetitions):
                rng = stream(seed, Role.PLAN, driver, sentence, repetition)
                cross = rng.choice(others, sizes.cross_targets, replace=False)
                for target in (driver, *cross.tolist()):
                    generator = str(rng.choice(generators))
                    videos.append(
                        _video(split, driver, target, sentence, repetition, generator, int(rng.integers(2**31)))
                    )
    return tuple(videos)


def _video(split, driver, target, sentence, repetition, generator, video_seed) -> VideoSpec:
    clip_id = f"{person_name(driver)}-s{sentence:02d}-r{repetition}"
    return VideoSpec(
        video_id=f"{person_name(target)}--{clip_id}--{generator}",
        split=split,
        driver=person_name(driver),
        target=person_name(target),
        generator=generator,
        clip_id=clip_id,
        sentence=f"s{sentence:02d}",
        driver_index=driver,
        target_index=target,
        sentence_index=sentence,
        repetition=repetition,
        video_seed=video_seed,
    )


def person_name(index: int) -> str:
    """The identity string of person `index`."""
    return f"P{index:05d}"


def simulate(
    spec: VideoSpec, seed: int, config: SimulatorConfig, landmark_indices: Int[np.ndarray, "vertex"]
) -> RenderedVideo:
    """The video of a plan's row; `seed` is the plan's."""
    clip = draw_clip(seed, spec.driver_index, spec.sentence_index, spec.repetition, config)
    return render(
        draw_driver(seed, spec.driver_index, config),
        draw_target(seed, spec.target_index, config),
        clip,
        draw_generator(seed, spec.generator, config),
        draw_camera(seed, spec.video_seed, config),
        landmark_indices,
        fps=config.fps,
        num_frames=clip.num_frames,
        seed=spec.video_seed,
    )
