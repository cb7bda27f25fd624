"""Small synthetic source trees for the builders: the mean face plus seeded noise, never a real person.

`python tests/data_builders/trees.py` writes the `dummy_data/` of every builder anew.
"""

from __future__ import annotations

import pathlib
import sys
import zlib

import numpy as np

from fingerprint.landmarks import topology
from fingerprint.landmarks import track as tracks
from fingerprint.landmarks import video as videos

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
UUIDS = {
    "1012_DFA_ANG_XX": "00000000-0000-5000-8000-000000001012",
    "1014_IEO_SAD_HI": "00000000-0000-5000-8000-000000001014",
    "1001_MTI_NEU_XX": "00000000-0000-5000-8000-000000001001",
    "1003_TIE_HAP_XX": "00000000-0000-5000-8000-000000001003",
}
AVAPRINTDB = (  # part, target, driver, recording
    ("DEV", "C1012", "C1012", "1012_DFA_ANG_XX"),
    ("DEV", "C1014", "C1012", "1012_DFA_ANG_XX"),
    ("DEV", "C1014", "C1014", "1014_IEO_SAD_HI"),
    ("DEV", "C1001", "C1001", "1001_MTI_NEU_XX"),
    ("DEV", "C1001", "C1012", "1012_DFA_ANG_XX"),  # validation face, training driver: in neither split
    ("TEST", "C1003", "C1003", "1003_TIE_HAP_XX"),
)
GAGAVATAR = (  # part, driver, target, video, number of windows
    ("dev", "1002", "Actor_01", "1002_DFA_HAP_XX_Actor_01", 2),
    ("dev", "1004", "1004", "1004_DFA_ANG_XX_1004", 1),
    ("test", "Actor_19", "1038", "01-01-01-01-01-01-19_1038", 1),
)


def track(name: str, frames: int, landmark_set: str = "avaprintdb109", dtype=np.float16) -> np.ndarray:
    """Mean face plus noise that follows from `name` alone, [frames, vertex, 3]."""
    face = topology.get(landmark_set).reference_shape
    noise = np.random.default_rng(zlib.crc32(name.encode())).normal(scale=0.02, size=(frames, *face.shape))
    return (face + noise).astype(dtype)


def save(path: pathlib.Path, frames: int = 4, **kwargs) -> pathlib.Path:
    """A track as `.npy`, or `.npz` with frame rate and picture size; the file's name seeds its noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    points = track(path.name, frames, **kwargs)
    if path.suffix == ".npy":
        np.save(path, points)
    else:
        mask = np.arange(frames) != 1
        np.savez(
            path,
            landmarks=points,
            frame_mask=mask,
            fps=np.float32(25),
            image_size=np.array([640, 480], np.int32),
        )
    return path


def landmark_folder(root: pathlib.Path, people: int = 5, landmark_set: str = "avaprintdb109") -> pathlib.Path:
    """`people` persons with two real tracks each, one `.npy` and one `.npz`."""
    for person in range(people):
        name = f"p{person}"
        save(root / name / name / "hello.npy", landmark_set=landmark_set)
        save(root / name / name / "goodbye.npz", frames=5, landmark_set=landmark_set)
    return root


def avaprintdb(root: pathlib.Path, rows=AVAPRINTDB, generator: str = "GAGA") -> pathlib.Path:
    """AVAPrintDB's layout, with the generation table of CREMA-D."""
    lines = ["driver_id,driver_video_path,driver_video_randomname,target_id,target_image_path,split"]
    for part, target, driver, recording in rows:
        save(root / "landmarks" / part / generator / f"{target}--{driver}--{UUIDS[recording]}--{generator}.npy")
        lines.append(f"{driver},CREMA-D/mp4/{recording}.mp4,{UUIDS[recording]},{target},faces/{target}.png,{part}")
    (root / "generation").mkdir(exist_ok=True)
    (root / "generation" / "CREMA-D_all.csv").write_text("\n".join(lines) + "\n")
    return root


def gagavatar(root: pathlib.Path, rows=GAGAVATAR, swapped=frozenset(), frames: int = 50) -> pathlib.Path:
    """GAGAvatar-Benchmark's layout; the folders of videos in `swapped` are target/driver."""
    for part, driver, target, video, windows in rows:
        outer, inner = (target, driver) if video in swapped else (driver, target)
        folder = root / "gagavatar_ravdess_and_cremad" / f"{part}_landmarks_cut_50_50" / outer / inner / video
        for window in range(windows):
            save(folder / f"w{window}.npy", frames=frames)
    return root


def face_track(name: str, frames: int, start_frame: int = 0, fps: float = 25.0) -> tracks.LandmarkTrack:
    """One face in a picture of 640 x 480: mean face plus noise that follows from `name`; its second frame is lost."""
    points = track(name, frames, "mediapipe478", np.float32) * np.float32(0.05) + np.float32(0.5)
    mask = np.arange(frames) != 1
    points[~mask] = 0
    rng = np.random.default_rng(frames)
    pose = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    pose[:, :3, 3] = rng.normal(0, 1, (frames, 3))
    return tracks.LandmarkTrack(
        landmarks=points,
        frame_mask=mask,
        timestamps=np.round(np.arange(start_frame, start_frame + frames) * 1e6 / fps).astype(np.int64),
        blendshapes=np.where(mask[:, None], rng.random((frames, tracks.NUM_BLENDSHAPES), np.float32), np.float32(0)),
        pose=np.where(mask[:, None, None], pose, np.float32(0)),
        several=np.zeros(frames, bool),
        image_size=(640, 480),
        fps=fps,
        start_frame=start_frame,
        provenance=_PROVENANCE,
    )


_PROVENANCE = {"extractor": "made up", "mode": "video", "file": "made_up.mp4", "sha256": "0" * 64}


def video_tracks(root: pathlib.Path, file: str, lengths=(6,), fps: float = 25.0) -> pathlib.Path:
    """The track file of a made-up video in a folder of tracks: one face after another, of so many frames each."""
    starts = np.cumsum([0, *lengths])
    parts = tuple(face_track(f"{file}{i}", n, int(starts[i]), fps) for i, n in enumerate(lengths))
    path = tracks.track_path(root, file)
    path.parent.mkdir(parents=True, exist_ok=True)
    if parts:
        tracks.write(path, tracks.VideoTracks(parts, int(starts[-1]), _PROVENANCE))
    else:
        with tracks.writer(path) as out:
            for frame in range(6):
                out.append(None, None, None, frame * 40_000, False)
            out.finish([], (640, 480), fps, _PROVENANCE)
    return path


def cut(clip: pathlib.Path, out: pathlib.Path, frames: int = 12) -> pathlib.Path:
    """The first frames of a clip as a video of their own."""
    out.parent.mkdir(parents=True, exist_ok=True)
    pictures = (frame.rgb for frame, _ in zip(videos.frames(clip), range(frames), strict=False))
    videos.write_video(out, pictures, videos.open_video(clip).fps)
    return out


def dummy_data(builder: str) -> pathlib.Path:
    return REPOSITORY / "data_builders" / builder / "dummy_data"


def main() -> None:
    landmark_folder(dummy_data("landmark_folder"))
    avaprintdb(dummy_data("avaprintdb"))
    gagavatar(dummy_data("gagavatar_benchmark"), rows=[(*row[:4], 1) for row in GAGAVATAR])


if __name__ == "__main__":
    sys.exit(main())
