"""Windows without gaps, and windows in another order."""

import jax
import numpy as np

from fingerprint.models.frame_order import continuous, shuffle_frames


def windows(batch=2, time=8, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, time, 4, 3)).astype(np.float32)


def mask(*rows):
    return np.array([[c == "x" for c in row] for row in rows])


def test_valid_frames_come_through_as_they_are():
    x = windows()
    found = continuous(x, np.ones((2, 8), bool), 1)
    assert np.array_equal(found.frames, x)
    assert found.first.tolist() == [0, 0] and found.span.tolist() == [8, 8]


def test_gaps_are_the_line_between_their_neighbours_and_the_end_is_held():
    x, valid = windows(), mask("..x..xx.", "x.xxxxxx")
    found = continuous(x, valid, 10)
    assert found.frames.shape == (2, 10, 4, 3)
    assert found.first.tolist() == [2, 0] and found.span.tolist() == [5, 8]
    expected = [x[0, 2], (2 * x[0, 2] + x[0, 5]) / 3, (x[0, 2] + 2 * x[0, 5]) / 3, x[0, 5], x[0, 6]] + [x[0, 6]] * 5
    assert np.allclose(found.frames[0], expected, atol=1e-6)
    assert np.allclose(found.frames[1, :3], [x[1, 0], (x[1, 0] + x[1, 2]) / 2, x[1, 2]], atol=1e-6)


def test_what_masked_frames_hold_and_where_padding_stands_does_not_matter():
    x, valid = windows(batch=1), mask("xx.xxx.x")
    plain = continuous(x, valid, 14)
    spoilt = np.where(valid[:, :, None, None], x, np.float32(1e6))
    padded = np.concatenate([0 * x[:, :2], spoilt, 7 + 0 * x[:, :4]], axis=1)
    moved = continuous(padded, np.pad(valid, ((0, 0), (2, 4))), 14)
    assert np.array_equal(moved.frames, plain.frames)
    assert moved.span.tolist() == plain.span.tolist() and moved.first.tolist() == [2]


def test_a_window_without_valid_frames_has_no_span():
    found = continuous(windows(batch=1), np.zeros((1, 8), bool), 3)
    assert found.span.tolist() == [0] and np.isfinite(found.frames).all()


def test_shuffling_reorders_valid_frames_and_leaves_masked_ones_in_place():
    x, valid = windows(), mask("xx.xxx.x", "xxxxxxxx")
    index = np.arange(2)
    found, same = shuffle_frames(jax.random.key(0), x, valid, index)
    assert np.array_equal(same, valid) and not np.array_equal(found, x)
    for row in range(2):
        assert np.array_equal(found[row][~valid[row]], x[row][~valid[row]])
        ours, theirs = (
            sorted(map(tuple, z[row][valid[row]].reshape(valid[row].sum(), -1))) for z in (np.array(found), x)
        )
        assert ours == theirs
    alone, _ = shuffle_frames(jax.random.key(0), x[1:], valid[1:], index[1:])
    assert np.array_equal(alone[0], found[1])  # the order is the example's own, whatever the batch
    other, _ = shuffle_frames(jax.random.key(1), x, valid, index)
    assert not np.array_equal(other, found)


def test_every_order_comes_up_equally_often():
    x = np.tile(np.arange(3, dtype=np.float32)[None, :, None, None], (3000, 1, 1, 1))
    found, _ = shuffle_frames(jax.random.key(0), x, np.ones((3000, 3), bool), np.arange(3000))
    _, counts = np.unique(np.asarray(found)[:, :, 0, 0], axis=0, return_counts=True)
    assert len(counts) == 6 and (np.abs(counts - 500) < 5 * np.sqrt(500)).all()
