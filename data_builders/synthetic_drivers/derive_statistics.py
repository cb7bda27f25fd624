r"""Derives `fingerprint/data/face_statistics.npz`: the face and motion statistics behind the simulator.

    python -m data_builders.synthetic_drivers.derive_statistics \
        ../shared/data/heads478 fingerprint/data/face_statistics.npz

Input: a folder of `<source>__<clip>.npz` (arrays `landmarks_px16_delta` int16 [478, 3, T], `valid`, `fps`,
`width_height`) and `clips.csv` with the licence of each source. Output: means, modes and spreads over all
people together; no coefficient, frame or mean face of any one clip is stored, so nobody's face can be rebuilt
from it.

How, in order:

1. A clip is used if it is one picture of one person who talks: see `refusal`. Two clips of one source whose
   mean faces differ by less than `SAME_PERSON` count as one person, and a person weighs one however many
   clips there are.
2. Generalised Procrustes over the people's mean faces (similarity transforms); mean face made symmetric.
3. Shape modes: PCA of people and their mirror images, so each mode is either symmetric or antisymmetric. With
   so few people the PCA variances are too large; each is replaced by the variance of left-out people along
   the mode found without them.
4. Blink direction: frames with nearly closed eyes minus the open-eyed frames around them. It and the linear
   trace of head rotation (MediaPipe's mesh is not quite rigid) are taken out, then expression modes: PCA of
   deviations from the clip mean, mirrored.
5. Motion: sds, decorrelation times (autocorrelation below 1/e, at 25 fps) and their spread over people.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fingerprint.landmarks import topology

NUM_SHAPE, NUM_EXPRESSION = 10, 12
SAME_PERSON = 0.03  # root mean square point distance of two mean faces, inner-eye distances
MODEL_OUTPUT = re.compile(r"^(edtalk__(demo_|RD_)|echomimic__|pd-fgc__)")
FPS = 25.0
LEFT_EYE, RIGHT_EYE = (33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380)
INNER_LIPS = (13, 14)

Faces = Float[np.ndarray, "time vertex 3"]


def load(path: Path) -> tuple[Faces, float, tuple[int, int]]:
    """Valid frames in pixels (x right, y down, z away in the scale of x), frame rate, picture size."""
    with np.load(path, allow_pickle=False) as data:
        frames = np.cumsum(data["landmarks_px16_delta"].astype(np.int32), axis=2).transpose(2, 0, 1) / 16.0
        return frames[data["valid"]], float(data["fps"]), tuple(int(v) for v in data["width_height"])


def procrustes(frames: Faces, reference: Float[np.ndarray, "vertex 3"]):
    """Frames moved, turned and scaled onto `reference`; with the rotations R (image = R face), scales and
    centroids."""
    centre = frames.mean(axis=1, keepdims=True)
    offset = reference.mean(axis=0)
    u, s, vt = np.linalg.svd(np.einsum("tvi,vj->tij", frames - centre, reference - offset))
    sign = np.ones_like(s)
    sign[:, 2] = np.linalg.det(u) * np.linalg.det(vt)
    rotation = np.einsum("tik,tk,tkj->tij", u, sign, vt)
    scale = (s * sign).sum(axis=1) / np.sum((frames - centre) ** 2, axis=(1, 2))
    aligned = scale[:, None, None] * ((frames - centre) @ rotation) + offset
    return aligned, rotation, 1 / scale, centre[:, 0]


def angles(rotation: Float[np.ndarray, "time 3 3"]) -> Float[np.ndarray, "time 3"]:
    """Yaw, pitch, roll in radians of R = Rz(roll) Ry(yaw) Rx(pitch)."""
    yaw = np.arcsin(np.clip(-rotation[:, 2, 0], -1, 1))
    pitch = np.arctan2(rotation[:, 2, 1], rotation[:, 2, 2])
    roll = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
    return np.stack([yaw, pitch, roll], axis=1)


def eye_aspect(faces: Faces) -> Float[np.ndarray, "time"]:
    """Height over width of the eyes' openings, mean of both."""

    def one(points):
        p = faces[:, points]
        height = np.linalg.norm(p[:, 1] - p[:, 5], axis=-1) + np.linalg.norm(p[:, 2] - p[:, 4], axis=-1)
        return height / (2 * np.linalg.norm(p[:, 0] - p[:, 3], axis=-1))

    return (one(LEFT_EYE) + one(RIGHT_EYE)) / 2


