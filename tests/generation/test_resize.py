"""Pictures at other sizes, against libraries that do the same."""

import numpy as np
import pytest

from fingerprint.generation import resize


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    smooth = 120 + 80 * np.sin(x / 9)[..., None] * np.cos(y / [7, 11, 13][0])[..., None]
    return np.clip(smooth + rng.normal(0, 20, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(64, 48), (300, 200), (120, 90), (7, 5)])
def test_cut_is_pillows_reducing_filter(size):
    images = pytest.importorskip("PIL.Image")
    source = picture(120, 90)
    expected = np.asarray(images.fromarray(source).resize(size[::-1], images.Resampling.BILINEAR))
    found = resize.whole(source, *size)
    assert np.abs(found.astype(int) - expected).max() <= 1
    box = (10, 20, 70, 110)
    expected = np.asarray(images.fromarray(source).resize(size[::-1], images.Resampling.BILINEAR, box=box))
    found = resize.cut(source, np.array(box, float), *size)
    # Pillow's filter stops at the box, this one looks beyond it.
    assert np.abs(found.astype(int) - expected)[2:-2, 2:-2].max(initial=0) <= 1


def test_cut_beyond_the_picture_goes_on_with_its_edge():
    source = picture(40, 40)
    found = resize.cut(source, np.array([-20.0, -20, 20, 20]), 40, 40)
    np.testing.assert_array_equal(found[20:, 20:], source[:20, :20])
    np.testing.assert_array_equal(found[:20, 20:], np.broadcast_to(source[:1, :20], (20, 20, 3)))
    beyond = resize.cut(source, np.array([100.0, 0, 140, 40]), 40, 40)
    np.testing.assert_array_equal(beyond, np.broadcast_to(source[:, -1:], (40, 40, 3)))


def test_cut_between_pixels_moves_smoothly():
    ramp = np.broadcast_to(np.arange(100, dtype=np.uint8)[None, :, None] * 2, (20, 100, 3))
    found = resize.cut(ramp, np.array([10.25, 0, 30.25, 20]), 20, 20)
    assert np.abs(found[..., 0] - (2 * (np.arange(20) + 10.25))).max() <= 0.5


@pytest.mark.parametrize("size", [(64, 48), (300, 200), (120, 90), (33, 77)])
def test_plain_is_opencvs_default(size):
    cv2 = pytest.importorskip("cv2")
    source = picture(120, 90)
    expected = cv2.resize(source, size[::-1])
    assert np.abs(resize.plain(source, *size).astype(int) - expected).max() <= 1


AREA_SHRUNK = [[31, 144, 123, 174], [82, 113, 93, 144]]
AREA_GROWN = [[63, 63, 174, 174, 29, 29, 140, 140, 97, 97], [183, 183, 38, 38, 149, 149, 158, 158, 115, 115]]
AREA_MIXED = [[118, 69, 64], [102, 104, 150]]
PLAIN = [[59, 123, 129, 25, 104, 142, 151], [167, 102, 76, 133, 212, 181, 99]]
OLD = [(90, 90), (61, 70), (223, 500), (300, 400), (448, 448), (672, 448), (1, 5), (480, 360)]


@pytest.mark.parametrize("old", OLD)
@pytest.mark.parametrize("new", [(224, 224), (45, 60), (120, 33)])
def test_area_and_plain_are_opencvs_byte_for_byte(old, new):
    cv2 = pytest.importorskip("cv2", reason="OpenCV, the reference, is not installed")
    source = np.random.default_rng(0).integers(0, 256, (*old, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        resize.area(source, *new), cv2.resize(source, new[::-1], interpolation=cv2.INTER_AREA)
    )
    np.testing.assert_array_equal(resize.plain(source, *new), cv2.resize(source, new[::-1]))


def test_opencvs_numbers_where_it_is_absent():
    """Of 5 x 5 pixels made fewer, made more, and one of each, as OpenCV 5.0.0 has them."""
    source = (np.arange(75).reshape(5, 5, 3) * 37 % 256).astype(np.uint8)
    assert resize.area(source, 4, 4)[:2, :, 0].tolist() == AREA_SHRUNK
    assert resize.area(source, 7, 10)[1::4, :, 1].tolist() == AREA_GROWN
    assert resize.area(source, 10, 3)[::5, :, 2].tolist() == AREA_MIXED
    assert resize.plain(source, 4, 7)[1::2, :, 0].tolist() == PLAIN


@pytest.mark.parametrize("size", [(224, 224), (64, 48), (299, 299), (7, 5)])
def test_whole_is_pillows_byte_for_byte(size):
    """The sides shrink as much as each other: Pillow's order of the two has changed, in version 13 at the latest."""
    images = pytest.importorskip("PIL.Image")
    source = np.random.default_rng(0).integers(0, 256, (*(max(size) + 40,) * 2, 3), dtype=np.uint8)
    for side in (source, source[:60, :60]):
        expected = np.asarray(images.fromarray(side).resize(size[::-1], images.Resampling.BILINEAR))
        np.testing.assert_array_equal(resize.whole(side, *size), expected)


def test_warped_fades_out_at_the_edge():
    source = np.full((4, 4, 3), 100, np.uint8)
    found = resize.warped(source, np.array([-0.5, 0, 3.25, 5]), np.array([0.0]))
    np.testing.assert_allclose(found[:, 0, 0], [50, 100, 75, 0])
