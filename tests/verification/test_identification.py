import numpy as np
import pytest
from made_up_videos import reenactments, shuffled

from fingerprint.errors import ProtocolError
from fingerprint.verification import identification
from fingerprint.verification.identification import Gallery, Searches

NOBODY = -np.inf


def five_people() -> tuple[Gallery, np.ndarray]:
    """A, B, C enrolled, D and E not; two probes each; scores by template and probe."""
    gallery = Gallery(
        names=("A", "B", "C", "D", "E"),
        templates=((0,), (1,), (2,), (3,), (4,)),
        probes=np.arange(5, 15),
        person=np.repeat(np.arange(5), 2),
        enrolled=np.array([[True, True, True, False, False]]),
        notes=(),
    )
    scores = np.array(
        [  # A    A    B    B    C    C    D    D    E    E
            [0.9, 0.4, 0.1, 0.6, 0.2, 0.1, 0.3, 0.5, 0.1, 0.2],  # A
            [0.1, 0.3, 0.8, 0.5, 0.1, 0.3, 0.2, 0.1, 0.7, 0.2],  # B
            [0.2, 0.2, 0.3, 0.2, 0.6, 0.3, 0.1, 0.4, 0.3, 0.4],  # C
            [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9],  # D, not enrolled: never compared
            [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9],  # E, not enrolled: never compared
        ]
    )
    return gallery, scores


def score_with(gallery, scores):
    def score(trials):
        names = [gallery.templates.index(template) for template in trials.templates]
        probes = np.searchsorted(gallery.probes, trials.probe_index)
        return scores[np.array(names)[trials.template_index], probes]

    return score


def dir_at(searches, *far) -> list[float | None]:
    return [entry["value"] for entry in identification.rates(searches, far, replicates=0, seed=0)]


def test_five_people_counted_by_hand():
    """Own template first: A 0.9, A 0.4, B 0.8, C 0.6; B's second is beaten by A, C's second ties with B. Strangers'
    highest scores: D 0.3, 0.5, E 0.7, 0.4."""
    gallery, scores = five_people()
    searches = identification.search(gallery, score_with(gallery, scores))
    np.testing.assert_array_equal(searches.found[0, :6], [0.9, 0.4, 0.8, NOBODY, 0.6, NOBODY])
    np.testing.assert_array_equal(searches.highest[0, 6:], [0.3, 0.5, 0.7, 0.4])
    # of 4 alarms none, one, two, three and all may pass: above 0.7, 0.5, 0.4, 0.3, and whatever the score
    wanted = [3 / 6, 3 / 6, 4 / 6, 4 / 6]
    assert dir_at(searches, 0.25, 0.5, 0.75, 1.0) == pytest.approx(wanted)
    assert dir_at(searches, 0.49) == dir_at(searches, 0.25)  # not met exactly: a lower one
    scores[0, 1] = 0.35  # A's second video between E's 0.4 and D's 0.3
    lower = identification.search(gallery, score_with(gallery, scores))
    assert dir_at(lower, 0.25, 0.5, 0.75, 1.0) == pytest.approx([3 / 6, 3 / 6, 4 / 6, 4 / 6])
    scores[0, 7] = 0.39  # D's second: the alarms are 0.3, 0.4 (template C), 0.7, 0.4
    tied = identification.search(gallery, score_with(gallery, scores))
    assert dir_at(tied, 0.5, 0.75) == pytest.approx([3 / 6, 4 / 6])


def test_a_rate_that_the_probes_cannot_show_has_none():
    gallery, scores = five_people()
    found = identification.rates(identification.search(gallery, score_with(gallery, scores)), (0.1, 0.25), seed=0)
    assert found[0]["value"] is None and found[0]["reason"].startswith("4 probes")
    assert found[1]["errors"] == 1 and found[1]["unreliable"]


def test_constant_scores_find_nobody():
    gallery, scores = five_people()
    searches = identification.search(gallery, score_with(gallery, np.ones_like(scores)))
    assert dir_at(searches, 0.25, 1.0) == [0.0, 0.0]


def test_videos_without_a_score_are_left_out():
    gallery, scores = five_people()
    scores[:, [1, 6]] = np.nan
    searches = identification.search(gallery, score_with(gallery, scores))
    assert np.isnan(searches.found[0, 1]) and np.isnan(searches.highest[0, 6])
    assert dir_at(searches, 1 / 3) == pytest.approx([3 / 5])
    scores = five_people()[1]
    scores[1] = np.nan  # B's template: others are searched without it, B's probes are left out
    searches = identification.search(gallery, score_with(gallery, scores))
    assert np.isnan(searches.found[0, 2:4]).all() and searches.found[0, 5] == 0.3


