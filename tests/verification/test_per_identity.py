import dataclasses

import numpy as np
import pytest
from made_up_videos import reenactments, shuffled

from fingerprint.errors import RatesError
from fingerprint.verification import per_identity, protocols
from fingerprint.verification.score_file import ScoreTable


def make_table(rule=protocols.claimed_target, seed=0, videos=None, **options):
    videos = reenactments(people=5, clips=4) if videos is None else videos
    trials = rule(videos, seed=0, **options)
    rng = np.random.default_rng(seed)
    height = rng.normal(size=len(trials.drivers))[trials.reference_driver]  # everybody at another height
    scores = np.round(rng.normal(size=len(trials)) + 1.5 * trials.mated + height, 1)  # with ties
    scores[::13] = np.nan
    return ScoreTable.from_trials(trials, videos["video_id"].tolist(), scores)


def auc_by_hand(mated, non_mated) -> float:
    return float(np.mean([(a > b) + 0.5 * (a == b) for a in mated for b in non_mated]))


def by_hand(table, weights=None):
    """AUC of each claimed person; `weights` by name repeats an impostor's trials."""
    found = {}
    for code, person in enumerate(table.drivers):
        mine = (table.reference_driver == code) & ~np.isnan(table.scores)
        mated = table.scores[mine & table.mated]
        others = [
            score
            for score, driver in zip(
                table.scores[mine & ~table.mated], table.probe_driver[mine & ~table.mated], strict=True
            )
            for _ in range(1 if weights is None else weights[driver])
        ]
        if len(mated) and others:
            found[person] = auc_by_hand(mated, others)
    return found


def test_equals_counting_by_hand():
    table = make_table()
    found, wanted = per_identity.measure(table, replicates=0, seed=0), by_hand(table)
    assert dict(zip(found.identities, found.auc, strict=True)) == pytest.approx(wanted)
    assert found.mean == pytest.approx(np.mean(list(wanted.values())))
    for row in found.rows():
        mine = (table.reference_driver == table.drivers.index(row["identity"])) & ~np.isnan(table.scores)
        for name, side in (("mated", table.mated), ("non_mated", ~table.mated)):
            assert row[name] == (mine & side).sum()
            assert row[f"{name}_mean"] == pytest.approx(table.scores[mine & side].mean())
    assert [row["auc"] for row in found.rows()] == sorted(found.auc.tolist())
    assert found.summary()["low"] is None and found.summary()["identities"] == 5


def test_pooling_compares_claimed_people_and_this_does_not():
    table = make_table()
    lifted = dataclasses.replace(table, scores=table.scores + 100.0 * table.reference_driver)
    np.testing.assert_allclose(
        per_identity.measure(lifted, replicates=0, seed=0).auc, per_identity.measure(table, replicates=0, seed=0).auc
    )


def test_constant_scores_say_nothing():
    table = make_table()
    found = per_identity.measure(dataclasses.replace(table, scores=np.ones(len(table))), replicates=50, seed=0)
    assert (found.auc == 0.5).all() and set(found.draws.tolist()) == {0.5}
    assert found.summary() == {"value": 0.5, "low": 0.5, "high": 0.5, "identities": 5, "left_out": {}}


def test_the_bootstrap_weighs_claimed_people_and_impostors():
    table = make_table()
    found = per_identity.measure(table, replicates=30, seed=4)
    drawn = np.random.default_rng(4).multinomial(5, np.full(5, 1 / 5), size=30)
    for weights, draw in zip(drawn, found.draws, strict=True):
        auc = by_hand(table, weights)
        kept = {person: weights[table.drivers.index(person)] for person in auc}
        if sum(kept.values()):
            assert draw == pytest.approx(np.average(list(auc.values()), weights=list(kept.values())))
        else:
            assert np.isnan(draw)
    known = found.draws[~np.isnan(found.draws)]
    assert found.summary()["low"] == pytest.approx(np.percentile(known, 2.5))


def test_steps_of_the_bootstrap_do_not_show(monkeypatch):
    table = make_table()
    whole = per_identity.measure(table, replicates=20, seed=0).draws
    monkeypatch.setattr(per_identity, "_CELLS", 7)
    np.testing.assert_array_equal(per_identity.measure(table, replicates=20, seed=0).draws, whole)


def test_people_without_a_class_are_named_with_the_reason():
    table = make_table()
    scores = table.scores.copy()
    scores[(table.reference_driver == 1) & table.mated] = np.nan
    found = per_identity.measure(dataclasses.replace(table, scores=scores), replicates=5, seed=0)
    assert found.left_out == {"P01": "no mated trial with a score"} and "P01" not in found.identities
    only = per_identity.measure(table, (table.reference_driver == 2) & table.mated, replicates=5, seed=0)
    assert only.left_out == {"P02": "no non-mated trial with a score"}
    assert only.summary()["value"] is None and only.summary()["low"] is None and np.isnan(only.mean)


def test_without_a_side_a_trial_counts_for_both_people():
    table = make_table(protocols.all_pairs)
    assert per_identity.is_symmetric(table) and not per_identity.is_symmetric(make_table())
    found = per_identity.measure(table, replicates=5, seed=0)
    assert found.identities == table.drivers  # whose ids come last too
    known, wanted = ~np.isnan(table.scores), {}
    for code, person in enumerate(table.drivers):
        part = known & ((table.reference_driver == code) | (table.probe_driver == code))
        wanted[person] = auc_by_hand(table.scores[part & table.mated], table.scores[part & ~table.mated])
    assert dict(zip(found.identities, found.auc, strict=True)) == pytest.approx(wanted)
    assert not per_identity.is_symmetric(make_table(protocols.all_pairs, enrolment_clips=2))


def test_order_does_not_matter():
    table = make_table()
    turn = np.random.default_rng(1).permutation(len(table))
    names = ("scores", "mated", "template_index", "probe_index", "reference_driver", "probe_driver")
    turned = dataclasses.replace(table, **{name: getattr(table, name)[turn] for name in names})
    one, two = (per_identity.measure(t, replicates=20, seed=0) for t in (table, turned))
    np.testing.assert_allclose(one.draws, two.draws)
    np.testing.assert_allclose(one.auc, two.auc)
    videos = reenactments(people=5, clips=4)
    assert protocols.claimed_target(shuffled(videos), seed=0).hash == protocols.claimed_target(videos, seed=0).hash


def test_differences_are_paired():
    table = make_table()
    odd = table.template_index % 2 == 1
    first = per_identity.measure(table, odd, replicates=40, seed=0)
    second = per_identity.measure(table, ~odd, replicates=40, seed=0)
    gap = per_identity.difference(first, second)
    assert gap["value"] == pytest.approx(first.mean - second.mean)
    assert gap["low"] == pytest.approx(np.nanpercentile(first.draws - second.draws, 2.5))
    nothing = per_identity.difference(first, first)
    assert nothing == {"value": 0.0, "low": 0.0, "high": 0.0}
    with pytest.raises(RatesError, match="equal replicates"):
        per_identity.difference(first, per_identity.measure(table, replicates=3, seed=0))
    empty = per_identity.measure(table, np.zeros(len(table), bool), replicates=40, seed=0)
    with pytest.raises(RatesError, match="people on both sides"):
        per_identity.difference(first, empty)
