import dataclasses
import time

import numpy as np
import pytest
from made_up_videos import reenactments

from fingerprint.errors import ProtocolError
from fingerprint.verification import protocols, scoring, trials


@pytest.fixture
def videos():
    return reenactments()


@pytest.fixture
def good(videos):
    return protocols.all_pairs(videos, seed=0)


def changed(trial_list, **fields):
    return dataclasses.replace(trial_list, **fields)


def test_conditions_of_templates_with_several_videos(videos):
    videos["sentence"][0] = ""
    rows = {video_id: row for row, video_id in enumerate(videos["video_id"].tolist())}
    template = (rows["P00--P00--1--GAGA"], rows["P01--P00--2--GAGA"])
    probes = ["P01--P00--4--GAGA", "P02--P01--0--GAGA", "P00--P03--2--GAGA", "P00--P00--0--GAGA"]
    probe_index = np.array([rows[name] for name in probes])
    found = trials.conditions(videos, [template], np.zeros(4, int), probe_index)
    assert set(found) == set(trials.CONDITIONS)
    assert found["same_target"].tolist() == [True, False, True, True]
    assert found["same_sentence"].tolist() == [True, False, True, False]  # sentence = clip modulo 3
    assert found["sentence_known"].tolist() == [True, True, True, False]
    assert found["same_clip"].tolist() == [False] * 4
    assert found["same_corpus"].all() and found["same_generator"].all()


def test_unknown_sentences_are_neither_same_nor_known(videos):
    videos["sentence"] = np.full(len(videos["sentence"]), "")
    found = protocols.all_pairs(videos, seed=0)
    assert not found.conditions["same_sentence"].any() and not found.conditions["sentence_known"].any()


def test_leakage_is_found_and_counted(videos, good):
    trials.check_leakage(good, videos, {"nobody"})
    with pytest.raises(ProtocolError, match="2 identities .* another split: P01, P03"):
        trials.check_leakage(good, videos, {"P01", "P03", "nobody"})
    own = good.probe_index.copy()
    own[:2] = [good.templates[t][0] for t in good.template_index[:2]]
    with pytest.raises(ProtocolError, match="2 trials whose probe is inside its own template"):
        trials.check_leakage(changed(good, probe_index=own), videos, set())
    with pytest.raises(ProtocolError, match="3 duplicate trials"):
        trials.check_leakage(
            changed(
                good,
                **{
                    name: np.append(getattr(good, name), getattr(good, name)[5:8])
                    for name in ("template_index", "probe_index", "mated", "reference_driver", "probe_driver")
                },
            ),
            videos,
            set(),
        )
    with pytest.raises(ProtocolError, match="1 trials whose mated flag contradicts"):
        trials.check_leakage(
            changed(good, mated=np.where(np.arange(len(good)) == 7, ~good.mated, good.mated)), videos, set()
        )
    one_clip = videos | {"clip_id": videos["driver"]}
    with pytest.raises(ProtocolError, match=f"{good.mated.sum()} mated trials with one source clip"):
        trials.check_leakage(good, one_clip, set())
    with pytest.raises(ProtocolError, match="probe rows outside"):
        trials.check_leakage(changed(good, probe_index=good.probe_index + 10), videos, set())


def test_identities_of_faces_count_too(videos):
    """A face that only others drive still belongs to this split."""
    videos["target"] = np.where(videos["target"] == "P02", "face only", videos["target"])
    with pytest.raises(ProtocolError, match="1 identities .* face only"):
        trials.check_leakage(protocols.all_pairs(videos, seed=0), videos, {"face only"})


def test_wrong_lists_are_refused(videos):
    one = np.zeros(1, int)
    for templates, words in (
        ([()], "empty templates"),
        ([(99,)], "outside the 60"),
        ([(0, 30)], "1 of 1 templates mix"),
    ):
        with pytest.raises(ProtocolError, match=words):
            trials.build(videos, templates, one, one + 1, protocol="made-up", seed=0)
    with pytest.raises(ProtocolError, match="none of the 1 templates"):
        trials.build(videos, [(0,)], one + 1, one, protocol="made-up", seed=0)


def test_hash_follows_content_only(videos):
    def digest(templates, template_index, probe_index):
        return trials.build(videos, templates, template_index, probe_index, protocol="made-up", seed=0).hash

    base = digest([(0, 1), (20,)], [0, 0, 1], [5, 30, 6])
    assert base == digest([(20,), (1, 0)], [0, 1, 1], [6, 30, 5])
    assert base == digest([(0, 1), (20,), (3, 4, 7), (9,)], [0, 0, 1], [5, 30, 6])  # unused templates
    assert base != digest([(0, 1), (20,)], [0, 0, 1], [5, 30, 7])
    assert base != digest([(0, 2), (20,)], [0, 0, 1], [5, 30, 6])
    assert base != digest([(0, 1), (20,)], [0, 0, 0], [5, 30, 6])


