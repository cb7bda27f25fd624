"""Landmarks, blendshapes and head pose of a video through MediaPipe's Face Landmarker; the one file that imports it.

Which face: see `faces`. Results of a video that shows one face are those of MediaPipe's public interface to the bit;
they are read from its C structures because making Python objects of them takes a tenth of all time.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import hashlib
import os
import pathlib
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from fingerprint.errors import ConfigError, FingerprintError
from fingerprint.landmarks import faces, track, video

# MediaPipe imports TensorFlow where it is installed: 12 s for nothing that is used here.
_absent = sys.modules.setdefault("tensorflow", None) is None
import mediapipe  # noqa: E402
from mediapipe.tasks.python import vision  # noqa: E402
from mediapipe.tasks.python.core.base_options import BaseOptions  # noqa: E402

if _absent:
    del sys.modules["tensorflow"]

_LOOK_EVERY_US = 1_000_000
"""How often a followed face is looked past, for others in the picture."""


@dataclasses.dataclass(frozen=True)
class ExtractionOptions:
    """How a video is read; stored with the result.

    Attributes:
        mode: `video` smooths in time by the frames' timestamps; `image` takes each frame alone.
        clock: `container` takes timestamps as stored; `index` counts int(i / fps * 1000) ms, as AVAPrintDB does.
        max_frames: a longer video is refused.
    """

    mode: Literal["video", "image"] = "video"
    clock: Literal["container", "index"] = "container"
    max_frames: int = video.MAX_FRAMES

    def __post_init__(self):
        if self.mode not in ("video", "image") or self.clock not in ("container", "index") or self.max_frames < 2:
            raise ConfigError(f"{self}: wanted mode video or image, clock container or index, max_frames from 2")


@dataclasses.dataclass(frozen=True)
class Extracted:
    """What became of one video.

    Attributes:
        path: the track file.
        num_frames: frames in the video.
        num_valid: frames with a face.
        num_tracks: 0 if no frame shows a face.
        num_several: frames in which other faces were present.
        seconds: of work.
        sha256: of the video file.
    """

    path: pathlib.Path
    num_frames: int
    num_valid: int
    num_tracks: int
    num_several: int
    seconds: float
    sha256: str


@dataclasses.dataclass(frozen=True, eq=False)
class FaceFrame:
    """What one frame shows of the followed face; the three arrays are None if it is not there.

    Attributes:
        index: the frame's position.
        timestamp_us: microseconds since the first frame.
        image_size: width and height of the frame.
        landmarks: as in `track.LandmarkTrack`.
        blendshapes: coefficients in [0, 1].
        pose: rigid transformation of the head, centimetres.
        several: other faces were in the picture when last looked.
        new_face: the frame from which on another person is followed, reported once, a few frames later.
    """

    index: int
    timestamp_us: int
    image_size: tuple[int, int]
    landmarks: Float32[np.ndarray, "478 3"] | None
    blendshapes: Float32[np.ndarray, "52"] | None
    pose: Float32[np.ndarray, "4 4"] | None
    several: bool
    new_face: int | None


def extract_to_file(
    path: str | os.PathLike,
    out_path: str | os.PathLike,
    *,
    model_file: str | os.PathLike,
    options: ExtractionOptions = ExtractionOptions(),
    root: str | os.PathLike | None = None,
    on_frames: Callable[[int], None] | None = None,
) -> Extracted:
    """Extract a video into a track file, which appears whole or not at all; memory does not grow with the video.

    Args:
        path: the video.
        out_path: the track file; its folder exists.
        model_file: as `model_file.find` gives it.
        options: how to read the video.
        root: folder that the video, symbolic links followed, must lie in; its name is kept relative to it.
        on_frames: told the number of frames done, now and then and at the end.

    Raises:
        VideoRefused: the video cannot be used.
    """
    began = time.perf_counter()
    info = video.open_video(path, root, max_frames=options.max_frames)
    name = pathlib.Path(path).relative_to(root).as_posix() if root is not None else pathlib.Path(path).name
    pictures = video.frames(path, root, info=info)
    starts, several, count = [0], 0, 0
    with track.writer(out_path) as out:
        for face in _follow(pictures, model_file, options, info.fps, info.image_size):
            out.append(face.landmarks, face.blendshapes, face.pose, face.timestamp_us, face.several)
            several += face.several
            count += 1
            if face.new_face is not None:
                starts.append(face.new_face)
            if on_frames is not None and count % 32 == 0:
                on_frames(count)
        if on_frames is not None:
            on_frames(count)
        starts = starts if out.num_valid else []
        digest = _sha256(path)
        about = provenance(model_file, options) | {"file": name, "sha256": digest, "rotation": info.rotation}
        out.finish(starts, info.image_size, info.fps, about)
        valid = out.num_valid
    seconds = time.perf_counter() - began
    return Extracted(pathlib.Path(out_path), count, valid, len(starts), several, seconds, digest)


def follow(
    pictures: Iterable[video.Frame], *, model_file: str | os.PathLike, options: ExtractionOptions = ExtractionOptions()
) -> Iterator[FaceFrame]:
    """The followed face of each frame, in order and at once.

    Raises:
        ConfigError: the options ask for a clock that counts, and live frames have no rate.
    """
    if options.clock != "container":
        raise ConfigError("frames as they arrive have no rate to count time by; wanted clock 'container'")
    yield from _follow(pictures, model_file, options, None, None)


def provenance(model_file: str | os.PathLike, options: ExtractionOptions) -> dict[str, Any]:
    """What all tracks of a run share: extractor, model, options."""
    return {
        "extractor": f"mediapipe {mediapipe.__version__} FaceLandmarker",
        "decoder": video.DECODER,
        "model_sha256": _sha256(model_file),
        "mode": options.mode,
        "clock": options.clock,
    }


def _follow(pictures, model_file, options: ExtractionOptions, fps: float | None, image_size) -> Iterator[FaceFrame]:
    watch = None
    followed, looked_at, several, last_ms = False, 0, False, -1
    with FaceLandmarker(model_file, options.mode) as landmarker, FaceFinder(model_file) as finder:
        for frame in pictures:
            size = image_size or frame.rgb.shape[1::-1]
            watch = watch or faces.IdentityWatch(size)
            rgb, ms = frame.rgb, frame.timestamp_us // 1000
            if options.clock == "index":
                ms = int(frame.index / fps * 1000)
            last_ms = ms = max(ms, last_ms + 1)
            if not followed or frame.timestamp_us - looked_at >= _LOOK_EVERY_US:
                boxes, looked_at = finder.find(rgb), frame.timestamp_us
                several = len(boxes) > 1
                if several and not followed:
                    rgb = faces.only(rgb, boxes, faces.largest(boxes))
            face = landmarker.detect(rgb, ms)
            followed = face is not None
            new_face = watch.push(frame.index, face and face[0], frame.rgb)
            yield FaceFrame(frame.index, frame.timestamp_us, size, *(face or (None,) * 3), several, new_face)


Face = tuple[Float32[np.ndarray, "478 3"], Float32[np.ndarray, "52"], Float32[np.ndarray, "4 4"]]


class FaceLandmarker:
    """MediaPipe's Face Landmarker for one face, closed by `with`.

    Args:
        model_file: `face_landmarker.task`.
        mode: `video` or `image`.
        public: read results through MediaPipe's public interface instead of its C structures.
    """

    def __init__(self, model_file: str | os.PathLike, mode: str = "video", *, public: bool = False):
        self._video = mode == "video"
        with _quiet():
            self._landmarker = vision.FaceLandmarker.create_from_options(
                vision.FaceLandmarkerOptions(
                    base_options=BaseOptions(model_asset_path=os.fspath(model_file)),
                    running_mode=vision.RunningMode.VIDEO if self._video else vision.RunningMode.IMAGE,
                    output_face_blendshapes=True,
                    output_facial_transformation_matrixes=True,
                )
            )
        self._call = None if public else _c_interface(self._landmarker, self._video)

    def detect(self, rgb: UInt8[np.ndarray, "height width 3"], timestamp_ms: int) -> Face | None:
        """Landmarks, blendshapes and pose of the face in the next frame; None if there is none."""
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
        if self._call is not None:
            return self._call(image, timestamp_ms)
        found = (
            self._landmarker.detect_for_video(image, timestamp_ms) if self._video else self._landmarker.detect(image)
        )
        if not found.face_landmarks:
            return None
        landmarks = np.array([(p.x, p.y, p.z) for p in found.face_landmarks[0]], np.float32)
        blendshapes = np.array([category.score for category in found.face_blendshapes[0]], np.float32)
        return landmarks, blendshapes, np.array(found.facial_transformation_matrixes[0], np.float32)

    def __enter__(self) -> FaceLandmarker:
        return self

    def __exit__(self, *exception) -> None:
        self._landmarker.close()


class FaceFinder:
    """The detector inside the Face Landmarker's model file, for counting faces; closed by `with`."""

    def __init__(self, model_file: str | os.PathLike):
        with zipfile.ZipFile(model_file) as bundle, _quiet():
            self._detector = vision.FaceDetector.create_from_options(
                vision.FaceDetectorOptions(
                    base_options=BaseOptions(model_asset_buffer=bundle.read("face_detector.tflite"))
                )
            )

    def find(self, rgb: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "face 4"]:
        """Boxes (left, top, right, bottom) in pixels."""
        found = self._detector.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb))
        boxes = [d.bounding_box for d in found.detections]
        corners = [(b.origin_x, b.origin_y, b.origin_x + b.width, b.origin_y + b.height) for b in boxes]
        return np.array(corners, np.float32).reshape(-1, 4)

    def __enter__(self) -> FaceFinder:
        return self

    def __exit__(self, *exception) -> None:
        self._detector.close()


