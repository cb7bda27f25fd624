"""Sources of records that put videos on other faces."""

import collections

import numpy as np
import pytest
from sources import MemorySource, make_source

from fingerprint.data.record_sources import ReenactedSource, face_shapes
from fingerprint.errors import ConfigError
from fingerprint.landmarks import normalize, reenactment

SET = "avaprintdb109"


@pytest.fixture(scope="module")
def originals():
    """Own faces only; each track cut into two records."""
    pieces = []
    for record in make_source(drivers=5, targets=1, clips=2, frames=16, lost_frames=2).records:
        for index, start in enumerate((0, 8)):
            part = {name: record[name][start : start + 8] for name in ("landmarks", "frame_mask")}
            pieces.append({**record, **part, "window_index": np.int32(index), "start_frame": np.int32(start)})
    return MemorySource(pieces)


def test_reenacted_table_and_records_agree(originals):
    source = ReenactedSource(originals, targets=2, seed=0)
    table = source.metadata()
    assert len(source) == 3 * len(originals) and all(len(column) == len(source) for column in table.values())
    assert set(table) == set(originals.metadata())
    for row in range(len(source)):
        record = source[row]
        assert set(record) == set(originals[0])
        for name in set(table) - {"num_frames", "num_valid"}:
            assert np.array_equal(table[name][row], record[name]), name
        assert table["num_frames"][row] == len(record["frame_mask"]) == len(record["landmarks"])
        assert table["num_valid"][row] == record["frame_mask"].sum()
        assert record["landmarks"].dtype == np.float32 and not record["landmarks"][~record["frame_mask"]].any()
    assert table["image_size"].dtype == np.int32 and (table["image_size"] == 1).all()
    assert set(table["generator"].tolist()) == {"LANDMARK"}


def test_reenacted_videos_have_their_own_id_a_face_each_and_the_own_face_first(originals):
    table = ReenactedSource(originals, targets=2, seed=0).metadata()
    ids = table["video_id"]
    changes = np.flatnonzero(np.append(True, ids[1:] != ids[:-1]))
    assert len(changes) == len(set(ids.tolist()))  # the records of a video side by side
    by_clip = collections.defaultdict(list)
    for row in changes:
        assert table["window_index"][row : row + 2].tolist() == [0, 1]
        by_clip[table["clip_id"][row]].append(row)
    assert len(by_clip) == 10
    worn = set()
    for rows in by_clip.values():
        targets, driver = table["target"][rows].tolist(), table["driver"][rows[0]]
        assert len(set(targets)) == 3 and targets[0] == driver and driver not in targets[1:]
        worn.add(tuple(targets))
    assert len({targets[1:] for targets in worn}) > 3  # not everybody wears the same faces


def test_reenacted_records_show_the_face_and_the_motion(originals):
    source, shapes = ReenactedSource(originals, targets=2, seed=0), face_shapes(originals)
    base = {(r["clip_id"], int(r["window_index"])): r for r in originals.records}
    for row in range(0, len(source), 5):
        record = source[row]
        original = base[record["clip_id"], int(record["window_index"])]
        motion = normalize.get("motion_only")(
            original["landmarks"], original["frame_mask"], original["image_size"], SET
        )
        expected = np.where(original["frame_mask"][:, None, None], motion + shapes[record["target"]], 0)
        assert np.abs(record["landmarks"] - expected).max() < 1e-6


def test_reenactment_follows_from_the_seed_and_the_video(originals):
    one, two = ReenactedSource(originals, 2, seed=0).metadata(), ReenactedSource(originals, 2, seed=0).metadata()
    other = ReenactedSource(originals, 2, seed=1).metadata()
    assert np.array_equal(one["video_id"], two["video_id"])
    assert not np.array_equal(one["video_id"], other["video_id"])
    last_person_s = MemorySource(originals.records[:4] + originals.records[-4:] + originals.records[4:-4])
    moved = ReenactedSource(last_person_s, 2, seed=0).metadata()
    assert sorted(moved["video_id"].tolist()) == sorted(one["video_id"].tolist())


def test_more_faces_than_people_are_refused(originals):
    assert len(ReenactedSource(originals, 4)) == 5 * len(originals)
    with pytest.raises(ConfigError, match="5 other faces needs 6 people; the split has 5"):
        ReenactedSource(originals, 5)


def test_face_shapes_are_those_of_the_targets(originals):
    shapes = face_shapes(originals)
    assert sorted(shapes) == sorted(set(originals.metadata()["target"].tolist()))
    for row in range(len(originals)):
        record = originals[row]
        own = reenactment.face_shape(record["landmarks"], record["frame_mask"], record["image_size"], SET)
        gaps = {name: np.abs(own - shape).mean() for name, shape in shapes.items()}
        assert min(gaps, key=gaps.get) == record["target"]