def test_scores_equal_the_mean_over_all_window_pairs(videos):
    rng = np.random.default_rng(0)
    found = protocols.all_pairs(videos, seed=0, enrolment_clips=3)
    window_video = rng.integers(-1, 58, size=400).astype(np.int32)  # the last two videos have no window
    embeddings = rng.normal(size=(400, 8))
    embeddings = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
    scores = scoring.score(scoring.Scoring(), embeddings, window_video, 60, found)
    exact = embeddings.astype(np.float64)
    for index in rng.permutation(len(found))[:200]:
        probe = exact[window_video == found.probe_index[index]]
        rows = found.templates[found.template_index[index]]
        references = [exact[window_video == row] for row in rows if (window_video == row).any()]
        if not len(probe) or not references:
            assert np.isnan(scores[index])
        else:
            expected = np.mean([np.mean(reference @ probe.T) for reference in references])
            assert scores[index] == pytest.approx(expected, abs=1e-11)
    assert np.isnan(scores[found.probe_index >= 58]).all() and not np.isnan(scores[found.probe_index < 58]).any()


@pytest.mark.parametrize("chunk", [5, 64, 32768])
def test_collapsed_embeddings_give_equal_scores(good, monkeypatch, chunk):
    monkeypatch.setattr(scoring, "_CHUNK", chunk)
    vector = np.random.default_rng(1).normal(size=251)
    vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    window_video = np.repeat(np.arange(60), np.arange(60) % 9 + 1).astype(np.int32)
    scores = scoring.score(scoring.Scoring(), np.tile(vector, (len(window_video), 1)), window_video, 60, good)
    assert len(np.unique(scores)) == 1
    assert scores[0] / scoring.SCORE_GRID == np.round(scores[0] / scoring.SCORE_GRID)


def test_wrong_embeddings_are_refused(good):
    unit = np.eye(3, dtype=np.float32)
    with pytest.raises(ProtocolError, match="outside the 60"):
        scoring.score(scoring.Scoring(), unit, np.array([0, 1, 60]), 60, good)
    with pytest.raises(ProtocolError, match="norms 2"):
        scoring.score(scoring.Scoring(), 2 * unit, np.array([0, 1, 2]), 60, good)
    with pytest.raises(ProtocolError, match="norms nan"):
        scoring.score(scoring.Scoring(), np.nan * unit, np.array([0, 1, 2]), 60, good)
    with pytest.raises(ProtocolError, match="one video row a window"):
        scoring.score(scoring.Scoring(), unit, np.array([0, 1]), 60, good)


def test_a_million_trials_take_seconds():
    videos = reenactments(people=20, clips=72, sentences=12)
    start = time.perf_counter()
    found = protocols.all_pairs(videos, seed=0, max_trials=1_000_000)
    trials.check_leakage(found, videos, {"nobody"})
    embeddings = np.random.default_rng(0).normal(size=(len(videos["driver"]), 64))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    count = len(embeddings)
    scores = scoring.score(scoring.Scoring(), embeddings.astype(np.float32), np.arange(count), count, found)
    assert len(found) == len(scores) == 1_000_000 and np.isfinite(scores).all()
    assert time.perf_counter() - start < 15  # 0.6 s on a quiet core


def test_corpora_are_those_of_the_homes_of_all_four():
    """P0 and P1 are at home in A, P2 in B; P3 shows no face, P4 is a name of two corpora."""
    rows = [  # driver, target, corpus
        ("P0", "P0", "A"), ("P1", "P1", "A"), ("P2", "P2", "B"), ("P4", "P4", "A"), ("P4", "P4", "B"),
        ("P1", "P0", "A"), ("P2", "P0", "A"), ("P3", "P0", "A"), ("P0", "P0", "A"),
    ]  # fmt: skip
    driver, target, corpus = (np.array(column) for column in zip(*rows, strict=True))
    numbers = np.arange(len(rows)).astype(str)
    videos = {"video_id": numbers, "clip_id": numbers, "sentence": numbers, "generator": np.full(len(rows), "G")}
    videos |= {"driver": driver, "target": target, "corpus": corpus}
    assert trials.home_corpora(videos) == {"P0": "A", "P1": "A", "P2": "B"}
    probes = np.array([5, 6, 7, 3, 8, 2])
    found = trials.conditions(videos, [(0,), (0, 6)], np.zeros(6, int), probes)
    assert found["home_corpora_known"].tolist() == [True, True, False, False, True, True]
    assert found["single_corpus"].tolist() == [True, False, False, False, True, False]
    nowhere = trials.conditions(videos, [(3,)], np.zeros(1, int), np.array([4]))
    assert not nowhere["home_corpora_known"][0] and not nowhere["single_corpus"][0]
    mixed = trials.conditions(videos, [(0,), (0, 6)], np.ones(6, int), probes)
    assert not mixed["single_corpus"].any()
    assert mixed["home_corpora_known"].tolist() == found["home_corpora_known"].tolist()
