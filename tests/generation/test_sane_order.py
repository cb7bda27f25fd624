"""A real clip against itself, itself encoded again, itself blurred, and someone else: in that order by every metric."""

import itertools

import numpy as np
import originals
import pytest
from scipy import ndimage

from fingerprint.generation import pixels
from fingerprint.generation.networks import identity, inception, lpips
from fingerprint.generation.statistics import FeatureStatistics, frechet_distance
from fingerprint.landmarks import extract, model_file, video

pytestmark = pytest.mark.slow
COUNT = 16


def opening(path):
    return np.stack([frame.rgb for frame in itertools.islice(video.frames(path), COUNT)])


def sampled(frames, size):
    """The same picture with as many pixels as another clip has."""
    rows, columns = (np.arange(n) * old // n for n, old in zip(size, frames.shape[1:3], strict=True))
    return np.ascontiguousarray(frames[:, rows][:, :, columns])


@pytest.fixture(scope="module")
def versions(shared, tmp_path_factory):
    folder = shared / "data" / "videos" / "talking"
    clip = opening(folder / "liveportrait_d10.mp4")
    again = tmp_path_factory.mktemp("again") / "clip.mp4"
    video.write_video(again, clip, 25)
    encoded = opening(again)[:, : clip.shape[1], : clip.shape[2]]
    blurred = ndimage.gaussian_filter(clip.astype(np.float32), (0, 4, 4, 0)).round().astype(np.uint8)
    other = sampled(opening(folder / "liveportrait_d12.mp4"), clip.shape[1:3])
    return [clip, encoded, blurred, other]


def falling(values):
    return all(a > b for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("metric", [pixels.psnr, pixels.ssim])
def test_pixels(versions, metric):
    assert falling([metric(versions[0], v).mean() for v in versions])


def test_lpips(versions):
    params = lpips.load(originals.installed("lpips"))
    means = [lpips.distance(params, versions[0], v).mean() for v in versions]
    assert means[0] == 0 and falling(means[::-1])


def test_fid(versions):
    params = inception.load(originals.installed("inception"))
    sets = [FeatureStatistics(inception.FEATURES) for _ in versions]
    for statistics, frames in zip(sets, versions, strict=True):
        statistics.add(inception.features(params, frames))
    distances = [frechet_distance(sets[0], statistics) for statistics in sets]
    assert distances[0] < 1e-6 and falling(distances[::-1])


def test_csim(versions, shared):
    pytest.importorskip("onnxruntime")
    embedder = identity.FaceEmbedder(originals.installed("sface"), threads=1)
    embeddings = []
    for frames in versions:
        with extract.FaceLandmarker(model_file.find(shared / "models" / model_file.NAME), "image") as landmarker:
            found = [landmarker.detect(frame, 0) for frame in frames]
        mask = np.array([face is not None for face in found])
        landmarks = np.stack([face[0] if face else np.zeros((478, 3), np.float32) for face in found])
        embeddings.append(embedder.embed(frames, landmarks, mask))
    assert falling([np.nanmean(identity.csim(embeddings[0], e)) for e in embeddings])
