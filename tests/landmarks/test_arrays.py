import io
import struct
import zipfile

import numpy as np
import pytest

from fingerprint.errors import ArrayRefused, UnknownName
from fingerprint.landmarks import arrays, topology

SET = "ibug68"


@pytest.fixture
def points():
    return topology.get(SET).reference_shape[None] + np.linspace(0, 0.1, 6, dtype=np.float32)[:, None, None]


def refusal(path, **kwargs) -> ArrayRefused:
    with pytest.raises(ArrayRefused) as error:
        arrays.load_landmarks(path, SET, **kwargs)
    assert str(path.name) in str(error.value)
    return error.value


def write_header(path, header: str, data: bytes = b"", version: int = 1):
    text = header.encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + length + text + data)
    return path


def header_of(shape, descr="<f4", fortran=False) -> str:
    return f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_round_trip(tmp_path, points, dtype, order):
    np.save(tmp_path / "a.npy", np.asarray(points, dtype, order=order))
    track = arrays.load_landmarks(tmp_path / "a.npy", SET, root=tmp_path)
    assert track.landmarks.dtype == np.float32
    np.testing.assert_array_equal(track.landmarks, points.astype(dtype).astype(np.float32))
    assert track.frame_mask.all() and track.fps == 0 and track.image_size.tolist() == [0, 0] and track.non_finite == 0
    header = arrays.read_header(tmp_path / "a.npy")
    assert header.shape == (6, 68, 3) and header.dtype == dtype


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_keys(tmp_path, points, save):
    mask = np.array([1, 1, 0, 1, 1, 1], bool)
    save(
        tmp_path / "a.npz",
        landmarks=points,
        frame_mask=mask,
        fps=29.97,
        image_size=np.array([640, 480]),
        more=np.ones(3),
    )
    track = arrays.load_landmarks(tmp_path / "a.npz", SET)
    np.testing.assert_array_equal(track.landmarks[mask], points[mask])
    assert not track.landmarks[2].any() and track.frame_mask.tolist() == mask.tolist()
    assert track.fps == pytest.approx(29.97) and track.image_size.tolist() == [640, 480]
    assert arrays.read_header(tmp_path / "a.npz").shape == (6, 68, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e6])
def test_a_frame_with_a_broken_value_is_masked_whole_and_counted(tmp_path, points, value):
    points[3, 10, 1] = value
    np.save(tmp_path / "a.npy", points)
    track = arrays.load_landmarks(tmp_path / "a.npy", SET)
    assert track.frame_mask.tolist() == [True, True, True, False, True, True]
    assert track.non_finite == pytest.approx(1 / 6)
    assert not track.landmarks[3].any() and np.isfinite(track.landmarks).all()


def test_float64_beyond_float32_is_broken_not_infinite(tmp_path, points):
    points = points.astype(np.float64)
    points[0, 0, 0] = 1e300
    np.save(tmp_path / "a.npy", points)
    track = arrays.load_landmarks(tmp_path / "a.npy", SET)
    assert not track.frame_mask[0] and np.isfinite(track.landmarks).all()


def test_a_track_without_a_valid_frame_is_refused(tmp_path, points):
    np.save(tmp_path / "a.npy", np.full_like(points, np.nan))
    assert refusal(tmp_path / "a.npy").reason == "no_valid_frame"


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 68, 3), np.int32), "dtype"),
        (np.zeros((4, 68, 3), bool), "dtype"),
        (np.zeros((4, 68, 3), np.complex64), "dtype"),
        (np.zeros((4, 68, 3), np.longdouble), "dtype"),
        (np.array(["a", "b"]), "dtype"),
        (np.zeros(4, [("x", "f4")]), "dtype"),
        (np.zeros((4, 67, 3), np.float32), "shape"),
        (np.zeros((4, 68, 2), np.float32), "shape"),
        (np.zeros((68, 3), np.float32), "shape"),
        (np.zeros((1, 4, 68, 3), np.float32), "shape"),
        (np.float32(1), "shape"),
        (np.zeros((0, 68, 3), np.float32), "empty"),
        (np.zeros((9, 68, 3), np.float32), "too_long"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_wrong_arrays(tmp_path, array, reason, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, array)
    else:
        np.savez(path, landmarks=array)
    assert refusal(path, max_frames=8).reason == reason


def test_a_wrong_number_of_points_names_the_set_that_has_it(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 109, 3), np.float32))
    assert "avaprintdb109" in str(refusal(tmp_path / "a.npy"))


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickles_are_never_opened(tmp_path, suffix):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was run",))

    path = tmp_path / f"a{suffix}"
    array = np.array([Bomb()], object)
    if suffix == ".npy":
        np.save(path, array, allow_pickle=True)
    else:
        np.savez(path, landmarks=array)
    assert refusal(path).reason == "pickle"


def test_a_plain_pickle_is_refused(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"\x80\x04\x95" + b"\0" * 100)
    assert refusal(tmp_path / "a.npy").reason == "header"


