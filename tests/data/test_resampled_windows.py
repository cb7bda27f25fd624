"""Windows of resampled tracks, in training and evaluation, against the steps done by hand."""

import numpy as np
import pytest
from sources import make_source

from fingerprint.data import augment, input_pipeline
from fingerprint.landmarks import normalize, windows
from fingerprint.landmarks.windows import WindowSpec

SET, SPEC = "ibug68", WindowSpec(16, 5, 0.8, resample=21)
OPTIONS = {"landmark_set": SET, "normalization": "box", "spec": SPEC}


@pytest.fixture(scope="module")
def source():
    """Tracks shorter and longer than 21 frames, most of them with lost frames."""
    short = make_source(drivers=3, targets=1, clips=2, frames=12, landmark_set=SET, lost_frames=1)
    long = make_source(drivers=3, targets=1, clips=3, frames=33, landmark_set=SET, lost_frames=6, seed=1)
    for record in long.records:
        record["video_id"] += "-long"
    short.records += long.records
    return short


def by_hand(record):
    track = normalize.get("box")(record["landmarks"], record["frame_mask"], record["image_size"], SET)
    return windows.resample(track, record["frame_mask"], 21)


def test_evaluation_embeds_the_windows_of_resampled_tracks(source):
    found = {}
    for batch in input_pipeline.evaluation_batches(source, batch_size=4, **OPTIONS):
        for row in np.flatnonzero(batch.record >= 0):
            found[int(batch.record[row]), int(batch.start[row])] = batch.windows[row], batch.frame_mask[row]
    expected = {}
    for number, record in enumerate(source.records):
        track, mask = by_hand(record)
        for start in (0, 5):
            if mask[start : start + 16].sum() >= 13:
                expected[number, start] = track[start : start + 16], mask[start : start + 16]
    assert found.keys() == expected.keys() and 0 < len(found) < 2 * len(source)
    for key, (window, mask) in expected.items():
        assert np.array_equal(found[key][0], window) and np.array_equal(found[key][1], mask)


def test_usable_records_are_those_with_a_window(source):
    expected = []
    for record in source.records:
        _, mask = by_hand(record)
        expected.append(any(mask[start : start + 16].sum() >= 13 for start in range(6)))
    assert input_pipeline.usable_records(source, SPEC).tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_training_draws_windows_of_resampled_tracks(source):
    examples = input_pipeline.train_examples(
        source, options=augment.Augmentation(), drivers_per_batch=3, windows_per_driver=2, same_target=False, seed=0,
        **OPTIONS,
    )  # fmt: skip
    starts = set()
    for step in range(6):
        for slot in range(6):
            example = examples(step, slot)
            track, mask = by_hand(source.records[int(example.record)])
            (start,) = [s for s in range(6) if np.array_equal(track[s : s + 16], example.windows)]
            assert np.array_equal(mask[start : start + 16], example.frame_mask)
            starts.add(start)
    assert len(starts) > 3
