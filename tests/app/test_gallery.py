import dataclasses
import io
import json
import os
import stat
import zipfile

import numpy as np
import pytest
from made_up import save_model

from fingerprint.app import gallery as galleries
from fingerprint.app.gallery import Template
from fingerprint.embed import open_model
from fingerprint.errors import GalleryError


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    return open_model(save_model(tmp_path_factory.mktemp("model") / "model"), batch_size=4)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return open_model(save_model(tmp_path_factory.mktemp("other") / "model", seed=1), batch_size=4)


def template(name: str, seed: int = 0, videos: int = 2) -> Template:
    vectors = np.random.default_rng(seed).standard_normal((3 * videos, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kept = tuple({"sha256": f"{seed:03d}{row:061d}", "seconds": 2.0, "windows": 3} for row in range(videos))
    return Template(name, vectors, np.repeat(np.arange(videos, dtype=np.int32), 3), kept)


@pytest.fixture
def gallery(tmp_path, released):
    made = galleries.create(tmp_path / "gallery", released, None)
    made.enroll(template("ada"), add=False)
    return made


def test_what_is_enrolled_comes_back(gallery):
    found = galleries.open_gallery(gallery.folder).template("ada")
    wanted = template("ada")
    np.testing.assert_array_equal(found.vectors, wanted.vectors)
    np.testing.assert_array_equal(found.video, wanted.video)
    assert found.videos == wanted.videos and gallery.names() == ["ada"]


def test_videos_are_added_only_when_asked(gallery):
    with pytest.raises(GalleryError, match="--add"):
        gallery.enroll(template("ada", seed=1), add=False)
    joined = gallery.enroll(template("ada", seed=1), add=True)
    assert len(joined.videos) == 4 and joined.video.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    np.testing.assert_array_equal(gallery.template("ada").vectors, joined.vectors)
    with pytest.raises(GalleryError, match="twice"):
        gallery.enroll(template("ada", seed=1), add=True)


def test_nobody_else_may_read_it(gallery):
    for path in [gallery.folder, *gallery.folder.rglob("*")]:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_removed_is_gone(gallery):
    needle = template("ada").vectors[0].tobytes()
    held = [path for path in gallery.folder.rglob("*") if path.is_file() and needle in path.read_bytes()]
    assert len(held) == 1
    # A second link shows what becomes of the bytes themselves.
    witness = gallery.folder.parent / "witness"
    witness.hardlink_to(held[0])
    gallery.remove("ada")
    assert needle not in witness.read_bytes() and not any(witness.read_bytes())
    for path in gallery.folder.rglob("*"):
        assert "ada" not in path.name and (path.is_dir() or b"ada" not in path.read_bytes())
    with pytest.raises(GalleryError, match="not enrolled"):
        gallery.template("ada")
    with pytest.raises(GalleryError, match="not enrolled"):
        gallery.remove("ada")


def test_another_model_is_refused(gallery, other):
    with pytest.raises(GalleryError, match="another model"):
        gallery.check_model(other)


def test_a_calibration_of_another_model_is_refused(gallery, other):
    with pytest.raises(GalleryError, match="calibrate with the gallery's model"):
        gallery.set_calibration(calibration_for(other))


def calibration_for(released, **changes):
    point = {"threshold": 0.5, "validation_fmr": 0.01, "validation_fnmr": 0.1, "validation_fmr_interval": None}
    return {
        "format": galleries.CALIBRATION_FORMAT,
        "source": "made up",
        **galleries.binding(released),
        "thresholds": {"eer": point},
        "calibration": {"scale": 1.0, "offset": 0.0, "llr_bounds": [-3.0, 5.0]},
        "evidence": {"windows": [2.0, 3.0, 4.0], "enrolment_clips": 1},
        **changes,
    }


UNSOUND = {
    "of another version": ({"format": "fingerprint calibration 0"}, "wanted 'fingerprint calibration 1'"),
    "of no version": ({"format": None}, "wanted 'fingerprint calibration 1'"),
    "of another landmark set": ({"landmark_set": "mediapipe468"}, "landmark_set mediapipe468"),
    "of other windows": ({"window": {"length": 7}}, "for window"),
    "without source": ({"source": None}, "source"),
    "empty": ({"calibration": {}}, "see calibration"),
    "no line": ({"calibration": None}, "see calibration"),
    "a line of words": ({"calibration": {"scale": "1", "offset": 0}}, "see calibration"),
    "a line that is none": ({"calibration": {"scale": float("nan"), "offset": 0}}, "see calibration"),
    "bounds that are none": ({"calibration": {"scale": 1, "offset": 0, "llr_bounds": [3]}}, "see llr_bounds"),
    "thresholds in a list": ({"thresholds": []}, "see thresholds"),
    "a threshold without rates": ({"thresholds": {"eer": {"threshold": 0.5}}}, "see eer"),
    "an interval of words": (
        {"thresholds": {"eer": {"threshold": 0, "validation_fmr": 0, "validation_fnmr": 0, "fmr_interval": ["a"]}}},
        "see eer",
    ),
    "evidence in a list": ({"evidence": [1]}, "see evidence"),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_an_unsound_calibration_is_refused_when_set_and_when_opened(gallery, released, name):
    changes, wanted = UNSOUND[name]
    document = calibration_for(released, **changes)
    with pytest.raises(GalleryError, match=wanted):
        gallery.set_calibration(document)
    with pytest.raises(GalleryError, match=wanted):
        galleries.create(gallery.folder.parent / "another", released, document)
    put_calibration(gallery, document)
    with pytest.raises(GalleryError, match=wanted):
        galleries.open_gallery(gallery.folder)
    opened = galleries.open_gallery(gallery.folder, calibrated=False)
    assert opened.calibration is None and opened.names() == ["ada"]
    opened.set_calibration(calibration_for(released))
    assert galleries.open_gallery(gallery.folder).calibration == calibration_for(released)


def put_calibration(gallery, calibration):
    """As somebody would who writes the file by hand, id and all."""
    path = gallery.folder / "gallery.json"
    put = {"calibration": calibration, "calibration_id": galleries.identifier(calibration)}
    path.write_text(json.dumps({**json.loads(path.read_text()), **put}))


@pytest.mark.parametrize("calibration", [{}, [], "words", 3])
def test_what_is_no_calibration_is_refused(gallery, calibration):
    put_calibration(gallery, calibration)
    with pytest.raises(GalleryError, match="calibrate again"):
        galleries.open_gallery(gallery.folder)


def test_endless_nesting_is_refused(gallery):
    path = gallery.folder / "gallery.json"
    path.write_text(path.read_text().replace('"calibration": null', '"calibration": ' + "[" * 100_000 + "]" * 100_000))
    with pytest.raises(GalleryError, match="damaged"):
        galleries.open_gallery(gallery.folder)


def test_calibration_is_kept_with_its_id(gallery, released):
    document = calibration_for(released)
    gallery.set_calibration(document)
    found = galleries.open_gallery(gallery.folder)
    assert found.calibration == document and found.calibration_id == galleries.identifier(document)
    path = gallery.folder / "gallery.json"
    changed = json.loads(path.read_text())
    changed["calibration"]["calibration"]["scale"] = 2.0
    path.write_text(json.dumps(changed))
    with pytest.raises(GalleryError, match="not the one its id names"):
        galleries.open_gallery(gallery.folder)


@pytest.mark.parametrize("name", ["../ada", "a/b", "", ".hidden", "a" * 101, "ada\n", "a b"])
def test_names_cannot_become_other_paths(gallery, name):
    with pytest.raises(GalleryError):
        gallery.enroll(dataclasses.replace(template("ada"), name=name), add=False)
    with pytest.raises(GalleryError):
        gallery.remove(name)


def _flip(content: bytes, name: bytes) -> bytes:
    at = content.index(name) + 300  # within the array's values
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"not an archive",
        lambda content: _flip(content, b"vectors.npy"),
    ],
)
def test_a_damaged_template_is_refused(gallery, damage):
    path = gallery.folder / "people" / "ada.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(GalleryError, match="damaged"):
        gallery.template("ada")


def test_a_template_under_another_name_is_refused(gallery):
    people = gallery.folder / "people"
    (people / "ada.npz").rename(people / "eve.npz")
    with pytest.raises(GalleryError, match="damaged"):
        gallery.template("eve")


def test_pickled_arrays_are_not_read(gallery):
    np.savez(gallery.folder / "people" / "eve.npz", vectors=np.array([{}], dtype=object))
    with pytest.raises(GalleryError, match="damaged"):
        gallery.template("eve")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "fingerprint gallery 0"}'])
