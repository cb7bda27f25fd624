"""Pairs by name, by whatever name they go, and no video against itself."""

import os

import pytest

from fingerprint.errors import DatasetError, VideoRefused
from fingerprint.generation import pairing

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def folder(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{root.name} {name}".encode())
    return root


def pairs_of(tmp_path, references, generated):
    found = pairing.find_pairs(folder(tmp_path / "real", *references), folder(tmp_path / "made", *generated))
    by_name = {
        pair.name: (pair.reference.relative_to(tmp_path / "real").as_posix(), pair.generator, pair.rule)
        for pair in found.pairs
    }
    return found, by_name


def test_equal_paths_and_folders_of_generators(tmp_path):
    _, found = pairs_of(
        tmp_path, ("anna/1.mp4", "ben/1.avi", "c.mp4"), ("GEN/anna/1.mp4", "GEN/ben/1.mp4", "c.mov", "LIA/x/c.mp4")
    )
    assert found == {
        "GEN/anna/1": ("anna/1.mp4", "GEN", "path"),
        "GEN/ben/1": ("ben/1.avi", "GEN", "path"),
        "c": ("c.mp4", "made", "path"),
        "LIA/x/c": ("c.mp4", "LIA", "path"),
    }


def test_names_of_corpora_tell_the_recording(tmp_path):
    references = (
        "1002_DFA_HAP_XX.flv",
        "01-01-03-02-01-02-17.mp4",
        "1019_IEO_FEA_LO.flv",
        f"C1003--C1003--{UUID}--ORIG.mp4",
    )
    generated = (
        "1002_DFA_HAP_XX_Actor_01.mp4",
        "01-01-03-02-01-02-17_1006.mp4",
        "lia-generated/id001--1019_IEO_FEA_LO--1019.mp4",
        f"C1004--C1003--{UUID}--LIVE.mp4",
    )
    all_found, found = pairs_of(tmp_path, references, generated)
    assert {name: (value[0], value[1]) for name, value in found.items()} == {
        "1002_DFA_HAP_XX_Actor_01": ("1002_DFA_HAP_XX.flv", "GAGAvatar"),
        "01-01-03-02-01-02-17_1006": ("01-01-03-02-01-02-17.mp4", "GAGAvatar"),
        "lia-generated/id001--1019_IEO_FEA_LO--1019": ("1019_IEO_FEA_LO.flv", "LIA"),
        f"C1004--C1003--{UUID}--LIVE": (f"C1003--C1003--{UUID}--ORIG.mp4", "LIVE"),
    }
    assert {rule for *_, rule in found.values()} == {"recording"}
    drivers = {pair.name: (pair.driver, pair.target) for pair in all_found.pairs}
    assert drivers["1002_DFA_HAP_XX_Actor_01"] == ("1002", "Actor_01")
    assert drivers[f"C1004--C1003--{UUID}--LIVE"] == ("C1003", "C1004")
    assert all_found.generators == ("GAGAvatar", "LIA", "LIVE")


def test_a_folder_knows_the_generator_better_than_a_name_that_does_not_write_it(tmp_path):
    videos = ("lia/1002_DFA_HAP_XX_Actor_01.mp4", "tps/1002_DFA_HAP_XX_Actor_01.mp4")
    written = f"anyone/C1004--C1003--{UUID}--LIVE.mp4"
    references = ("1002_DFA_HAP_XX.flv", f"C1003--C1003--{UUID}--ORIG.mp4", "01-01-03-02-01-02-01.mp4")
    all_found, _ = pairs_of(tmp_path, references, (*videos, written, "lia/01-01-03-02-01-02-01_1002.mp4"))
    assert all_found.generators == ("LIVE", "lia", "tps")


def test_who_drives_and_who_is_shown_may_be_told(tmp_path):
    found, _ = pairs_of(tmp_path, ("one.mp4", "two.mp4"), ("one.mp4", "two.mp4"))
    made = tmp_path / "made"
    told = found.labelled({(made / "one.mp4").resolve(): ("ann", "ben"), (made / "two.mp4").resolve(): ("ben", "cyd")})
    assert [(pair.driver, pair.target) for pair in told.pairs] == [("ann", "ben"), ("ben", "cyd")]
    assert [file and file.name for file in map(told.shown_person, told.pairs)] == ["two.mp4", None]
    assert [pair.driver for pair in found.pairs] == ["", ""]


def test_a_reference_that_shows_the_person_to_be_shown(tmp_path):
    """It need not drive anything, and one that is a video of somebody else shows somebody else."""
    references = ("1001_DFA_HAP_XX.mp4", "1002_ITS_SAD_XX.mp4", "1001_DFA_HAP_XX_1003.mp4", "plain.mp4")
    generated = (
        "1001_DFA_HAP_XX_1002.mp4", "gen/1001_DFA_HAP_XX_1003.mp4", "1001_DFA_HAP_XX_1004.mp4",
        "gen/1001_DFA_HAP_XX.mp4", "plain.mp4",
    )  # fmt: skip
    found, _ = pairs_of(tmp_path, references, generated)
    shown = {pair.name: found.shown_person(pair) for pair in found.pairs}
    assert {name: file and file.name for name, file in shown.items()} == {
        "1001_DFA_HAP_XX_1002": "1002_ITS_SAD_XX.mp4",
        "gen/1001_DFA_HAP_XX_1003": "1001_DFA_HAP_XX_1003.mp4",
        "1001_DFA_HAP_XX_1004": None,
        "gen/1001_DFA_HAP_XX": "1001_DFA_HAP_XX.mp4",
        "plain": "plain.mp4",
    }


def test_published_face_videos(tmp_path):
    _, found = pairs_of(
        tmp_path, ("video137.mp4", "59.mp4"), ("1-video137-face-v5.mp4", "4-mp4-59-face.mp4", "3-59-face-v5.mp4")
    )
    assert found == {
        "1-video137-face-v5": ("video137.mp4", "1", "published"),
        "4-mp4-59-face": ("59.mp4", "4-mp4", "published"),
        "3-59-face-v5": ("59.mp4", "3", "published"),
    }


def test_a_reference_in_another_folder_is_found_by_its_only_name(tmp_path):
    found, by_name = pairs_of(tmp_path, ("people/a.mp4",), ("GEN/a.mp4", "GEN/b.mp4"))
    assert by_name == {"GEN/a": ("people/a.mp4", "GEN", "stem")}
    assert [(lost.side, lost.name, lost.reason) for lost in found.unmatched] == [
        ("generated", "GEN/b.mp4", pairing.NO_REFERENCE)
    ]


def test_unmatched_references_are_listed(tmp_path):
    found, _ = pairs_of(tmp_path, ("a.mp4", "z.mp4"), ("a.mp4",))
    assert [(lost.side, lost.name) for lost in found.unmatched] == [("reference", "z.mp4")]


def test_no_video_meets_itself(tmp_path):
    real, made = folder(tmp_path / "real", "a.mp4", "b.mp4"), folder(tmp_path / "made", "b.mp4")
    os.link(real / "a.mp4", made / "a.mp4")
    found = pairing.find_pairs(real, made)
    assert [pair.name for pair in found.pairs] == ["b"]
    assert ("generated", "a.mp4", pairing.SAME_FILE) in [(u.side, u.name, u.reason) for u in found.unmatched]
    (made / "b.mp4").write_bytes((real / "b.mp4").read_bytes())
    (pair,) = pairing.find_pairs(real, made).pairs
    assert pair.same_bytes
    for one, other in ((real, real), (tmp_path, real), (real, tmp_path)):
        with pytest.raises(DatasetError, match="one folder|one in the other"):
            pairing.find_pairs(one, other)


def test_copies_only_are_no_pair(tmp_path):
    real, made = folder(tmp_path / "real", "a.mp4"), folder(tmp_path / "made")
    made.mkdir()
    os.link(real / "a.mp4", made / "a.mp4")
    with pytest.raises(DatasetError, match="same file"):
        pairing.find_pairs(real, made)


def test_what_is_refused(tmp_path):
    real = folder(tmp_path / "real", "a.mp4")
    made = folder(tmp_path / "made", "notes.txt")
    with pytest.raises(DatasetError, match="no video"):
        pairing.find_pairs(real, made)
    with pytest.raises(DatasetError, match="is no folder"):
        pairing.find_pairs(real, tmp_path / "nowhere")
    folder(made, "other.mp4")
    with pytest.raises(DatasetError, match="could be paired"):
        pairing.find_pairs(real, made)
    folder(made, "a.mp4", "a.mov")
    with pytest.raises(DatasetError, match="have one name"):
        pairing.find_pairs(real, made)
    (made / "a.mov").unlink()
    outside = folder(tmp_path / "outside", "secret.mp4")
    (made / "link.mp4").symlink_to(outside / "secret.mp4")
    with pytest.raises(VideoRefused, match="outside_root"):
        pairing.find_pairs(real, made)


def test_a_name_that_fits_two_references_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="any of 2 references"):
        pairs_of(tmp_path, ("anna/1.mp4", "ben/1.mp4"), ("GEN/1.mp4",))
