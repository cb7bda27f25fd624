"""Controls: what can be had without reading motion, and how well the face shown is read from the embedding."""

import itertools
import math

import numpy as np
import pytest
from sources import MemorySource, make_source

from fingerprint import controls
from fingerprint.landmarks import normalize
from fingerprint.validation import VideoTrials
from fingerprint.verification import protocols
from fingerprint.verification.scoring import Scoring

DIM = 24


def cross(drivers=6, targets=6, clips=3):
    """Everybody drives every face."""
    rows = list(itertools.product(range(drivers), range(targets), range(clips)))
    driver, target, _ = (np.array(column) for column in zip(*rows, strict=True))
    return video_table(driver, target)


def video_table(driver, target):
    return {
        "video_id": np.array([f"v{i}" for i in range(len(driver))]),
        "driver": np.array([f"P{d}" for d in driver]),
        "target": np.array([f"P{t}" for t in target]),
    }


def codes(names):
    return np.unique(names, return_inverse=True)[1]


def windows_of(videos, encoded, noise=0.2, per_video=2, seed=0):
    """Unit embeddings around a direction for each of what `encoded` tells apart."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(encoded.max() + 1, DIM))
    video = np.repeat(np.arange(len(videos["video_id"])), per_video)
    vector = directions[encoded[video]] + noise * rng.normal(size=(len(video), DIM))
    return (vector / np.linalg.norm(vector, axis=1, keepdims=True)).astype(np.float32), video


def test_an_embedding_of_the_target_is_found_out():
    videos = cross()
    found = controls.target_probe(*windows_of(videos, codes(videos["target"])), videos)
    assert found["balanced_accuracy"] > 0.98 and found["chance"] == pytest.approx(1 / 6)
    assert found["videos_guessed"] == len(videos["video_id"])
    assert "carries the face shown" in found["reading"]


@pytest.mark.parametrize("noise", [0.01, 0.5])
def test_an_embedding_of_the_driver_is_at_chance(noise):
    videos = cross()
    results = [
        controls.target_probe(*windows_of(videos, codes(videos["driver"]), noise, seed=s), videos) for s in range(5)
    ]
    assert np.mean([r["balanced_accuracy"] for r in results]) == pytest.approx(1 / 6, abs=0.05)
    assert all("little of the face shown is left" in r["reading"] for r in results)


def test_knowing_the_driver_does_not_help_where_people_mostly_wear_their_own_face():
    """The own face in most of a driver's videos: guessing "his own" would be right, but those videos are left out."""
    driver = np.repeat(np.arange(6), 10)
    target = driver.copy().reshape(6, 10)
    for d in range(6):
        target[d, 8:] = [(d + 1) % 6, (d + 2) % 6]
    videos = video_table(driver, target.ravel())
    results = [controls.target_probe(*windows_of(videos, driver, seed=s), videos) for s in range(20)]
    assert np.mean([r["balanced_accuracy"] for r in results]) < 1.5 * results[0]["chance"]
    seen = controls.target_probe(*windows_of(videos, codes(videos["target"])), videos)
    assert seen["balanced_accuracy"] > 0.98


def brute_force_probe(vector, video, videos):
    means = {}
    for v in sorted(set(video.tolist())):
        mean = vector[video == v].astype(float).mean(axis=0)
        means[v] = mean / np.linalg.norm(mean)
    hits, chances = {}, []
    for v in means:
        driver, target = videos["driver"][v], videos["target"][v]
        centres = {}
        for name in sorted(set(videos["target"].tolist())):
            rows = [means[w] for w in means if videos["target"][w] == name and videos["driver"][w] != driver]
            if rows:
                centre = sum(rows)
                centres[name] = centre / np.linalg.norm(centre)
        if target in centres and len(centres) > 1:
            guess = max(centres, key=lambda name: float(centres[name] @ means[v]))
            hits.setdefault(target, []).append(guess == target)
            chances.append(1 / len(centres))
    return np.mean([np.mean(h) for h in hits.values()]), np.mean(chances), len(chances)