def test_a_damaged_gallery_is_refused(gallery, content):
    (gallery.folder / "gallery.json").write_text(content)
    with pytest.raises(GalleryError):
        galleries.open_gallery(gallery.folder)


def test_a_folder_with_other_things_is_left_alone(tmp_path, released):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(GalleryError, match="no gallery"):
        galleries.create(tmp_path, released, None)
    with pytest.raises(GalleryError, match="no gallery"):
        galleries.open_gallery(tmp_path)


def archive(**entries: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        for name, content in entries.items():
            file.writestr(f"{name}.npy", content)
    return held.getvalue()


def header(shape: str, dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "hostile",
    [
        header("(10000000000, 8)"),  # 320 GB
        header("(10000000000, 8)") + b"0" * 64,
        header("(-1, 8)") + b"0" * 32,
        header("()") + b"0" * 4,
        header("(" * 4000 + ")" * 4000),
        header("(1, 8)", "|O") + b"0" * 64,
        header("(1, 8)")[:9],
    ],
)
def test_a_header_that_promises_too_much_is_refused_before_memory_is_taken(gallery, hostile, monkeypatch):
    path = gallery.folder / "people" / "ada.npz"
    path.write_bytes(archive(vectors=hostile, video=header("(1,)", "<i4") + b"0" * 4, document=b""))

    def allocate(*arguments, **options):
        raise AssertionError("np.load takes memory by the header's word")

    monkeypatch.setattr(np, "ndarray", allocate)
    with pytest.raises(GalleryError, match="damaged"):
        gallery.template("ada")


def test_a_template_whose_windows_are_of_no_video_is_refused(gallery):
    odd = dataclasses.replace(template("eve"), video=np.array([0, 0, 0, 2, 2, 2], np.int32))
    gallery.enroll(odd, add=False)
    with pytest.raises(GalleryError, match="damaged"):
        gallery.template("eve")


def test_links_are_not_followed(gallery, tmp_path):
    victim = tmp_path / "thesis.txt"
    victim.write_bytes((gallery.folder / "people" / "ada.npz").read_bytes())
    before = victim.read_bytes()
    (gallery.folder / "people" / "eve.npz").symlink_to(victim)
    for act in (gallery.remove, gallery.template, lambda name: gallery.enroll(template(name, 5), add=True)):
        with pytest.raises(GalleryError, match="link"):
            act("eve")
    assert victim.read_bytes() == before
    (gallery.folder / "people").rename(tmp_path / "elsewhere")
    (gallery.folder / "people").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GalleryError, match="link"):
        gallery.remove("ada")
    assert (tmp_path / "elsewhere" / "ada.npz").exists()


