"""Augmentations: what each does to a window, and that nothing else happens."""

import dataclasses

import numpy as np
import pytest
from sources import face, smooth_motion

from fingerprint.data import augment
from fingerprint.data.augment import Augmentation
from fingerprint.errors import ConfigError
from fingerprint.landmarks import topology

SET, FRAMES = "avaprintdb109", 12


@pytest.fixture
def window():
    rng = np.random.default_rng(0)
    return (face(rng) + smooth_motion(rng, FRAMES)).astype(np.float32)


@pytest.fixture
def mask():
    return np.arange(FRAMES) % 5 != 3


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", topology.names())
def test_mirror_twice_is_the_identity(name):
    window = rng().normal(size=(4, topology.get(name).num_vertices, 3)).astype(np.float32)
    once = augment.mirror(window, name)
    assert not np.array_equal(once, window)
    assert np.array_equal(augment.mirror(once, name), window)


def test_mirror_shows_the_left_brow_s_motion_on_the_right():
    points = topology.get(SET)
    window = np.tile(points.reference_shape, (2, 1, 1))
    window[1, points.regions["left_eyebrow"], 1] -= 0.3
    flipped = augment.mirror(window, SET)
    moved = np.flatnonzero(np.abs(flipped[1] - flipped[0]).max(axis=1) > 0.1)
    assert set(moved.tolist()) == set(points.regions["right_eyebrow"].tolist())
    assert np.allclose(flipped[0], points.reference_shape, atol=1e-5)


def test_mirror_leaves_its_argument_alone(window):
    before = window.copy()
    augment.mirror(window, SET)
    assert np.array_equal(window, before)


def test_jitter_has_the_size_asked_for_and_spares_masked_frames(window, mask):
    noise = augment.jitter(window, mask, 0.02, rng()) - window
    assert not noise[~mask].any()
    assert noise[mask].std() == pytest.approx(0.02, rel=0.05) and abs(noise[mask].mean()) < 1e-3
    flat = noise[mask].reshape(-1, 3)
    assert np.abs(np.corrcoef(flat.T) - np.eye(3)).max() < 0.1
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.2


def test_dropped_frames(mask):
    dropped = [augment.drop_frames(mask, 0.4, rng(seed)) for seed in range(400)]
    assert not any((d & ~mask).any() for d in dropped)
    assert np.mean([d[mask].mean() for d in dropped]) == pytest.approx(0.6, abs=0.03)
    assert all(augment.drop_frames(mask, 0.999, rng(seed)).any() for seed in range(50))
    assert np.array_equal(augment.drop_frames(mask, 0.0, rng()), mask)


@pytest.mark.parametrize("least", [0.1, 0.5, 0.9, 1.0])
def test_time_crop_keeps_one_run_of_at_least_the_share(least):
    lengths, first = set(), set()
    for seed in range(300):
        kept = np.flatnonzero(augment.crop_time(np.ones(FRAMES, bool), least, rng(seed)))
        assert np.array_equal(kept, np.arange(kept[0], kept[-1] + 1))
        lengths.add(len(kept))
        first.add(kept[0])
    assert lengths == set(range(int(np.ceil(least * FRAMES)), FRAMES + 1))
    assert first == set(range(FRAMES - min(lengths) + 1))


def test_time_crop_never_masks_everything():
    mask = np.zeros(FRAMES, bool)
    mask[4] = True
    assert all(augment.crop_time(mask, 0.1, rng(seed)).tolist() == mask.tolist() for seed in range(50))


def test_no_augmentation_changes_nothing_but_masked_frames(window, mask):
    out, out_mask = augment.apply(window, mask, Augmentation(), SET, rng(), mirrored=False)
    assert np.array_equal(out, np.where(mask[:, None, None], window, 0)) and np.array_equal(out_mask, mask)


@pytest.mark.parametrize(
    ("options", "mirrored"),
    [
        (Augmentation(jitter=0.05), False),
        (Augmentation(frame_drop=0.5), False),
        (Augmentation(time_crop=0.3), False),
        (Augmentation(jitter=0.05, frame_drop=0.3, time_crop=0.5), True),
    ],
)
def test_apply_is_pure_in_window_and_generator(window, mask, options, mirrored):
    before = window.copy(), mask.copy()
    first = augment.apply(window, mask, options, SET, rng(3), mirrored=mirrored)
    again = augment.apply(window, mask, options, SET, rng(3), mirrored=mirrored)
    other = augment.apply(window, mask, options, SET, rng(4), mirrored=mirrored)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    out, out_mask = first
    assert out.dtype == np.float32 and out_mask.dtype == bool
    assert not out[~out_mask].any() and not (out_mask & ~mask).any() and out_mask.any()
    assert np.array_equal(window, before[0]) and np.array_equal(mask, before[1])


def test_apply_mirrors_only_when_told(window, mask):
    plain, _ = augment.apply(window, mask, Augmentation(mirror=1.0), SET, rng(), mirrored=False)
    seen, _ = augment.apply(window, mask, Augmentation(mirror=1.0), SET, rng(), mirrored=True)
    assert np.array_equal(plain[mask], window[mask])
    assert np.array_equal(seen[mask], augment.mirror(window, SET)[mask])


@pytest.mark.parametrize(
    "wrong",
    [{"mirror": 1.1}, {"mirror": -0.1}, {"jitter": -1.0}, {"frame_drop": 1.0}, {"time_crop": 0.0}, {"reenact": 2.0}],
)
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ConfigError):
        Augmentation(**wrong)


def test_everything_is_off_by_default():
    assert dataclasses.astuple(Augmentation()) == (0.0, 0.0, 0.0, 1.0, 0.0)
