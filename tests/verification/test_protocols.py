"""Protocols on made-up video tables: who is compared with whom, and that nothing leaks."""

import itertools

import numpy as np
import pytest
from made_up_videos import reenactments, shuffled

from fingerprint.errors import ProtocolError, UnknownName
from fingerprint.verification import plan, protocols, trials

NAMES = ("all_pairs", "claimed_target", "driver_on_other_target")


def as_ids(trial_list, videos):
    ids = videos["video_id"]
    templates = [frozenset(ids[list(rows)].tolist()) for rows in trial_list.templates]
    return [
        (templates[t], str(ids[p]), bool(m))
        for t, p, m in zip(trial_list.template_index, trial_list.probe_index, trial_list.mated, strict=True)
    ]


def column(videos, video_id, name):
    return videos[name][videos["video_id"] == video_id][0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("clips", [1, 3])
@pytest.mark.parametrize("cap", [None, 1])
@pytest.mark.parametrize("most", [None, 30])
def test_no_leakage_and_the_order_of_the_table_is_no_matter(name, clips, cap, most):
    videos = reenactments(clips=7, generators=("GAGA", "LIVE"), originals=True)
    options = {"seed": 3, "enrolment_clips": clips, "max_templates_per_driver": cap, "max_trials": most}
    found = protocols.get(name)(videos, **options)
    trials.check_leakage(found, videos, {"somebody else"})
    assert found.protocol == name and found.seed == 3
    assert 0 < found.mated.sum() < len(found) and (most is None or len(found) == most)
    moved = shuffled(videos)
    again = protocols.get(name)(moved, **options)
    assert again.hash == found.hash
    assert sorted(as_ids(again, moved), key=str) == sorted(as_ids(found, videos), key=str)
    for rows in found.templates:
        assert len(set(videos["clip_id"][list(rows)])) == clips
        assert len(set(videos["driver"][list(rows)])) == 1
    if cap:
        assert len(found.templates) <= 4
    assert any("mean" in note for note in found.notes) == (clips > 1)
    if most or cap or clips > 1:
        assert protocols.get(name)(videos, **options | {"seed": 4}).hash != found.hash


def test_names_and_unknown_name():
    assert protocols.names() == NAMES
    with pytest.raises(UnknownName, match="claimed_target"):
        protocols.get("zoo")


def test_all_pairs_is_every_pair_once():
    videos = reenactments(people=3, clips=3, generators=("GAGA", "LIVE"))
    found = as_ids(protocols.all_pairs(videos, seed=0), videos)
    expected, dropped = set(), 0
    for a, b in itertools.combinations(sorted(videos["video_id"].tolist()), 2):
        mated = column(videos, a, "driver") == column(videos, b, "driver")
        if mated and column(videos, a, "clip_id") == column(videos, b, "clip_id"):
            dropped += 1
        else:
            expected.add((a, b, bool(mated)))
    assert len(found) == len(expected)
    assert {(*reference, probe, mated) for reference, probe, mated in found} == expected
    assert f"{dropped} mated pairs dropped" in protocols.all_pairs(videos, seed=0).notes[0]


def test_capped_templates_still_meet_everyone_once():
    videos = reenactments(people=3, clips=3)
    found = protocols.all_pairs(videos, seed=0, max_templates_per_driver=2)
    pairs = [frozenset((*reference, probe)) for reference, probe, _ in as_ids(found, videos)]
    assert len(found.templates) == 6 and len(set(pairs)) == len(pairs)
    enrolled = {videos["video_id"][rows[0]] for rows in found.templates}
    for a, b in itertools.combinations(videos["video_id"].tolist(), 2):
        same_motion = column(videos, a, "clip_id") == column(videos, b, "clip_id")
        assert (frozenset((a, b)) in pairs) == (bool({a, b} & enrolled) and not same_motion)


def test_drawn_trials_are_stratified():
    videos = reenactments(people=4, clips=5)
    whole = protocols.all_pairs(videos, seed=0)
    mated = int(whole.mated.sum())
    few = protocols.all_pairs(videos, seed=0, max_trials=100)
    assert (len(few), int(few.mated.sum())) == (100, 50)
    most = protocols.all_pairs(videos, seed=0, max_trials=2 * mated + 100)
    assert (len(most), int(most.mated.sum())) == (2 * mated + 100, mated)
    assert set(as_ids(few, videos)) < set(as_ids(whole, videos))
    draws = [set(as_ids(protocols.all_pairs(videos, seed=s, max_trials=len(whole) // 2), videos)) for s in range(30)]
    counts = [sum(trial in draw for draw in draws) for trial in as_ids(whole, videos) if not trial[2]]
    assert min(counts) > 0 and max(counts) < 30  # every trial can be drawn


def test_claimed_target_shows_the_claimed_face_everywhere():
    videos = reenactments(people=4, clips=4, originals=True)
    found = protocols.claimed_target(videos, seed=0)
    assert found.conditions["same_target"].all()
    target, driver = videos["target"], videos["driver"]
    assert "ORIG" not in videos["generator"][found.probe_index]
    for template, probe, mated in zip(found.template_index, found.probe_index, found.mated, strict=True):
        (row,) = found.templates[template]
        assert driver[row] == target[row] == target[probe]
        assert mated == (driver[probe] == driver[row]) == (driver[probe] == target[probe])
    assert int(found.mated.sum()) == 4 * 6  # unordered pairs of 4 clips
    assert int((~found.mated).sum()) == 4 * 4 * 8
    assert found.notes == ("16 real videos (ORIG) left out",)


def test_driver_on_other_target_shows_the_same_faces_to_both_classes():
    videos = reenactments(people=5, clips=4)
    found = protocols.driver_on_other_target(videos, seed=0)
    assert not found.conditions["same_target"].any()
    target, driver = videos["target"], videos["driver"]
    enrolled = np.array([driver[rows[0]] for rows in found.templates])[found.template_index]
    assert np.all(target[found.probe_index] != driver[found.probe_index])
    for person in np.unique(enrolled):
        mine = enrolled == person
        faces = set(target[found.probe_index[mine & found.mated]])
        assert faces and set(target[found.probe_index[mine & ~found.mated]]) <= faces
    assert not found.conditions["same_clip"][found.mated].any()


def test_wrong_data_raise_and_say_what_fits():
    originals = reenactments(targets=1, generators=("ORIG",))
    for name in NAMES[1:]:
        with pytest.raises(ProtocolError, match="0 self-reenactments, 0 cross-reenactments, 20 real.*all_pairs fits"):
            protocols.get(name)(originals, seed=0)
    assert len(protocols.all_pairs(originals, seed=0)) == 190
    with pytest.raises(ProtocolError, match="2 self-reenactments"):
        protocols.all_pairs(reenactments(people=2, clips=1, targets=1), seed=0)
    with pytest.raises(ProtocolError, match="0 non-mated"):
        protocols.all_pairs(reenactments(people=1, clips=4, targets=1), seed=0)
    with pytest.raises(ProtocolError, match="fewer|0 mated"):
        protocols.all_pairs(reenactments(clips=2), seed=0, enrolment_clips=3)
    with pytest.raises(ProtocolError, match="lacks columns sentence"):
        protocols.all_pairs({k: v for k, v in originals.items() if k != "sentence"}, seed=0)
    with pytest.raises(ProtocolError, match="20 of 20 videos have no clip_id"):
        protocols.all_pairs(originals | {"clip_id": np.full(20, "")}, seed=0)
    with pytest.raises(ProtocolError, match="1 repeated video ids"):
        repeated = originals["video_id"].copy()
        repeated[1] = repeated[0]
        protocols.all_pairs(originals | {"video_id": repeated}, seed=0)
    for wrong in ({"enrolment_clips": 0}, {"max_templates_per_driver": 0}, {"max_trials": 1}):
        with pytest.raises(ProtocolError, match="want"):
            protocols.all_pairs(originals, seed=0, **wrong)


def test_too_many_trials_are_refused(monkeypatch):
    monkeypatch.setattr(plan, "MAX_TRIALS", 1_000)
    videos = reenactments()
    with pytest.raises(ProtocolError, match="give max_trials"):
        protocols.all_pairs(videos, seed=0)
    assert len(protocols.all_pairs(videos, seed=0, max_trials=400)) == 400


def test_choice_of_the_default_protocol():
    assert protocols.choose(reenactments()) == "claimed_target"
    assert protocols.choose(reenactments(clips=1)) == "all_pairs"
    assert protocols.choose(reenactments(targets=1)) == "all_pairs"
    assert protocols.choose(reenactments(targets=1, generators=("ORIG",))) == "all_pairs"


def write_pairs(path, header, rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    "header", ["Enrolment_Video,Test_Video,LABEL", "reference,probe,mated", "Enrol,Test video,genuine"]
)
@pytest.mark.parametrize("shape", ["{}", "{}.mp4", "landmarks/TEST/GAGA/{}.npy"])
def test_pair_file(tmp_path, header, shape):
    videos = reenactments()
    name = {k: shape.format(f"P00--P00--{k}--GAGA") for k in range(5)} | {9: shape.format("P00--P02--1--GAGA")}
    gone = shape.format("P00--P00--77--GAGA")
    rows = [
        f"{name[0]},{name[1]},1",
        f"{name[0]},{name[9]},0",
        f"{name[2]},{name[3]},1",
        f"{name[0]},{gone},1",
    ]
    rows.append(f"{gone},{name[9]},0")
    found = protocols.pairs_csv(write_pairs(tmp_path / "pairs.csv", header, rows), videos)
    assert (len(found), len(found.templates), found.missing) == (3, 2, 2)
    assert found.mated.tolist() == [True, False, True]
    assert found.missing_pairs[0] == ("P00--P00--0--GAGA", "P00--P00--77--GAGA", True)
    assert "2 of 5 pairs" in found.notes[0] and "failures to acquire" in found.notes[0]
    assert as_ids(found, videos)[1] == (frozenset(["P00--P00--0--GAGA"]), "P00--P02--1--GAGA", False)
    trials.check_leakage(found, videos, set())


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("a,b,label", "x,y,1", "enrolment column"),
        ("enrol,test,label", "P00--P00--0--GAGA,P00--P00--1--GAGA,perhaps", "row 2"),
        ("enrol,test,label", "P00--P00--0--GAGA,P00--P00--1--GAGA", "row 2"),
        ("enrol,test,label", "P00--P00--0--GAGA,P00--P00--1--GAGA,0", "1 of 1 labels contradict"),
        ("enrol,test,label", "x,y,1", "none of 1 pairs"),
        ("enrol,test,label", "", "none of 0 pairs"),
    ],
)
def test_wrong_pair_files_raise(tmp_path, header, row, words):
    path = write_pairs(tmp_path / "pairs.csv", header, [row])
    with pytest.raises(ProtocolError, match=f"pairs.csv.*{words}"):
        protocols.pairs_csv(path, reenactments())
    with pytest.raises(ProtocolError, match="cannot be read"):
        protocols.pairs_csv(tmp_path / "absent.csv", reenactments())