def _c_interface(landmarker, in_video: bool) -> Callable[[Any, int], Face | None] | None:
    """A detect function that reads MediaPipe's result where it lies; None if this release is built otherwise."""
    try:
        from mediapipe.tasks.python.components.containers import category_c, landmark_c
        from mediapipe.tasks.python.core import mediapipe_c_utils
        from mediapipe.tasks.python.vision import face_landmarker as internals

        library, handle = landmarker._lib._lib, landmarker._handle
        result_type, point, category = (
            internals.FaceLandmarkerResultC,
            landmark_c.NormalizedLandmarkC,
            category_c.CategoryC,
        )
        name = "MpFaceLandmarkerDetectForVideo" if in_video else "MpFaceLandmarkerDetectImage"
        function, close = getattr(library, name), library.MpFaceLandmarkerCloseResult
        points = np.dtype(
            {"names": ["xyz"], "formats": ["3<f4"], "offsets": [point.x.offset], "itemsize": ctypes.sizeof(point)}
        )
        scores = np.dtype(
            {
                "names": ["score"],
                "formats": ["<f4"],
                "offsets": [category.score.offset],
                "itemsize": ctypes.sizeof(category),
            }
        )
        handle_status, free = mediapipe_c_utils.handle_status, library.MpErrorFree
        in_a_row = (point.y.offset - point.x.offset, point.z.offset - point.x.offset) == (4, 8)
        if not in_a_row or len(function.argtypes) != (6 if in_video else 5):
            return None
    except (ImportError, AttributeError, TypeError):
        return None

    def detect(image, timestamp_ms: int) -> Face | None:
        result, error = result_type(), ctypes.c_char_p()
        when = (timestamp_ms,) if in_video else ()
        status = function(handle, image._image_ptr, None, *when, ctypes.byref(result), ctypes.byref(error))
        try:
            handle_status(status, error)
        finally:
            if error.value is not None:
                free(error)
        try:
            if not result.face_landmarks_count:
                return None
            found, shapes = result.face_landmarks[0], result.face_blendshapes[0]
            matrix = result.facial_transformation_matrixes[0]
            landmarks = np.frombuffer(
                ctypes.string_at(found.landmarks, found.landmarks_count * points.itemsize), points
            )
            blendshapes = np.frombuffer(
                ctypes.string_at(shapes.categories, shapes.categories_count * scores.itemsize), scores
            )
            pose = np.frombuffer(ctypes.string_at(matrix.data, 64), "<f4").reshape(4, 4).T
            return np.ascontiguousarray(landmarks["xyz"]), np.ascontiguousarray(blendshapes["score"]), pose.copy()
        finally:
            close(ctypes.byref(result))

    return detect


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """MediaPipe's C++ code greets on standard error; what it says is kept for the case that it fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except (RuntimeError, ValueError, OSError) as error:
            said.seek(0)
            tail = said.read()[-500:].decode(errors="replace")
            raise FingerprintError(f"MediaPipe cannot start: {error}; it said: {tail}") from error
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _sha256(path: str | os.PathLike) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
