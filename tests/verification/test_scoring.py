"""Back ends by hand: every rule over windows, every norm, what they leave unchanged and what they refuse."""

import dataclasses
import itertools

import numpy as np
import pytest

from fingerprint.errors import ConfigError, ProtocolError, UnknownName
from fingerprint.verification import cohort as cohorts
from fingerprint.verification import error_rates, protocols, quality, scoring, trials, window_pairs
from fingerprint.verification.cohort import Cohort
from fingerprint.verification.scoring import Scoring, score

VIDEOS, DIM = 12, 6
RULES = ("mean", "max", "min", "top_k", "log_sum_exp")


def unit(count, seed, dim=DIM):
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def made_up(clips=2):
    """Trials of templates of several videos, and windows in no order; one video has none."""
    table = {name: np.array([f"{name}{row}" for row in range(VIDEOS)]) for name in ("video_id", "clip_id")}
    table |= {name: np.array([f"P{row // 3}" for row in range(VIDEOS)]) for name in ("driver", "target")}
    table |= {name: np.full(VIDEOS, "x") for name in ("generator", "corpus", "sentence")}
    found = protocols.get("all_pairs")(table, seed=0, enrolment_clips=clips)
    window_video = np.random.default_rng(1).integers(-1, VIDEOS - 1, 60)
    return unit(60, 0), window_video, found


def made_up_cohort(entries=5):
    return Cohort(unit(3 * entries, 7), np.repeat(np.arange(entries), 3), (("x", "c0"),))


def by_hand(how, a, b):
    """The score of two videos, a pair of windows at a time."""
    values = []
    for one, other in itertools.product(a.astype(np.float64), b.astype(np.float64)):
        cosine = sum(x * y for x, y in zip(one, other, strict=True))
        values.append(cosine if how.similarity == "cosine" else 2 * cosine - 2)
    values.sort()
    match how.over_windows:
        case "mean":
            return sum(values) / len(values)
        case "max":
            return values[-1]
        case "min":
            return values[0]
        case "top_k":
            best = values[-how.top_k :]
            return sum(best) / len(best)
        case "log_sum_exp":
            return np.log(sum(np.exp(how.sharpness * v) for v in values) / len(values)) / how.sharpness


