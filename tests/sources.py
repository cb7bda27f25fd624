"""Made-up records in memory: seeded smooth motion of several drivers on several faces."""

from __future__ import annotations

import numpy as np

from fingerprint.landmarks import topology

IMAGE_SIZE = (640, 480)


class MemorySource:
    """Records in a list, with the table that a built split has."""

    def __init__(self, records: list[dict]):
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict:
        return dict(self.records[index])

    def metadata(self) -> dict[str, np.ndarray]:
        over_time = ("landmarks", "frame_mask", "blendshapes", "pose")
        scalars = [name for name in self.records[0] if name not in over_time]
        table = {name: np.array([record[name] for record in self.records]) for name in scalars}
        table["num_frames"] = np.array([len(r["frame_mask"]) for r in self.records], np.int32)
        table["num_valid"] = np.array([r["frame_mask"].sum() for r in self.records], np.int32)
        return table


def smooth_motion(rng: np.random.Generator, frames: int, landmark_set: str = "avaprintdb109", size: float = 0.06):
    """Three smooth fields over the face, each with its own slow rhythm; [frames, vertex, 3], isotropic."""
    shape = topology.get(landmark_set).reference_shape
    time = np.arange(frames)[:, None, None]
    motion = np.zeros((frames, *shape.shape))
    for _ in range(3):
        field = np.sin(shape @ rng.normal(0, 1.0, (3, 3)) + rng.uniform(0, 6, 3))
        motion += field * np.sin(time * rng.uniform(0.15, 0.5) + rng.uniform(0, 6))
    return (size * motion).astype(np.float32)


def face(rng: np.random.Generator, landmark_set: str = "avaprintdb109", size: float = 0.15):
    """Somebody's own face: the reference shape, smoothly bent; [vertex, 3], isotropic."""
    shape = topology.get(landmark_set).reference_shape
    bend = np.sin(shape @ rng.normal(0, 0.6, (3, 3)) + rng.uniform(0, 6, 3))
    return (shape + size * bend).astype(np.float32)


def rotations(angles) -> np.ndarray:
    """Rotation matrices [n, 3, 3] about x, y and z by angles [n, 3] in radians."""
    a, b, c = np.asarray(angles, np.float64).T
    zero, one = np.zeros_like(a), np.ones_like(a)
    about_x = np.array([[one, zero, zero], [zero, np.cos(a), -np.sin(a)], [zero, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), zero, np.sin(b)], [zero, one, zero], [-np.sin(b), zero, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), zero], [np.sin(c), np.cos(c), zero], [zero, zero, one]])
    return np.einsum("ijn,jkn,kln->nil", about_x, about_y, about_z)


def to_picture(points, image_size=IMAGE_SIZE, unit: float = 60.0, centre=(0.5, 0.5)):
    """Points in inner-eye distances, as MediaPipe gives them for a picture: x and z in widths, y in heights."""
    width, height = image_size
    pixels = np.asarray(points) * unit + np.array([centre[0] * width, centre[1] * height, 0.0])
    return (pixels / np.array([width, height, width])).astype(np.float32)


def head_pose(turn, rng: np.random.Generator) -> np.ndarray:
    """MediaPipe's matrix of a head that turns and drifts half a metre before the camera; centimetres."""
    pose = np.tile(np.eye(4, dtype=np.float32), (len(turn), 1, 1))
    pose[:, :3, :3] = turn
    pose[:, :3, 3] = np.cumsum(rng.normal(0, 0.2, (len(turn), 3)), axis=0) - np.array([0, 3, 50])
    return pose


def make_source(
    drivers: int = 4,
    targets: int = 2,
    clips: int = 2,
    frames: int = 20,
    seed: int = 0,
    landmark_set: str = "avaprintdb109",
    lost_frames: int = 0,
    channels: tuple[str, ...] = (),
) -> MemorySource:
    """Each of `drivers` people drives the own face and the next `targets` - 1 others, `clips` clips each.

    Args:
        lost_frames: frames without a face in every clip but each person's first.
        channels: what records hold beside the landmarks: `blendshapes`, `pose`.
    """
    names = [f"P{number:02d}" for number in range(drivers)]
    shapes = [face(np.random.default_rng([seed, 1, i]), landmark_set) for i in range(drivers)]
    records = []
    for index, driver in enumerate(names):
        for clip in range(clips):
            rng = np.random.default_rng([seed, 2, index, clip])
            motion = smooth_motion(rng, frames, landmark_set)
            turn = rotations(np.cumsum(rng.normal(0, 0.02, (frames, 3)), axis=0))
            for step in range(targets):
                target = (index + step) % drivers
                points = np.einsum("tij,tvj->tvi", turn, shapes[target] + motion)
                mask = np.ones(frames, bool)
                if clip and lost_frames:
                    mask[rng.choice(frames, lost_frames, replace=False)] = False
                beside = {
                    "blendshapes": (0.5 + 0.5 * np.sin(points.reshape(frames, -1)[:, :52])).astype(np.float32),
                    "pose": head_pose(turn, rng),
                }
                for values in beside.values():
                    values[~mask] = 0
                records.append(
                    {
                        **{name: beside[name] for name in channels},
                        "landmarks": np.where(mask[:, None, None], to_picture(points), 0).astype(np.float32),
                        "frame_mask": mask,
                        "image_size": np.array(IMAGE_SIZE, np.int32),
                        "fps": np.float32(25.0),
                        "driver": driver,
                        "target": names[target],
                        "generator": "MADE" if step else "ORIG",
                        "corpus": "made up",
                        "clip_id": f"{driver}-{clip}",
                        "sentence": f"s{clip}",
                        "video_id": f"{names[target]}--{driver}--{clip}",
                        "landmark_set": landmark_set,
                        "window_index": np.int32(0),
                        "start_frame": np.int32(0),
                    }
                )
    return MemorySource(records)
