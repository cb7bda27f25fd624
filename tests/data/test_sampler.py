"""Batches of P drivers x K windows: who is in them, and that they follow from seed and step alone."""

import collections
import itertools
import pickle

import numpy as np
import pytest

from fingerprint.data.sampler import DriverSampler
from fingerprint.errors import ConfigError


def table(drivers=8, targets=3, clips=2):
    """Every driver on the own face and the next two, `clips` records each."""
    rows = [
        (f"P{d}", f"P{(d + step) % drivers}")
        for d, step, _ in itertools.product(range(drivers), range(targets), range(clips))
    ]
    driver, target = (np.array(column) for column in zip(*rows, strict=True))
    return driver, target


DRIVER, TARGET = table()


def make(driver=DRIVER, target=TARGET, usable=None, p=4, k=4, **options):
    usable = np.ones(len(driver), bool) if usable is None else usable
    return DriverSampler(driver, target, usable, drivers_per_batch=p, windows_per_driver=k, **options)


@pytest.mark.parametrize("same_target", [False, True])
@pytest.mark.parametrize(("p", "k"), [(2, 2), (4, 3), (8, 4)])
def test_a_batch_holds_p_drivers_with_k_windows_each(p, k, same_target):
    sampler = make(p=p, k=k, same_target=same_target)
    assert sampler.batch_size == p * k
    for step in range(20):
        plan = sampler.batch(step)
        assert plan.record.shape == plan.driver.shape == (p * k,)
        groups = plan.driver.reshape(p, k)
        assert (groups == groups[:, :1]).all() and len(set(groups[:, 0].tolist())) == p
        assert [sampler.names[code] for code in plan.driver] == DRIVER[plan.record].tolist()
        assert all(len(set(rows)) == k for rows in plan.record.reshape(p, k).tolist())


def test_every_pass_shows_every_driver_once_in_another_order():
    sampler = make(p=4, k=2)
    assert sampler.steps_per_pass == 2
    orders = []
    for turn in range(6):
        drivers = [d for part in range(2) for d in sampler.batch(2 * turn + part).driver[::2].tolist()]
        assert sorted(drivers) == list(range(8))
        orders.append(tuple(drivers))
    assert len(set(orders)) == 6


def test_a_remainder_of_drivers_is_made_up_for_in_other_passes():
    sampler = make(*table(drivers=7), p=4, k=2)
    assert sampler.steps_per_pass == 1
    seen = collections.Counter(d for step in range(70) for d in sampler.batch(step).driver[::2].tolist())
    assert set(seen) == set(range(7)) and max(seen.values()) < 2 * min(seen.values())


def test_targets_are_varied_inside_a_driver():
    for step in range(10):
        for rows in make(p=4, k=3).batch(step).record.reshape(4, 3):
            assert len(set(TARGET[rows].tolist())) == 3
    for step in range(10):
        for rows in make(p=4, k=5).batch(step).record.reshape(4, 5):
            assert sorted(collections.Counter(TARGET[rows].tolist()).values()) == [1, 2, 2]


def test_a_driver_s_windows_come_from_different_clips_while_there_are_any():
    """The same motion on another face is no lesson: two renderings of one clip only where the clips are used up."""
    driver, target = table(drivers=4, targets=3, clips=3)
    clip = np.array([f"{name}-{row % 3}" for row, name in enumerate(driver)])
    sampler = make(driver, target, p=4, k=3, clip_id=clip)
    plain = make(driver, target, p=4, k=3)
    repeated = 0
    for step in range(20):
        for rows in sampler.batch(step).record.reshape(4, 3):
            assert len(set(clip[rows].tolist())) == 3
        repeated += any(len(set(clip[rows].tolist())) < 3 for rows in plain.batch(step).record.reshape(4, 3))
    assert repeated > 10
    for rows in make(driver, target, p=4, k=5, clip_id=clip).batch(0).record.reshape(4, 5):
        assert len(set(clip[rows[:3]].tolist())) == 3 and len(set(rows.tolist())) == 5


def test_every_record_is_used():
    sampler = make(p=4, k=2)
    assert {row for step in range(200) for row in sampler.batch(step).record.tolist()} == set(range(len(DRIVER)))


def test_a_driver_with_few_records_repeats_them_evenly():
    driver, target = np.array(list("aaabb")), np.array(list("aabbb"))
    for step in range(5):
        plan = make(driver, target, p=2, k=5).batch(step)
        for code, most in ((0, 2), (1, 3)):
            counts = collections.Counter(plan.record[plan.driver == code].tolist())
            assert set(counts) == set(np.flatnonzero(driver == "ab"[code]).tolist()) and max(counts.values()) == most


@pytest.mark.parametrize("p", [2, 4, 8])
def test_same_target_puts_another_driver_on_the_same_face(p):
    """Half of each paired driver's windows show a face that another driver of the batch wears."""
    sampler = make(p=p, k=4, same_target=True)
    for step in range(30):
        faces = TARGET[sampler.batch(step).record].reshape(p, 4)
        halves = [face[0] if face[0] == face[1] else None for face in faces]
        paired = sum(half is not None and halves.count(half) == 2 for half in halves)
        assert paired >= (p if p < 8 else p - 2)  # pairs are made greedily: with everybody in the batch one may be left