@pytest.mark.parametrize("similarity", ["cosine", "squared_euclidean"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("tight", [False, True])
def test_every_rule_by_hand(rule, similarity, tight, monkeypatch):
    if tight:  # a few windows and pairs at a time
        monkeypatch.setattr(window_pairs, "_PROBE_WINDOWS", 7)
        monkeypatch.setattr(window_pairs, "_PAIRS", 20)
        monkeypatch.setattr(scoring, "_CHUNK", 11)
    how = Scoring(similarity, rule, top_k=4, sharpness=3.0)
    vectors, video, found = made_up()
    scores = score(how, vectors, video, VIDEOS, found)
    assert np.isnan(scores).any()
    for number, value in enumerate(scores):
        references = [vectors[video == row] for row in found.templates[found.template_index[number]]]
        references = [windows for windows in references if len(windows)]
        probe = vectors[video == found.probe_index[number]]
        if not references or not len(probe):
            assert np.isnan(value)
        else:
            assert value == pytest.approx(np.mean([by_hand(how, one, probe) for one in references]), abs=1e-11)
            assert value / scoring.SCORE_GRID == np.round(value / scoring.SCORE_GRID)


def test_squared_euclidean_is_the_distance_of_the_windows():
    a, b = unit(1, 3), unit(1, 4)
    (value,) = score(
        Scoring("squared_euclidean", "max"), np.concatenate([a, b]), np.arange(2), 2, pairs_of(2, [(0, 1)])
    )
    assert value == pytest.approx(-((a - b).astype(np.float64) ** 2).sum(), abs=1e-6)


def pairs_of(videos, pairs):
    table = {name: np.array([f"{row}" for row in range(videos)]) for name in trials.COLUMNS}
    reference, probe = np.array(pairs).T
    return trials.build(table, [(row,) for row in range(videos)], reference, probe, protocol="by hand", seed=0)


@pytest.mark.parametrize("rule", ["mean", "max", "log_sum_exp"])
@pytest.mark.parametrize("norm", ["z", "s", "as"])
def test_every_norm_by_hand(rule, norm, monkeypatch):
    monkeypatch.setattr(cohorts, "_CELLS", 12)  # two rows at a time
    how = Scoring(over_windows=rule, norm=norm, as_top=3)
    vectors, video, found = made_up()
    cohort = made_up_cohort()
    scores = score(how, vectors, video, VIDEOS, found, cohort)
    raw = score(dataclasses.replace(how, norm="none"), vectors, video, VIDEOS, found)
    assert (np.isnan(scores) == np.isnan(raw)).all() and np.isfinite(scores).any()

    def standing(value, rows):
        """Deviations of a score above what the videos `rows`, as one side, score against the cohort."""
        against = []
        for entry in range(len(cohort)):
            impostor = cohort.vectors[cohort.video == entry]
            sides = [vectors[video == row] for row in rows if (video == row).any()]
            against.append(np.mean([by_hand(how, side, impostor) for side in sides]))
        if norm == "as":
            against = sorted(against)[-3:]
        mean = sum(against) / len(against)
        return (value - mean) / np.sqrt(sum((x - mean) ** 2 for x in against) / len(against))

    for number in np.flatnonzero(np.isfinite(raw)):
        reference = standing(raw[number], found.templates[found.template_index[number]])
        probe = standing(raw[number], [found.probe_index[number]])
        wanted = reference if norm == "z" else (reference + probe) / 2
        assert scores[number] == pytest.approx(wanted, abs=1e-9)


def test_z_norm_undoes_the_shift_and_scale_of_a_template():
    rng = np.random.default_rng(0)
    raw, against = rng.normal(size=8), rng.normal(size=(8, 30))
    shift, scale = rng.normal(size=8), rng.uniform(0.5, 2, 8)
    plain = scoring.normalized(raw, cohorts.statistics(against, 0))
    moved = scoring.normalized(scale * raw + shift, cohorts.statistics(scale[:, None] * against + shift[:, None], 0))
    assert moved == pytest.approx(plain, abs=1e-9) and np.std(plain) > 0.1


@pytest.mark.parametrize("norm", ["s", "as"])
def test_s_norm_is_symmetric(norm):
    vectors, video = unit(40, 2), np.arange(40) % 8
    there = list(itertools.combinations(range(8), 2))
    how, cohort = Scoring(over_windows="max", norm=norm, as_top=3), made_up_cohort()
    one = score(how, vectors, video, 8, pairs_of(8, there), cohort)
    other = score(how, vectors, video, 8, pairs_of(8, [(b, a) for a, b in there]), cohort)
    assert one == pytest.approx(other, abs=1e-9)
    z = dataclasses.replace(how, norm="z")
    back = score(z, vectors, video, 8, pairs_of(8, [(b, a) for a, b in there]), cohort)
    assert np.abs(score(z, vectors, video, 8, pairs_of(8, there), cohort) - back).max() > 0.1


def test_as_norm_of_the_whole_cohort_is_s_norm():
    vectors, video, found = made_up()
    every, some, plain = (
        score(Scoring(norm=norm, as_top=top), vectors, video, VIDEOS, found, made_up_cohort())
        for norm, top in (("as", 5), ("as", 3), ("s", 3))
    )
    known = np.isfinite(plain)
    assert every[known] == pytest.approx(plain[known], abs=1e-9)
    assert np.abs(some - plain)[known].max() > 0.1


@pytest.mark.parametrize("norm", ["none", "z", "s", "as"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("similarity", ["cosine", "squared_euclidean"])
def test_constant_embeddings_tell_nobody_from_anybody(rule, norm, similarity):
    """However many windows the videos have: an EER of one half, not what rounding makes of their number."""
    _, video, found = made_up()
    vector = unit(1, 9, 251)
    cohort = Cohort(np.repeat(vector, 11, axis=0), np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2]), ())
    how = Scoring(similarity, rule, norm=norm, as_top=2)
    scores = score(how, np.repeat(vector, 60, axis=0), video, VIDEOS, found, cohort)
    assert len(np.unique(scores[np.isfinite(scores)])) == 1
    assert error_rates.DetCurve.from_scores(scores, found.mated).eer == 0.5


def test_unknown_names_and_numbers_out_of_range_are_refused():
    for field, known in (("similarity", "squared_euclidean"), ("over_windows", "top_k"), ("norm", "as")):
        with pytest.raises(UnknownName, match=known):
            Scoring(**{field: "median"})
    for field, value in (("top_k", 0), ("sharpness", 0.0), ("sharpness", np.inf), ("as_top", 1)):
        with pytest.raises(ConfigError, match=field):
            Scoring(**{field: value})
    with pytest.raises(ConfigError, match="median"):
        Scoring.from_dict({"median": 1})


def test_a_norm_wants_a_cohort_large_enough():
    vectors, video, found = made_up()
    with pytest.raises(ConfigError, match="at least 2 training people, found 0"):
        score(Scoring(norm="z"), vectors, video, VIDEOS, found)
    with pytest.raises(ConfigError, match="at least 6 training people, found 5"):
        score(Scoring(norm="as", as_top=6), vectors, video, VIDEOS, found, made_up_cohort())
    with pytest.raises(ProtocolError, match="at least 2 videos"):
        Cohort(unit(2, 0), np.zeros(2, int), ())


def test_a_back_end_says_what_it_is_and_survives_json():
    how = Scoring("squared_euclidean", "top_k", top_k=5, norm="as", as_top=7, calibration="quality")
    assert Scoring.from_dict(how.to_dict()) == how and Scoring.from_dict({}) == Scoring()
    assert Scoring().describe() == "mean cosine over all pairs of windows, then mean over enrolment clips"
    for words in ("5 highest", "minus the squared Euclidean", "as-norm against the nearest 7"):
        assert words in how.describe()
    assert Scoring().by_window
    for change in ({"over_windows": "max"}, {"norm": "z"}, {"similarity": "squared_euclidean"}):
        assert not Scoring(**change).by_window


def test_a_cohort_has_one_video_of_each_person_and_keeps_no_order():
    person = np.repeat([f"p{number:02d}" for number in range(20)], 3)
    usable = np.arange(60) % 3 > 0
    chosen = cohorts.draw(person, usable, 12, seed=0)
    assert len(set(person[chosen])) == len(chosen) == 12 and usable[chosen].all()
    assert list(person[chosen]) != sorted(person[chosen])
    assert chosen.tolist() == cohorts.draw(person, usable, 12, seed=0).tolist()
    assert chosen.tolist() != cohorts.draw(person, usable, 12, seed=1).tolist()
    assert len(cohorts.draw(person, usable, 100, seed=0)) == 20
    with pytest.raises(ProtocolError, match="at least 2 training people, found 1"):
        cohorts.draw(person, person == "p03", 100, seed=0)


def test_quality_is_that_of_the_poorer_side():
    found = pairs_of(3, [(0, 1), (1, 2), (2, 0)])
    found = dataclasses.replace(found, templates=((0, 1), (1,), (2,)))
    measures = quality.measures(np.array([100, 50, 0]), np.array([100, 200, 80]), found)
    log = np.log
    assert measures == pytest.approx(np.array([[log(50), 0.25], [0, 0], [0, 0]]))
    sides = quality.of_sides([150, 50], [300, 200])
    assert sides == pytest.approx(np.array([[log(150), 0.5], [log(50), 0.25]]))


def test_rounding_is_not_taken_for_spread():
    """A cohort that scores all alike: scores like it stand at exactly zero, and noise is not blown up."""
    values = np.round(np.random.default_rng(0).uniform(-1, 1, 200) / scoring.SCORE_GRID) * scoring.SCORE_GRID
    alike = np.tile(values[:, None], 13)
    assert (scoring.normalized(values, cohorts.statistics(alike, 0)) == 0).all()
    noisy = alike + 1e-12 * np.random.default_rng(1).normal(size=alike.shape)
    assert np.abs(scoring.normalized(values, cohorts.statistics(noisy, 0))).max() < 1e-5