def lip_gap(faces: Faces) -> Float[np.ndarray, "time"]:
    """Opening of the inner lips in the middle; negative if they cross."""
    return faces[:, INNER_LIPS[1], 1] - faces[:, INNER_LIPS[0], 1]


def refusal(name: str, frames: Faces, size: tuple[int, int], reference) -> str | None:
    """Why a clip is not used; None if it is.

    Left out: output of a generator (by name), several pictures side by side (wider than 1.9 heights), faces
    smaller than 20 pixels between the inner eye corners, turned by more than 15 degrees in the median, mouths
    that hardly move or are moved on purpose (sd of the lip gap outside 0.03 to 0.4 inner-eye distances),
    fewer than 50 frames.
    """
    if MODEL_OUTPUT.match(name):
        return "made by a model"
    if size[0] > 1.9 * size[1]:
        return "several pictures side by side"
    if len(frames) < 50:
        return "too short"
    if np.median(np.linalg.norm(frames[:, 133] - frames[:, 362], axis=1)) < 20:
        return "face too small"
    aligned, rotation, _, _ = procrustes(frames, reference)
    if abs(np.degrees(np.median(angles(rotation)[:, 0]))) > 15:
        return "not frontal"
    if not 0.03 < lip_gap(aligned).std() < 0.4:
        return "does not talk"
    return None


def people_of(names: list[str], means: Float[np.ndarray, "clip vertex 3"]) -> np.ndarray:
    """Person number of each clip: clips of one source with nearly the same mean face are one person."""
    person = np.arange(len(names))
    for i in range(len(names)):
        for j in range(i):
            close = np.sqrt(np.mean(np.sum((means[i] - means[j]) ** 2, axis=-1))) < SAME_PERSON
            if close and names[i].split("__")[0] == names[j].split("__")[0]:
                person[person == person[i]] = person[j]
    return np.unique(person, return_inverse=True)[1]


def mirrored(faces, mirror):
    """Faces (or displacements) with left and right exchanged."""
    return faces[..., mirror, :] * np.array([-1.0, 1.0, 1.0])


def pca(rows: Float[np.ndarray, "row feature"], weights: Float[np.ndarray, "row"], count: int):
    """Leading orthonormal modes and the standard deviations along them, for weighted rows about zero."""
    scaled = rows * np.sqrt(weights / weights.sum())[:, None]
    _, s, vt = np.linalg.svd(scaled, full_matrices=False) if len(rows) < 2000 else _svd_by_covariance(scaled)
    return vt[:count], s[:count]


def _svd_by_covariance(rows):
    values, vectors = np.linalg.eigh(rows.T @ rows)
    return None, np.sqrt(np.maximum(values[::-1], 0)), vectors[:, ::-1].T


def shape_modes(people: Float[np.ndarray, "person vertex 3"], mean, mirror):
    """Modes and shrunken standard deviations (by leaving each person out in turn)."""
    deviation = people - mean
    both = np.stack([deviation, mirrored(deviation, mirror)]).reshape(2, len(people), -1)
    rows = both.reshape(2 * len(people), -1)
    modes, in_sample = pca(rows, np.ones(len(rows)), NUM_SHAPE)
    left_out = np.zeros((len(people), NUM_SHAPE))
    for i in range(len(people)):
        others = np.delete(both, i, axis=1).reshape(-1, rows.shape[1])
        left_out[i] = (both[0, i] @ pca(others, np.ones(len(others)), NUM_SHAPE)[0].T) ** 2
    return modes, np.minimum(in_sample, np.sqrt(left_out.mean(axis=0)))


def resampled(series: Float[np.ndarray, "time channel"], fps: float) -> Float[np.ndarray, "time channel"]:
    """The series at `FPS` frames a second, linearly interpolated."""
    seconds = np.arange(len(series)) / fps
    at = np.arange(0, seconds[-1], 1 / FPS)
    return np.stack([np.interp(at, seconds, column) for column in series.T], axis=1)


def decorrelation_seconds(series: Float[np.ndarray, "time channel"]) -> Float[np.ndarray, "channel"]:
    """First lag at which the autocorrelation falls below 1/e (linearly interpolated)."""
    centred = series - series.mean(axis=0)
    spectrum = np.fft.rfft(centred, 2 * len(centred), axis=0)
    acf = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[: len(centred)]
    acf = acf / np.maximum(acf[0], 1e-12)
    out = []
    for column in acf.T:
        k = int(np.argmax(column < np.exp(-1)))
        out.append((k - 1 + (column[k - 1] - np.exp(-1)) / (column[k - 1] - column[k])) / FPS)
    return np.array(out)


