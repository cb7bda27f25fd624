import dataclasses
import json
import stat

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
        gallery.set_calibration({**galleries.binding(other), "thresholds": {}, "calibration": {}})


def test_calibration_is_kept_with_its_id(gallery, released):
    document = {**galleries.binding(released), "thresholds": {}, "calibration": {"scale": 1.0, "offset": 0.0}}
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