def random_searches(seed=0, people=12, each=30, halves=4, scale=1.0) -> Searches:
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), each)
    enrolled = np.argsort([rng.permutation(people) for _ in range(halves)], axis=1) < people // 2
    own = rng.normal(1.0, 1.0, len(person))
    highest = np.round(rng.normal(scale, 1.0, (halves, len(person))), 1)
    return Searches(person, enrolled, np.where(own > highest, own, NOBODY), highest)


def test_dir_rises_with_far_and_equals_trying_every_threshold():
    searches = random_searches()
    shares = [1 / 100, 0.05, 0.1, 0.3, 0.6, 1.0]
    values = dir_at(searches, *shares)
    assert values == sorted(values) and values[0] < values[-1]
    for far, value in zip(shares, values, strict=True):
        by_half = []
        for half, enrolled in enumerate(searches.enrolled):
            inside = enrolled[searches.person]
            found, alarms = searches.found[half, inside], searches.highest[half, ~inside]
            tried = [t for t in np.append(np.unique(np.append(found, alarms)), np.inf) if np.mean(alarms >= t) <= far]
            by_half.append(np.mean((found >= min(tried)) & (found > NOBODY)))
        assert value == pytest.approx(np.mean(by_half))


def test_the_bootstrap_repeats_peoples_probes(monkeypatch):
    searches = random_searches(people=6, each=8, halves=2)
    found = identification.rates(searches, [0.3], replicates=25, seed=3)[0]
    values = []
    for weights in np.random.default_rng(3).multinomial(6, np.full(6, 1 / 6), size=25):
        rows = np.repeat(np.arange(len(searches.person)), weights[searches.person])
        again = Searches(searches.person[rows], searches.enrolled, searches.found[:, rows], searches.highest[:, rows])
        sides = [enrolled[again.person] for enrolled in again.enrolled]
        if all(side.any() and not side.all() for side in sides):
            values.append(dir_at(again, 0.3)[0])
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))
    monkeypatch.setattr(identification, "_CELLS", 3)
    assert identification.rates(searches, [0.3], replicates=25, seed=3)[0] == found


def test_galleries_hold_own_faces_and_no_clip_twice():
    videos = reenactments(people=6, clips=4, originals=True, generators=("GAGA", "LIVE"))
    gallery = identification.draw(videos, seed=0, enrolment_clips=2)
    assert gallery.names == tuple(f"P{number:02d}" for number in range(6))
    enrolled_clips = {}
    for name, rows in zip(gallery.names, gallery.templates, strict=True):
        rows = list(rows)
        assert set(videos["driver"][rows]) == set(videos["target"][rows]) == {name}
        assert "ORIG" not in videos["generator"][rows]
        enrolled_clips[name] = set(videos["clip_id"][rows].tolist())
        assert len(enrolled_clips[name]) == 2
    for row, person in zip(gallery.probes, gallery.person, strict=True):
        assert videos["driver"][row] == gallery.names[person] and videos["generator"][row] != "ORIG"
        assert videos["clip_id"][row] not in enrolled_clips[gallery.names[person]]
    assert len(gallery.probes) == 6 * 2 * 3 * 2  # two clips, three faces, two generators
    assert (gallery.enrolled.sum(axis=1) == 3).all() and len(np.unique(gallery.enrolled, axis=0)) > 1
    assert gallery.notes == ("24 real videos (ORIG) left out",)
    other = shuffled(videos)
    again = identification.draw(other, seed=0, enrolment_clips=2)
    ids = [[table["video_id"][list(rows)].tolist() for rows in g.templates] for table, g in
           ((videos, gallery), (other, again))]  # fmt: skip
    assert [sorted(rows) for rows in ids[0]] == [sorted(rows) for rows in ids[1]]
    real = reenactments(people=6, clips=4, targets=0, originals=True, generators=())
    assert len(identification.draw(real, seed=0).probes) == 6 * 3
    with pytest.raises(ProtocolError, match="four people with 4 source clips"):
        identification.draw(videos, seed=0, enrolment_clips=4)


def test_parts_of_a_search_do_not_show(monkeypatch):
    gallery, scores = five_people()
    whole = identification.search(gallery, score_with(gallery, scores))
    monkeypatch.setattr(identification, "_PAIRS", 20)
    parts = identification.search(gallery, score_with(gallery, scores))
    np.testing.assert_array_equal(whole.found, parts.found)
    np.testing.assert_array_equal(whole.highest, parts.highest)
