"""A back end from the options through training into the released model, and from there into evaluation."""

import json

import numpy as np
import pytest

from fingerprint import back_end, checkpoint, embed, evaluate, options, train, validation
from fingerprint.data import datasets
from fingerprint.errors import CheckpointError, ConfigError, ProtocolError, UnknownName
from fingerprint.landmarks.windows import WindowSpec
from fingerprint.training_people import CohortRecords
from fingerprint.verification import protocols, quality, score_file, scoring
from fingerprint.verification.calibration import LinearCalibration
from tests.sources import make_source

PEOPLE = 5


@pytest.fixture(scope="module")
def splits():
    """Made-up people, different ones in each split; training videos of one person are too short for a window."""
    found = {}
    for split in ("train", "validation", "test"):
        source = make_source(drivers=PEOPLE, targets=2, clips=2, frames=24, seed=len(split), lost_frames=6)
        for record in source.records:
            for name in ("driver", "target", "video_id", "clip_id"):
                record[name] = f"{split}-{record[name]}"
        found[split] = source
    for record in found["train"].records:
        if record["driver"] == "train-P04":
            record["landmarks"], record["frame_mask"] = record["landmarks"][:6], record["frame_mask"][:6]
    return found


@pytest.fixture(autouse=True)
def in_memory(splits, monkeypatch):
    monkeypatch.setattr(datasets, "open_split", lambda config, split: splits[split])