def test_truncated_at_every_length(tmp_path, points):
    np.save(tmp_path / "whole.npy", points[:1])
    whole = (tmp_path / "whole.npy").read_bytes()
    path = tmp_path / "a.npy"
    for length in (*range(0, 140, 3), len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert refusal(path).reason == "truncated", length


def test_a_truncated_archive_is_refused(tmp_path, points):
    np.savez(tmp_path / "a.npz", landmarks=points)
    whole = (tmp_path / "a.npz").read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.npz").write_bytes(whole[:length])
        assert refusal(tmp_path / "a.npz").reason == "damaged"


def test_a_flipped_byte_in_an_archive_is_refused(tmp_path, points):
    np.savez(tmp_path / "a.npz", landmarks=points)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    assert refusal(tmp_path / "a.npz").reason == "damaged"


def test_headers_that_lie(tmp_path):
    path = tmp_path / "a.npy"
    announced = write_header(path, header_of((10**6, 68, 3)), b"\0" * 816)
    assert refusal(announced, max_frames=10**9).reason == "truncated"
    assert refusal(write_header(path, header_of((10**40, 68, 3)), b"\0" * 816)).reason == "truncated"
    assert refusal(write_header(path, header_of((1, 68, 3)), b"\0" * 999)).reason == "header"
    assert refusal(write_header(path, header_of((-1, 68, 3)), b"\0" * 816)).reason == "shape"
    assert refusal(write_header(path, header_of((1, 68, 3)) + " " * 20_000, b"\0" * 816)).reason == "header"
    assert refusal(write_header(path, "__import__('os')", b"\0" * 816)).reason == "header"
    assert refusal(write_header(path, "{" * 5000)).reason == "header"
    path.write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"\0" * 64)
    assert refusal(path).reason == "header"
    path.write_bytes(b"\x93NUMPY\x09\x00" + b"\0" * 64)
    assert refusal(path).reason == "header"


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path):
    path = tmp_path / "a.npz"
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (250_000, 68, 3)})
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("landmarks.npy", "w", force_zip64=True) as entry,
    ):
        entry.write(head.getvalue())
        block = bytes(1 << 20)
        for _ in range(195):
            entry.write(block)
    assert path.stat().st_size < 1 << 20
    assert refusal(path).reason in ("too_long", "truncated", "header")


def test_archives_with_wrong_entries(tmp_path, points):
    path = tmp_path / "a.npz"
    np.savez(path, points=points)
    assert refusal(path).reason == "keys"
    np.savez(path, landmarks=points, frame_mask=np.ones(6))
    assert refusal(path).reason == "shape"
    np.savez(path, landmarks=points, frame_mask=np.ones(5, bool))
    assert refusal(path).reason == "shape"
    np.savez(path, landmarks=points, fps=np.nan)
    assert refusal(path).reason == "keys"
    np.savez(path, landmarks=points, fps=np.array("25"))
    assert refusal(path).reason == "keys"
    np.savez(path, landmarks=points, image_size=np.array([640.0, 480.0]))
    assert refusal(path).reason == "keys"
    np.savez(path, landmarks=points, image_size=np.array([-1, 480]))
    assert refusal(path).reason == "keys"
    np.savez(path, landmarks=points, fps=np.zeros(1000))
    assert refusal(path).reason == "shape"
    np.savez(path, landmarks=points, **{f"x{i}": np.zeros(1) for i in range(70)})
    assert refusal(path).reason == "keys"


def test_links_and_dots_that_leave_the_root(tmp_path, points):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    np.save(outside / "a.npy", points)
    (root / "a.npy").symlink_to(outside / "a.npy")
    (root / "folder").symlink_to(outside)
    assert refusal(root / "a.npy", root=root).reason == "outside_root"
    assert refusal(root / "folder" / "a.npy", root=root).reason == "outside_root"
    assert refusal(root / ".." / "outside" / "a.npy", root=root).reason == "outside_root"
    assert refusal(outside / "a.npy", root=root).reason == "outside_root"
    np.save(root / "real.npy", points)
    (root / "link.npy").symlink_to(root / "real.npy")
    assert arrays.load_landmarks(root / "link.npy", SET, root=root).frame_mask.all()
    # The root itself may be written in any way.
    around = outside / ".." / "root"
    assert arrays.load_landmarks(around / "real.npy", SET, root=around).frame_mask.all()


def test_not_a_landmark_file(tmp_path, points):
    assert refusal(tmp_path / "none.npy").reason == "missing"
    (tmp_path / "folder.npy").mkdir()
    assert refusal(tmp_path / "folder.npy").reason == "not_a_file"
    (tmp_path / "a.csv").write_text("1,2")
    assert refusal(tmp_path / "a.csv").reason == "extension"
    np.save(tmp_path / "a.npy", points)
    with pytest.raises(UnknownName, match="ibug68"):
        arrays.load_landmarks(tmp_path / "a.npy", "ibug69")


def test_random_damage_raises_nothing_but_refusals(tmp_path, points):
    np.savez_compressed(tmp_path / "good.npz", landmarks=points, frame_mask=np.ones(6, bool), fps=25.0)
    np.save(tmp_path / "good.npy", points)
    rng = np.random.default_rng(0)
    for suffix in (".npy", ".npz"):
        good = (tmp_path / f"good{suffix}").read_bytes()
        path = tmp_path / f"bad{suffix}"
        for _ in range(300):
            content = bytearray(good)
            region = 200 if rng.random() < 0.7 else len(good)
            for _ in range(rng.integers(1, 4)):
                content[rng.integers(min(region, len(good)))] = rng.integers(256)
            path.write_bytes(content)
            try:
                track = arrays.load_landmarks(path, SET, root=tmp_path)
            except ArrayRefused:
                continue
            assert np.isfinite(track.landmarks).all() and track.landmarks.shape[1:] == (68, 3)