@pytest.mark.parametrize(("share", "faces", "on_shared"), [(0.5, 1, 4), (0.5, 2, 4), (1.0, 2, 8), (0.1, 1, 1)])
def test_part_of_a_pair_s_windows_show_faces_that_both_wear(share, faces, on_shared):
    """So that Q of the dynamic identity loss is not empty: for each of them, another driver wears the same face."""
    driver, target = table(drivers=8, targets=5, clips=4)
    sampler = make(driver, target, p=4, k=8, same_target=True, same_target_share=share, same_target_faces=faces, seed=2)
    for step in range(20):
        plan = sampler.batch(step)
        worn = target[plan.record].reshape(4, 8)
        codes = plan.driver.reshape(4, 8)[:, 0]
        for row in range(4):
            first = worn[row, :on_shared]
            assert len(set(first.tolist())) == min(faces, on_shared)
            partners = [r for r in range(4) if r != row and set(first.tolist()) <= set(worn[r].tolist())]
            assert partners and codes[partners[0]] != codes[row]
            rows = plan.record.reshape(4, 8)[row, :on_shared]
            assert len(set(rows.tolist())) == on_shared


def test_a_pair_that_shares_fewer_faces_than_asked_for_takes_those():
    driver, target = np.array(list("aaaabbbb")), np.array(list("axyybxzz"))
    sampler = make(driver, target, p=2, k=4, same_target=True, same_target_share=1.0, same_target_faces=3)
    for step in range(5):
        assert set(target[sampler.batch(step).record].tolist()) == {"x"}


def test_without_same_target_shared_faces_are_left_to_chance():
    shared = 0
    for step in range(30):
        faces = TARGET[make(p=2, k=4).batch(step).record].reshape(2, 4)
        shared += faces[0, 0] == faces[1, 0]
    assert shared < 20


def test_same_target_fills_up_with_other_drivers_where_too_few_share_a_face():
    driver, target = np.array(list("aabbccdd")), np.array(list("axbxccdd"))
    sampler = make(driver, target, p=4, k=2, same_target=True)
    for step in range(10):
        plan = sampler.batch(step)
        assert sorted(set(plan.driver.tolist())) == [0, 1, 2, 3]
        for code in (0, 1):
            assert "x" in target[plan.record[plan.driver == code]]


@pytest.mark.parametrize("same_target", [False, True])
def test_a_batch_follows_from_seed_and_step_alone(same_target):
    forward, backward = make(same_target=same_target, seed=5), make(same_target=same_target, seed=5)
    other = make(same_target=same_target, seed=6)
    backwards = {step: backward.batch(step) for step in reversed(range(100))}
    differing = 0
    for step in range(100):
        assert np.array_equal(forward.batch(step).record, backwards[step].record)
        assert np.array_equal(forward.batch(step).driver, backwards[step].driver)
        differing += not np.array_equal(forward.batch(step).record, other.batch(step).record)
    assert differing > 90
    assert len({forward.batch(step).record.tobytes() for step in range(100)}) > 90


def test_unusable_records_are_never_drawn():
    usable = np.arange(len(DRIVER)) % 3 != 0
    usable[DRIVER == "P7"] = False
    sampler = make(usable=usable, p=7, k=3)
    assert sampler.names == [f"P{d}" for d in range(7)]
    assert all(usable[sampler.batch(step).record].all() for step in range(50))


def test_a_sampler_travels_to_a_reading_process():
    sampler = make(seed=3)
    sampler.batch(0)
    copy = pickle.loads(pickle.dumps(sampler))
    assert all(np.array_equal(copy.batch(step).record, sampler.batch(step).record) for step in range(5))


def test_drivers_with_few_records_are_left_out_where_asked():
    usable = np.arange(len(DRIVER)) >= 5
    sampler = make(usable=usable, p=7, k=2, leave_out_few=True)
    assert sampler.left_out == ["P0"] and sampler.names == [f"P{d}" for d in range(1, 8)]
    assert all((DRIVER[sampler.batch(step).record] != "P0").all() for step in range(20))
    assert make(leave_out_few=True).left_out == [] == make().left_out
    with pytest.raises(ConfigError, match="7 drivers with usable records; a batch asks for 8"):
        make(usable=usable, p=8, leave_out_few=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"p": 9}, "8 drivers with usable records; a batch asks for 9"),
        ({"k": 1}, "at least 2"),
        ({"usable": np.arange(len(DRIVER)) >= 5}, "1 drivers have fewer than 2 usable records .first: 'P0'"),
        ({"usable": np.zeros(len(DRIVER), bool)}, "0 drivers"),
        ({"p": 3, "same_target": True}, "even number"),
        ({"same_target_share": 0.0}, "same_target_share is 0.0"),
        ({"same_target_faces": 0}, "same_target_faces 0"),
        (
            {"driver": np.array(list("aabb")), "target": np.array(list("aabb")), "p": 2, "same_target": True},
            r"found 0.*Where nobody wears another's face.*same_target=False",
        ),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(options, message):
    with pytest.raises(ConfigError, match=message):
        make(**options)
