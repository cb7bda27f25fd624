"""Frames/s of extraction over a plain loop of OpenCV and MediaPipe, on one core.

    python -m benchmarks.extraction VIDEO --model-file face_landmarker.task [--rounds 4] [--core 0]

The plain loop is what scripts do: `VideoCapture.read`, `cvtColor`, `detect_for_video` with blendshapes and pose, and a
Python list of points, kept in memory. Ours decodes, detects, watches for other faces and other people, and writes the
track file. Both alternate in one process that is bound to one core. Rates are of processor time as well as of the
clock: on a machine with other work the former say more. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import tempfile
import time

from benchmarks import alternate
from fingerprint.landmarks import extract, model_file


def plain_loop(path: pathlib.Path, model: pathlib.Path) -> list:
    """The loop to compare with."""
    import cv2
    import mediapipe
    from mediapipe.tasks.python import vision
    from mediapipe.tasks.python.core.base_options import BaseOptions

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.VIDEO,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    capture, points = cv2.VideoCapture(str(path)), []
    rate = capture.get(cv2.CAP_PROP_FPS)
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        while (read := capture.read())[0]:
            rgb = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
            found = landmarker.detect_for_video(image, int(len(points) / rate * 1000))
            points.append([[p.x, p.y, p.z] for p in found.face_landmarks[0]] if found.face_landmarks else None)
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=pathlib.Path)
    parser.add_argument("--model-file", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--core", type=int, default=0)
    arguments = parser.parse_args()
    try:
        import cv2
    except ImportError:
        raise SystemExit("the plain loop needs OpenCV: pip install opencv-python-headless") from None

    os.sched_setaffinity(0, {arguments.core})
    cv2.setNumThreads(1)
    model = model_file.find(arguments.model_file)
    processor: dict[str, list[float]] = {"plain": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.track.npz"
        work = {
            "plain": lambda: plain_loop(arguments.video, model),
            "ours": lambda: extract.extract_to_file(arguments.video, out, model_file=model),
        }
        frames = len(work["plain"]())

        def timed(name: str) -> None:
            began = time.process_time()
            work[name]()
            processor[name].append(frames / (time.process_time() - began))

        candidates = {name: (lambda name=name: timed(name), frames) for name in work}
        seen = alternate.rates(candidates, arguments.rounds)
        bytes_a_frame = out.stat().st_size / frames
    processor = {name: rates[1:] for name, rates in processor.items()}
    report = {
        "video": arguments.video.name,
        "frames": frames,
        "frames_per_s": alternate.medians(seen),
        "frames_per_processor_s": alternate.medians(processor),
        "ratio": alternate.ratio(seen, "ours", "plain"),
        "ratio_processor": alternate.ratio(processor, "ours", "plain"),
        "bytes_per_frame": round(bytes_a_frame),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