def configuration(**how):
    config = options.defaults()
    config.data.window.update({"length": 10, "stride": 7})
    config.data.normalization = "deviation"
    config.sampler.update({"drivers_per_batch": 4, "windows_per_driver": 2, "leave_out_few": True})
    config.model.update({"hidden": 8, "features": 16})
    config.train.update({"num_steps": 2, "eval_every": 2, "log_every": 1})
    config.evaluate.update({"replicates": 0, "batch_size": 32, "controls": False})
    config.scoring.update(how)
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory, splits, quick_compilation):
    """Two steps with every part of a back end that is not the default."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "open_split", lambda config, split: splits[split])
        config = configuration(over_windows="top_k", top_k=2, norm="as", as_top=3, calibration="quality")
        folder = tmp_path_factory.mktemp("run")
        train.train(config, str(folder))
    return folder


def test_the_model_keeps_its_back_end_and_cohort(run, splits):
    released = embed.open_model(run)
    how = scoring.Scoring(over_windows="top_k", top_k=2, norm="as", as_top=3, calibration="quality")
    assert released.scoring == how and len(released.cohort) == PEOPLE - 1
    metadata = splits["train"].metadata()
    spec = released.embedder.spec
    again = CohortRecords(splits["train"], 100, 0, spec).embed(released.embedder, released.params)
    np.testing.assert_allclose(again.vectors, released.cohort.vectors, atol=1e-5)
    assert again.video.tolist() == released.cohort.video.tolist() and again.people == released.cohort.people
    assert {corpus for corpus, _ in again.people} == {"made up"}
    # Of one driver there is one video, and it is one of that driver's.
    windows = released.embedder.split(released.params, splits["train"])
    owners = []
    for entry in range(len(again)):
        mine = again.vectors[again.video == entry]
        same = np.abs(windows.vector[:, None] - mine).max(axis=2) < 1e-5
        records = set(windows.record[same.any(axis=1)].tolist())
        assert len(records) == 1
        owners.append(metadata["driver"][records.pop()])
    assert sorted(owners) == [f"train-P{number:02d}" for number in range(PEOPLE - 1)]
    flat, document, _ = checkpoint.load_model(run)
    assert "cohort/vectors" in flat and document["cohort"]["people"] == [list(person) for person in again.people]


def test_a_changed_cohort_is_damage(run, tmp_path):
    flat, document, _ = checkpoint.load_model(run)
    other = {**flat, "cohort/vectors": -flat["cohort/vectors"]}
    copy, changed = (
        checkpoint.save_model(tmp_path / name, {}, document, arrays)
        for name, arrays in (("copy", flat), ("changed", other))
    )
    assert len(embed.open_model(copy).cohort) == PEOPLE - 1
    (copy / "model.json").replace(changed / "model.json")
    with pytest.raises(CheckpointError, match="do not match their digest"):
        embed.open_model(changed)


def test_evaluation_scores_as_the_model_does(run, splits, tmp_path):
    config = configuration()
    evaluate.evaluate(config, str(tmp_path), str(run))
    report = json.loads((tmp_path / "evaluation" / "report.json").read_text())
    released = embed.open_model(run)
    assert report["protocol"]["fusion"] == released.scoring.describe() and "as-norm" in released.scoring.describe()
    table = score_file.read(tmp_path / "evaluation" / "scores.csv")
    subject = validation.VideoTrials(splits["test"], pairs, scoring=released.scoring, cohort=released.cohort)
    scores = subject.scores(released.embedder.split(released.params, splits["test"]))
    mated = table.scores[table.mated]
    assert np.sort(mated) == pytest.approx(np.sort(scores[subject.trials.mated]), abs=1e-3)
    # The calibration looks at the measures that lie beside the scores.
    line = LinearCalibration.from_dict(released.document["calibration"])
    assert len(line.quality) == 2 and any(line.quality)
    assert {tuple(row) for row in table.measures.round(9)} == {tuple(row) for row in subject.measures().round(9)}
    assert report["rates"][0]["rates"]["cllr"]["value"] > 0 and report["thresholds"]["eer"]["test_fmr"] is not None
    plain = LinearCalibration(line.scale, line.offset)
    assert np.abs(line.llr(table.scores, table.measures) - plain.llr(table.scores)).max() > 1e-3


def pairs(videos):
    return protocols.get(protocols.choose(videos))(videos, seed=0, enrolment_clips=1)


def test_another_back_end_drops_what_was_fitted_on_the_models_own(run, tmp_path):
    config = configuration(over_windows="max")
    config.evaluate.scoring = "config"
    evaluate.evaluate(config, str(tmp_path), str(run))
    report = json.loads((tmp_path / "evaluation" / "report.json").read_text())
    assert report["protocol"]["fusion"].startswith("highest cosine") and report["thresholds"] == {}
    assert any("thresholds and calibration do not apply" in sentence for sentence in report["warnings"])
    assert "cllr" not in report["rates"][0]["rates"]
    config.evaluate.development_split, config.evaluate.name = "validation", "again"
    evaluate.evaluate(config, str(tmp_path), str(run))
    report = json.loads((tmp_path / "again" / "report.json").read_text())
    assert report["thresholds"] and not any("do not apply" in sentence for sentence in report["warnings"])


def test_unknown_back_ends_are_refused_before_the_work(run, tmp_path):
    config = configuration()
    config.evaluate.scoring = "best"
    with pytest.raises(UnknownName, match="config, model"):
        evaluate.evaluate(config, str(tmp_path), str(run))
    with pytest.raises(UnknownName, match="log_sum_exp"):
        train.train(configuration(over_windows="median"), str(tmp_path / "a"))
    with pytest.raises(ConfigError, match="at least 5 training people, found 4"):
        train.train(configuration(norm="as", as_top=5), str(tmp_path / "b"))
    flat, document, _ = checkpoint.load_model(run)
    flat = {name: value for name, value in flat.items() if not name.startswith("cohort/")}
    bare = checkpoint.save_model(tmp_path / "bare", flat, {**document, "scoring": {}})
    assert embed.open_model(bare).scoring == scoring.Scoring() and embed.open_model(bare).cohort is None
    config = configuration(norm="z")
    config.evaluate.scoring = "config"
    with pytest.raises(ConfigError, match="z-norm wants a cohort"):
        evaluate.evaluate(config, str(tmp_path), str(bare))


def test_nobody_in_the_cohort_may_be_in_the_trials(run, splits, tmp_path):
    released = embed.open_model(run)
    with pytest.raises(ProtocolError, match="are in the cohort that scores it"):
        validation.VideoTrials(splits["train"], pairs, scoring=released.scoring, cohort=released.cohort)
    config = configuration()
    config.evaluate.development_split = "train"
    with pytest.raises(ProtocolError, match="5 people of the split are in the cohort"):
        evaluate.evaluate(config, str(tmp_path), str(run))


def test_a_cohort_is_no_larger_than_asked(splits):
    records = CohortRecords(splits["train"], 3, 0, WindowSpec(10, 7))
    assert len(records) == 3
    with pytest.raises(ProtocolError, match="at least 2 training people, found 0"):
        CohortRecords(splits["train"], 3, 0, WindowSpec(25, 7))


def test_quality_of_a_split_is_that_of_its_videos(splits):
    subject = validation.VideoTrials(splits["test"], pairs, scoring=scoring.Scoring())
    videos = subject.videos
    wanted = quality.measures(videos["num_valid"], videos["num_frames"], subject.trials)
    np.testing.assert_array_equal(subject.measures(), wanted)
    assert set(np.exp(wanted[:, 0]).round().astype(int)) == {18, 24} and set(wanted[:, 1]) == {0.75, 1.0}


def test_the_defaults_are_the_options_defaults():

    assert back_end.configured(options.defaults()) == scoring.Scoring()


def test_a_released_model_cuts_windows_as_training_did(splits, tmp_path, quick_compilation):
    config = configuration()
    config.data.window.resample = 20
    train.train(config, str(tmp_path))
    assert embed.open_model(tmp_path).embedder.spec == WindowSpec(**config.data.window)


def test_options_that_are_not_in_use_change_nothing(run, tmp_path):
    config = configuration(over_windows="top_k", top_k=2, norm="as", as_top=3, calibration="quality", sharpness=3.0)
    config.evaluate.scoring = "config"
    released = embed.open_model(run)
    _, points, dropped = back_end.chosen(config, released)
    assert points and not dropped
    config.scoring.norm = "none"
    arguments, points, dropped = back_end.chosen(config, released)
    assert arguments["cohort"] is None and not points and dropped


def test_a_cohort_of_nobody_is_refused():
    with pytest.raises(ConfigError, match="cohort_size is -3; wanted at least 2"):
        back_end.configured(configuration(cohort_size=-3))
