"""Folds over people: disjoint, balanced, complete; and videos of two parts in none."""

import collections

import numpy as np
import pytest

from fingerprint import options
from fingerprint.data import datasets, folds, records
from fingerprint.data.one_face import GENERATOR, OneFaceSource
from fingerprint.errors import ConfigError, DatasetError
from fingerprint.landmarks import normalize
from tests.sources import MemorySource, make_source


@pytest.mark.parametrize("count", [3, 4, 7])
def test_everybody_has_one_fold_and_folds_are_of_one_size(count):
    drivers, lenders = [f"P{i}" for i in range(22)], [f"L{i}" for i in range(9)]
    found = folds.assign(drivers, lenders, count)
    assert set(found) == {*drivers, *lenders} and set(found.values()) == set(range(count))
    for group in (drivers, lenders):
        sizes = collections.Counter(found[name] for name in group)
        assert max(sizes.values()) - min(sizes.get(fold, 0) for fold in range(count)) <= 1
    assert folds.assign(drivers[::-1], lenders, count) == found
    assert (
        folds.assign([*drivers, "C1003", "1003"], [], count)["C1003"]
        == folds.assign([*drivers, "1003"], [], count)["1003"]
    )


def test_roles_rotate_so_that_everybody_is_tested_and_validated_once():
    for person in range(5):
        roles = [folds.role_of(person, 5, fold) for fold in range(5)]
        assert sorted(roles) == ["test", "train", "train", "train", "validation"]


def test_nobody_is_in_two_parts_and_no_video_twice():
    source = make_source(drivers=10, targets=3, clips=1, frames=4)
    tested, everything = [], source.metadata()
    for fold in range(5):
        parts = {role: folds.FoldSource(source, role, 5, fold) for role in folds.ROLES}
        people = {
            role: set(part.metadata()["driver"].tolist()) | set(part.metadata()["target"].tolist())
            for role, part in parts.items()
        }
        assert not people["train"] & people["test"] and not people["validation"] & (people["train"] | people["test"])
        held = [video for part in parts.values() for video in part.metadata()["video_id"].tolist()]
        assert len(held) == len(set(held))
        (left_out,) = {part.left_out for part in parts.values()}
        assert len(held) + left_out == len(set(everything["video_id"].tolist())) and left_out > 0
        for part in parts.values():  # rows belong together
            for row in range(len(part)):
                assert part[row]["video_id"] == part.metadata()["video_id"][row]
        tested += set(parts["test"].metadata()["driver"].tolist())
    assert sorted(tested) == sorted(set(everything["driver"].tolist()))  # each person once, though some videos never


@pytest.mark.parametrize(
    ("role", "count", "fold", "error", "message"),
    [
        ("train", 2, 0, ConfigError, "at least 3 folds"),
        ("train", 11, 0, ConfigError, "data.folds=11 of 10 drivers"),
        ("dev", 5, 0, ConfigError, "splits are train, validation, test"),
        ("test", 5, 5, ConfigError, "folds 0 to 4"),
    ],
)
def test_what_cannot_be_folded_is_refused(role, count, fold, error, message):
    with pytest.raises(error, match=message):
        folds.FoldSource(make_source(drivers=10, targets=1, clips=1, frames=4), role, count, fold)


def test_a_part_without_a_video_is_refused():
    source = make_source(drivers=3, targets=1, clips=1, frames=4)
    for record in source.records:  # everybody drives somebody else
        record["target"] = f"P{(int(record['driver'][1:]) + 1) % 3:02d}"
    with pytest.raises(DatasetError, match="holds no video"):
        folds.FoldSource(source, "test", 3, 0)


@pytest.fixture
def recorded(monkeypatch):
    """`records.open_split` gives one source and notes the split asked for."""
    asked, source = [], make_source(drivers=6, targets=1, clips=2, frames=6)
    monkeypatch.setattr(records, "open_split", lambda data_dir, dataset, split: asked.append(split) or source)
    return asked


def test_the_configuration_says_which_part(recorded):
    config = options.defaults()
    assert len(datasets.open_split(config, "test")) == 12 and recorded == ["test"]
    config.data.folds, config.data.fold = 3, 1
    parts = [datasets.open_split(config, role) for role in folds.ROLES]
    assert recorded[1:] == ["all"] * 3 and [len(part) for part in parts] == [4, 4, 4]
    config.data.anonymise, config.data.reenact_targets = True, 2
    with pytest.raises(ConfigError, match="choose one of the two"):
        datasets.open_split(config, "test")
    config.data.reenact_targets = 0
    assert set(datasets.open_split(config, "test").metadata()["generator"].tolist()) == {GENERATOR}


def test_one_face_leaves_motion_and_nothing_of_the_person():
    """Two people with other faces who move alike cannot be told apart; the trials stay."""
    source = make_source(drivers=2, targets=1, clips=1, frames=12)
    clear = [dict(record) for record in source.records]
    motion = [
        normalize.get("motion_only")(r["landmarks"], r["frame_mask"], r["image_size"], r["landmark_set"]) for r in clear
    ]
    hidden = OneFaceSource(source)
    for name in ("video_id", "driver", "target", "clip_id"):
        np.testing.assert_array_equal(hidden.metadata()[name], source.metadata()[name])
    faces = [hidden[i]["landmarks"] - motion[i] for i in range(2)]
    np.testing.assert_allclose(faces[0], faces[1], atol=1e-5)
    np.testing.assert_allclose(faces[0][0], faces[0][-1], atol=1e-5)
    assert np.abs(clear[0]["landmarks"][0] - clear[1]["landmarks"][0]).max() > 0.01
    assert hidden[0]["generator"] == GENERATOR and hidden[0]["image_size"].tolist() == [1, 1]
    masked = MemorySource([record | {"frame_mask": np.arange(12) > 3} for record in clear])
    assert not OneFaceSource(masked)[0]["landmarks"][:4].any()