def blink_events(aspect: Float[np.ndarray, "time"], fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Closedness (0 open, 1 closed) a frame, and the durations in seconds of the events above one half."""
    opened = np.percentile(aspect, 75)
    closed = np.clip((1 - aspect / opened) / 0.75, 0, 1.2)
    edges = np.diff(np.concatenate([[0], (closed > 0.5).astype(int), [0]]))
    durations = (np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)) / fps
    return closed, durations


def blink_direction(clips, weights, mirror):
    """Mean of (nearly closed - open frames within half a second), scaled to closedness one, symmetric."""
    total, mass = 0.0, 0.0
    for clip, weight in zip(clips, weights, strict=True):
        closed, face = clip["closed"], clip["deviation"]
        pieces = []
        for t in np.flatnonzero(closed > 0.7):
            near = np.arange(max(0, t - 12), min(len(closed), t + 13))
            near = near[closed[near] < 0.2]
            if len(near):
                pieces.append((face[t] - face[near].mean(axis=0)) / (closed[t] - closed[near].mean()))
        if pieces:
            total, mass = total + weight * np.mean(pieces, axis=0), mass + weight
    direction = total / mass
    return (direction + mirrored(direction, mirror)) / 2


def person_average(values: list[np.ndarray], person: np.ndarray) -> np.ndarray:
    """[person, …]: mean over each person's clips."""
    return np.stack(
        [np.mean([v for v, p in zip(values, person, strict=True) if p == k], axis=0) for k in np.unique(person)]
    )


def centre_and_spread(values: Float[np.ndarray, "person channel"]) -> tuple[np.ndarray, np.ndarray]:
    """Median over people, and the robust standard deviation over people of the logarithm."""
    logs = np.log(np.maximum(values, 1e-9))
    quartiles = np.percentile(logs, [25, 50, 75], axis=0)
    return np.exp(quartiles[1]), (quartiles[2] - quartiles[0]) / 1.349


def read_clips(folder: Path, points: topology.LandmarkSet) -> list[dict]:
    """The clips of a folder that are used; prints the reason for each of the others."""
    reference = points.reference_shape.astype(np.float64)
    clips = []
    for path in sorted(folder.glob("*.npz")):
        frames, fps, size = load(path)
        reason = refusal(path.stem, frames, size, reference)
        print(f"{path.stem:<58}{reason or 'used'}")
        if reason is None:
            clips.append({"name": path.stem, "frames": frames, "fps": fps})
    return clips


def align_all(clips: list[dict], points: topology.LandmarkSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generalised Procrustes. Fills `face` and pose of every clip; returns mean face, people's faces, person
    numbers."""
    mean, person = points.reference_shape.astype(np.float64), None
    for _ in range(5):
        for clip in clips:
            clip["face"], clip["rotation"], clip["scale"], clip["centre"] = procrustes(clip["frames"], mean)
        means = [clip["face"].mean(axis=0) for clip in clips]
        if person is None:
            person = people_of([c["name"] for c in clips], np.stack(means))
        people = person_average(means, person)
        mean = people.mean(axis=0)
        mean = (mean + mirrored(mean, points.mirror)) / 2
        mean = mean - mean[points.nose_tip]
        mean = mean / np.linalg.norm(mean[points.inner_eyes[0]] - mean[points.inner_eyes[1]])
    return mean, people, person


def expression_modes(clips, weights, mirror):
    """Removes blink and the trace of rotation from the deviations (in place), then PCA; mode signs open the
    mouth."""
    pose = np.concatenate([c["pose"] - c["pose"].mean(axis=0) for c in clips])
    frame_weights = np.concatenate(
        [np.full(len(c["pose"]), w / len(c["pose"])) for c, w in zip(clips, weights, strict=True)]
    )
    blink = blink_direction(clips, weights, mirror)
    for clip in clips:
        clip["deviation"] = clip["deviation"] - clip["closed"][:, None, None] * blink
        clip["deviation"] -= clip["deviation"].mean(axis=0)
    rows = np.concatenate([c["deviation"].reshape(len(c["deviation"]), -1) for c in clips])
    root = np.sqrt(frame_weights)[:, None]
    trace = np.linalg.lstsq(pose * root, rows * root, rcond=None)[0]
    rows = rows - pose @ trace
    flipped = mirrored(rows.reshape(len(rows), -1, 3), mirror).reshape(rows.shape)
    modes, sds = pca(np.concatenate([rows, flipped]), np.concatenate([frame_weights] * 2), NUM_EXPRESSION)
    shaped = modes.reshape(NUM_EXPRESSION, -1, 3)
    opening = shaped[:, INNER_LIPS[1], 1] - shaped[:, INNER_LIPS[0], 1]
    modes = modes * np.where(opening < 0, -1.0, 1.0)[:, None]
    start = 0
    for clip in clips:
        clip["coefficients"] = rows[start : start + len(clip["pose"])] @ modes.T
        start += len(clip["pose"])
    share = np.sum((rows @ modes.T) ** 2 * frame_weights[:, None], axis=0).sum() / np.sum(
        rows**2 * frame_weights[:, None]
    )
    return blink, modes.reshape(NUM_EXPRESSION, -1, 3), sds, float(share)


def main() -> None:
    """Reads the folder, writes the table, prints where it came from."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    points = topology.get("mediapipe478")
    clips = read_clips(arguments.folder, points)
    mean, people, person = align_all(clips, points)
    weights = 1 / np.bincount(person)[person]
    shapes, shape_sds = shape_modes(people, mean, points.mirror)

    durations, blinks_per_second, jitter = [], [], []
    for clip in clips:
        clip["deviation"] = clip["face"] - clip["face"].mean(axis=0)
        clip["pose"] = angles(clip["rotation"])
        clip["closed"], lengths = blink_events(eye_aspect(clip["face"]), clip["fps"])
        durations.append(lengths)
        blinks_per_second.append(len(lengths) * clip["fps"] / len(clip["frames"]))
        fourth = np.diff(clip["face"], n=4, axis=0)
        jitter.append(np.median(np.abs(fourth)) / 0.6745 / np.sqrt(70.0))
    blink, expressions, expression_sds, share = expression_modes(clips, weights, points.mirror)

    place = [(c["centre"] - c["centre"].mean(axis=0)) / c["scale"].mean() for c in clips]
    size = [np.log(c["scale"] / c["scale"].mean())[:, None] for c in clips]
    channels = {
        "expression": [c["coefficients"] for c in clips],
        "rotation": [c["pose"] for c in clips],
        "translation": [np.concatenate([p[:, :2], s], axis=1) for p, s in zip(place, size, strict=True)],
    }
    motion = {}
    for name, series in channels.items():
        series = [resampled(s, c["fps"]) for s, c in zip(series, clips, strict=True)]
        sd, spread = centre_and_spread(person_average([s.std(axis=0) for s in series], person))
        seconds, seconds_spread = centre_and_spread(person_average([decorrelation_seconds(s) for s in series], person))
        motion |= {
            f"{name}_person_sd": sd,
            f"{name}_person_sd_log_spread": spread,
            f"{name}_decorrelation_seconds": seconds,
            f"{name}_decorrelation_log_spread": seconds_spread,
        }
    rate, rate_spread = centre_and_spread(np.maximum(person_average(blinks_per_second, person), 0.05)[:, None])

    with open(arguments.folder / "clips.csv", newline="", encoding="utf-8") as file:
        licence = {row["source_repository"]: row["licence"] for row in csv.DictReader(file)}
    sources = sorted({c["name"].split("__")[0] for c in clips})
    provenance = {
        "made_by": "data_builders/synthetic_drivers/derive_statistics.py",
        "clips": len(clips),
        "people": int(person.max() + 1),
        "frames": int(sum(len(c["frames"]) for c in clips)),
        "sources": {s: licence[s] for s in sources},
        "what": "means, modes and spreads over all people together; nobody's own face or motion is stored",
        "units": "inner-eye distances, radians, seconds; x right, y down, z away; nose tip at the origin",
        "expression_modes_explain": round(share, 3),
        "shrinkage": "shape_sds: variances of left-out people",
    }
    half, single = np.float16, np.float32
    np.savez_compressed(
        arguments.output,
        mean_face=mean.astype(single),
        shape_modes=shapes.reshape(NUM_SHAPE, -1, 3).astype(half),
        shape_sds=shape_sds.astype(single),
        expression_modes=expressions.astype(half),
        expression_sds=expression_sds.astype(single),
        blink_direction=blink.astype(half),
        blink_rate=rate.astype(single),
        blink_rate_log_spread=rate_spread.astype(single),
        blink_seconds=np.percentile(np.concatenate(durations), [25, 50, 75]).astype(single),
        jitter_sd=np.array([np.median(person_average(jitter, person))], single),
        provenance=np.array(json.dumps(provenance)),
        **{key: value.astype(single) for key, value in motion.items()},
    )
    print(json.dumps(provenance, indent=1), f"{arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
