"""Windows against a brute-force transcription of the rule."""

import itertools

import numpy as np
import pytest

from fingerprint.errors import ConfigError
from fingerprint.landmarks import windows
from fingerprint.landmarks.windows import WindowSpec


def brute_force_starts(mask, spec):
    found = []
    for start in range(0, max(len(mask), 1), spec.stride):
        inside = [bool(mask[i]) for i in range(start, start + spec.length) if i < len(mask)]
        whole = len(inside) == spec.length or (start == 0 and spec.pad_short and len(mask) < spec.length)
        if whole and sum(inside) / spec.length >= spec.min_valid - 1e-9:
            found.append(start)
    return found


@pytest.mark.parametrize(
    ("length", "stride", "min_valid", "pad_short"),
    itertools.product([1, 3, 4], [1, 2, 5], [0.01, 0.5, 0.75, 1.0], [False, True]),
)
def test_starts_are_those_of_brute_force(length, stride, min_valid, pad_short):
    spec = WindowSpec(length, stride, min_valid, pad_short)
    rng = np.random.default_rng(length * 100 + stride)
    for total, share in itertools.product(range(13), (0.0, 0.4, 0.8, 1.0)):
        mask = rng.random(total) < share
        found = windows.starts(mask, spec)
        assert found.tolist() == brute_force_starts(mask, spec), (total, mask)
        assert found.dtype == np.int32


def test_the_last_incomplete_window_is_dropped():
    assert windows.starts(np.ones(10, bool), WindowSpec(4, 4)).tolist() == [0, 4]
    assert windows.starts(np.ones(12, bool), WindowSpec(4, 4)).tolist() == [0, 4, 8]
    assert windows.starts(np.ones(3, bool), WindowSpec(4, 4)).tolist() == []
    assert windows.starts(np.ones(3, bool), WindowSpec(4, 4, pad_short=True)).tolist() == [0]


def test_time_is_not_joined_over_a_gap():
    mask = np.ones(12, bool)
    mask[4:8] = False
    assert windows.starts(mask, WindowSpec(4, 1, 1.0)).tolist() == [0, 8]
    assert windows.starts(mask, WindowSpec(4, 1, 0.5)).tolist() == [0, 1, 2, 6, 7, 8]


@pytest.mark.parametrize(("length", "min_valid", "least"), [(50, 0.14, 7), (25, 0.28, 7), (100, 0.29, 29), (7, 0.5, 4)])
def test_the_share_asked_for_is_enough(length, min_valid, least):
    """0.14 x 50 is 7.000000000000001 in floating point; 7 frames of 50 are a share of 0.14 all the same."""
    for number, expected in ((least, [0]), (least - 1, [])):
        mask = np.arange(length) < number
        assert windows.starts(mask, WindowSpec(length, 1, min_valid)).tolist() == expected


def test_cut_against_brute_force():
    track = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32)
    mask = np.array([True, True, False, True, True, True, False])
    for start, length in itertools.product(range(7), range(1, 10)):
        piece, piece_mask = windows.cut(track, mask, start, length)
        assert piece.shape == (length, 2, 3) and piece.dtype == np.float32 and piece_mask.dtype == bool
        for i in range(length):
            inside = start + i < 7
            assert np.array_equal(piece[i], track[start + i] if inside else np.zeros((2, 3)))
            assert piece_mask[i] == (inside and mask[start + i])


@pytest.mark.parametrize("options", [(0, 1), (1, 0), (3, 3, 0.0), (3, 3, 1.01), (3, 3, -0.5)])
def test_impossible_windows_are_refused(options):
    with pytest.raises(ConfigError):
        WindowSpec(*options)


def test_resampling_against_interpolation_by_hand():
    track = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32)
    for frames in (1, 2, 5, 7, 13, 20):
        found, mask = windows.resample(track, np.ones(7, bool), frames)
        assert found.shape == (frames, 2, 3) and found.dtype == np.float32 and mask.all()
        for i in range(frames):
            place = i * 6 / (frames - 1) if frames > 1 else 0.0
            expected = np.stack([np.interp(place, range(7), track.reshape(7, 6)[:, k]) for k in range(6)])
            assert np.allclose(found[i].ravel(), expected, atol=1e-5)


def test_resampling_to_the_same_number_changes_nothing():
    for total in (1, 2, 71, 100):
        track = np.random.default_rng(total).normal(size=(total, 2, 3)).astype(np.float32)
        mask = np.random.default_rng(total).random(total) < 0.7
        found, found_mask = windows.resample(np.where(mask[:, None, None], track, 0), mask, total)
        assert np.array_equal(found, np.where(mask[:, None, None], track, 0)) and np.array_equal(found_mask, mask)


def test_an_instant_is_valid_where_its_neighbours_are_and_what_is_masked_does_not_matter():
    mask = np.array([1, 1, 0, 1, 1], bool)
    track = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)
    for junk in (0.0, 1e9, np.nan):
        spoilt = np.where(mask[:, None, None], track, np.float32(junk))
        found, found_mask = windows.resample(spoilt, mask, 9)
        assert found_mask.tolist() == [True, True, True, False, False, False, True, True, True]
        assert np.allclose(found[:, 0, 0], [0, 0.5, 1, 0, 0, 0, 3, 3.5, 4])


def test_windows_are_cut_from_resampled_tracks():
    track, mask = np.zeros((33, 2, 3), np.float32), np.ones(33, bool)
    spec = WindowSpec(64, 7, resample=71)
    found, found_mask = windows.in_time(track, mask, spec)
    assert len(found) == len(found_mask) == 71 and windows.starts(found_mask, spec).tolist() == [0, 7]
    assert windows.in_time(track, mask, WindowSpec(10, 5))[0] is track
    for resample in (-1, 63):
        with pytest.raises(ConfigError, match="resample"):
            WindowSpec(64, 7, resample=resample)