def test_a_linked_document_or_lock_is_refused(gallery, tmp_path):
    held = gallery.folder / "gallery.json"
    held.rename(tmp_path / "gallery.json")
    held.symlink_to(tmp_path / "gallery.json")
    with pytest.raises(GalleryError, match="link"):
        galleries.open_gallery(gallery.folder)
    (gallery.folder / ".lock").unlink()
    (gallery.folder / ".lock").symlink_to(tmp_path / "made")
    with pytest.raises(GalleryError, match="cannot be written"):
        gallery.remove("ada")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_pipes_and_folders_are_no_templates(gallery, make):
    make(gallery.folder / "people" / "eve.npz")
    for act in (gallery.template, gallery.remove):
        with pytest.raises(GalleryError, match=r"regular file|directory"):
            act("eve")


@pytest.mark.parametrize("act", ["remove", "add"])
def test_what_a_killed_enrolment_left_is_erased(gallery, act):
    people = gallery.folder / "people"
    left, others = people / ".ada.npz.4711.tmp", people / ".adam.npz.4711.tmp"
    witness = gallery.folder.parent / "witness"
    for path in (left, others):
        path.write_bytes(b"embeddings")
    witness.hardlink_to(left)
    if act == "remove":
        gallery.remove("ada")
    else:
        gallery.enroll(template("ada", seed=1), add=True)
    assert not left.exists() and not any(witness.read_bytes()) and len(witness.read_bytes()) == 10
    assert others.read_bytes() == b"embeddings", "somebody else's"


def test_what_a_killed_first_enrolment_left_is_erased(gallery):
    left = gallery.folder / "people" / ".bob.npz.4711.tmp"
    left.write_bytes(b"embeddings")
    with pytest.raises(GalleryError, match="not enrolled"):
        gallery.remove("bob")
    assert not left.exists()


def test_the_template_that_added_videos_replace_is_overwritten(gallery):
    witness = gallery.folder.parent / "witness"
    witness.hardlink_to(gallery.folder / "people" / "ada.npz")
    gallery.enroll(template("ada", seed=1), add=True)
    assert witness.stat().st_size and not any(witness.read_bytes())
    assert len(gallery.template("ada").videos) == 4