def test_the_probe_equals_brute_force():
    rng = np.random.default_rng(1)
    for seed in range(5):
        videos = video_table(rng.integers(0, 4, 30), rng.integers(0, 5, 30))
        encoded = 5 * codes(videos["driver"]) + codes(videos["target"])
        vector, video = windows_of(videos, encoded, noise=0.8, per_video=3, seed=seed)
        kept = ~np.isin(video, [2, 7])  # videos without a window
        found = controls.target_probe(vector[kept], video[kept], videos)
        accuracy, chance, guessed = brute_force_probe(vector[kept], video[kept], videos)
        assert found["balanced_accuracy"] == pytest.approx(accuracy) and found["chance"] == pytest.approx(chance)
        assert found["videos_guessed"] == guessed


def test_own_faces_alone_are_not_measurable():
    videos = video_table(np.arange(4).repeat(3), np.arange(4).repeat(3))
    found = controls.target_probe(*windows_of(videos, codes(videos["target"])), videos)
    assert set(found) == {"reading"} and "not measurable" in found["reading"]


# ------------------------------------------------------------------------------------------------------------ baselines


@pytest.fixture(scope="module")
def source():
    """Some videos of several records, of other lengths and rates; one without a face, one of unknown picture size."""
    records = []
    for i, record in enumerate(make_source(drivers=3, targets=2, clips=3, frames=12, lost_frames=3).records):
        length = 6 + i % 5
        first = {name: record[name][:length] for name in ("landmarks", "frame_mask")}
        second = {name: record[name][length:] for name in ("landmarks", "frame_mask")}
        record = {**record, "fps": np.float32(25 + 5 * (i % 2))}
        if i == 4:
            record["image_size"] = np.zeros(2, np.int32)
        if i == 7:
            first = {"landmarks": np.zeros_like(first["landmarks"]), "frame_mask": np.zeros(length, bool)}
        records.append({**record, **first})
        if i % 3 == 0:
            records.append({**record, **second, "window_index": np.int32(1), "start_frame": np.int32(length)})
    return MemorySource(records)


@pytest.mark.parametrize("clips", [1, 2])
def test_baselines_equal_brute_force(source, clips):
    def all_pairs(videos):
        return protocols.all_pairs(videos, seed=0, enrolment_clips=clips)

    subject = VideoTrials(source, all_pairs, scoring=Scoring())
    videos, trials = subject.videos, subject.trials
    found = controls.baseline_scores(source, videos, subject.video_of_record, trials)
    assert set(found) == {"static_shape", "length_and_rate"} and len(trials) > 20

    face, length = {}, {}
    for v, video_id in enumerate(videos["video_id"].tolist()):
        frames, count = [], 0
        for record in source.records:
            if record["video_id"] == video_id:
                name = "pose_removed" if record["image_size"].all() else "published"
                arguments = (record["landmarks"], record["frame_mask"], record["image_size"], record["landmark_set"])
                frames += [
                    f.ravel() for f, m in zip(normalize.get(name)(*arguments), record["frame_mask"], strict=True) if m
                ]
                count += len(record["frame_mask"])
                fps = float(record["fps"])
        face[v] = np.mean(frames, axis=0) if frames else np.full(109 * 3, np.nan)
        length[v] = np.array([math.log(count), fps / 10])
    for name, descriptor in (("static_shape", face), ("length_and_rate", length)):
        for trial in range(len(trials)):
            template = np.mean([descriptor[v] for v in trials.templates[trials.template_index[trial]]], axis=0)
            expected = -math.sqrt(sum((template - descriptor[int(trials.probe_index[trial])]) ** 2))
            if math.isnan(expected):
                assert np.isnan(found[name][trial])
            else:
                assert found[name][trial] == pytest.approx(expected, abs=1e-4)
    assert np.isnan(found["static_shape"]).any() and not np.isnan(found["length_and_rate"]).any()


def test_a_split_without_a_face_has_no_mean_faces():
    record = make_source(1, 1, 1, 4)[0]
    empty = MemorySource([{**record, "frame_mask": np.zeros(4, bool), "landmarks": np.zeros((4, 109, 3), np.float32)}])
    assert np.isnan(controls.mean_faces(empty, 1, np.array([0]))).all()


def test_mean_faces_tell_targets_apart():
    """The baseline does read the face: the same target is nearer than another."""
    source = make_source(drivers=3, targets=3, clips=1, frames=8)
    faces = controls.mean_faces(source, len(source), np.arange(len(source)))
    target = source.metadata()["target"]
    gaps = np.linalg.norm(faces[:, None] - faces[None], axis=-1)
    same = (target[:, None] == target[None]) & ~np.eye(len(target), dtype=bool)
    assert gaps[same].max() < gaps[target[:, None] != target[None]].min()
