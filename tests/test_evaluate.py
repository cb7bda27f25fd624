"""Evaluation of a released model on made-up people: what is counted, what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fingerprint import checkpoint, embed, evaluate, options, workdir
from fingerprint.data import datasets
from fingerprint.errors import ConfigError, ProtocolError
from fingerprint.models import registry
from fingerprint.verification import per_identity, score_file
from tests.sources import make_source

NETWORK = {"name": "gcn_tap", "hidden": 8, "features": 16, "form": "auto", "chunk": -1}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """An untrained network as a released model that has seen `stranger`."""
    network = registry.build({**NETWORK, "landmark_set": "avaprintdb109"})
    params = network.init(jax.random.key(0), jnp.zeros((1, 10, 109, 3)), jnp.ones((1, 10), bool))["params"]
    document = {
        "model": NETWORK,
        "landmark_set": "avaprintdb109",
        "normalization": "deviation",
        "window": {"length": 10, "stride": 5},
        "identities": [["made_up", "stranger"]],
    }
    return checkpoint.save_model(tmp_path_factory.mktemp("models") / "model", params, document)


@pytest.fixture
def config():
    config = options.defaults()
    config.evaluate.replicates = 20
    config.evaluate.batch_size = 16
    return config


@pytest.fixture
def people(monkeypatch):
    """The splits that `datasets.open_split` gives, by name, to be changed by a test."""
    splits = {
        "test": make_source(drivers=4, targets=3, clips=3, frames=24, seed=1),
        "validation": make_source(drivers=4, targets=2, clips=3, frames=24, seed=2),
    }
    for name, source in splits.items():
        for record in source.records:
            record["corpus"], record["generator"] = "made_up", "SIM"
            for field in ("driver", "target", "video_id", "clip_id"):
                record[field] = f"{name}-{record[field]}"
    monkeypatch.setattr(datasets, "open_split", lambda config, split: splits[split])
    return splits


def report_of(directory) -> dict:
    return json.loads((directory / "evaluation" / "report.json").read_text())


def test_the_score_file_holds_what_the_definition_says(people, config, model_dir, tmp_path):
    """Mean cosine over all pairs of windows, embedded one window at a time."""
    evaluate.evaluate(config, str(tmp_path), str(model_dir))
    table = score_file.read(tmp_path / "evaluation" / "scores.csv")
    released = embed.open_model(model_dir, batch_size=1)
    windows = released.embedder.split(released.params, people["test"])
    ids = people["test"].metadata()["video_id"]
    by_video = {v: windows.vector[ids[windows.record] == v].astype(np.float64) for v in ids.tolist()}
    videos = np.array(table.videos)
    for trial in range(0, len(table), 7):
        (reference,) = table.templates[table.template_index[trial]]
        a, b = by_video[videos[reference]], by_video[videos[table.probe_index[trial]]]
        assert table.scores[trial] == pytest.approx(float((a @ b.T).mean()), abs=1e-6)
    assert report_of(tmp_path)["protocol"]["trials"] == len(table)


def test_videos_without_a_window_are_failures_to_acquire(people, config, model_dir, tmp_path):
    short, faceless = people["test"].records[0], people["test"].records[7]
    short["landmarks"], short["frame_mask"] = short["landmarks"][:6], short["frame_mask"][:6]
    faceless["frame_mask"] = np.zeros_like(faceless["frame_mask"])
    evaluate.evaluate(config, str(tmp_path), str(model_dir))
    report = report_of(tmp_path)
    assert report["acquisition"]["failed"] == 2
    assert sorted(report["acquisition"]["reasons"].values()) == [1, 1]
    assert report["rates"][0]["fta"] > 0
    assert np.isnan(score_file.read(tmp_path / "evaluation" / "scores.csv").scores).any()


def test_thresholds_come_from_the_development_split(people, config, model_dir, tmp_path):
    evaluate.evaluate(config, str(tmp_path / "none"), str(model_dir))
    assert report_of(tmp_path / "none")["thresholds"] == {}
    config.evaluate.development_split = "validation"
    evaluate.evaluate(config, str(tmp_path / "some"), str(model_dir))
    thresholds = report_of(tmp_path / "some")["thresholds"]
    assert thresholds["fmr=10%"]["validation_fmr"] <= 0.1 and thresholds["eer"]["test_fmr"] is not None
    assert thresholds["eer"]["identities"] == 4 and thresholds["eer"]["validation_fmr_interval"] is None
    config.evaluate.development_split = "test"
    with pytest.raises(ConfigError, match="identities are in the development and in the test split"):
        evaluate.evaluate(config, str(tmp_path / "same"), str(model_dir))


@pytest.mark.parametrize("more", [{}, {"window": None, "mated_quantiles": [0.1, 0.9], "non_mated_quantiles": [0, 0.5]}])
def test_operating_points_of_the_model_are_applied(people, config, model_dir, tmp_path, more):
    """Also those of models that were made before calibrations held more than a line."""
    flat, document, _ = checkpoint.load_model(model_dir)
    thresholds = {"eer": {"threshold": 0.5, "validation_fmr": 0.1, "validation_fnmr": 0.1}}
    known = {**document, "thresholds": thresholds, "calibration": {"scale": 2.0, "offset": -1.0, **more}}
    params = checkpoint.unflatten(flat, embed.open_model(model_dir).params, "the model")
    evaluate.evaluate(config, str(tmp_path), str(checkpoint.save_model(tmp_path / "model", params, known)))
    report = report_of(tmp_path)
    scores = score_file.read(tmp_path / "evaluation" / "scores.csv")
    accepted = np.mean(scores.scores[~scores.mated] >= 0.5)
    assert report["thresholds"]["eer"]["test_fmr"] == pytest.approx(accepted)
    assert report["rates"][0]["rates"]["cllr"]["value"] > 0


def test_somebody_the_model_was_trained_on_is_refused(people, config, model_dir, tmp_path):
    for record in people["test"].records:
        if record["driver"].endswith("P01"):
            record["driver"] = "stranger"
    with pytest.raises(ProtocolError, match="stranger"):
        evaluate.evaluate(config, str(tmp_path), str(model_dir))
    assert not (tmp_path / "evaluation" / "report.json").exists()


def test_the_same_name_in_another_corpus_is_another_person(people, config, model_dir, tmp_path):
    for record in people["test"].records:
        record["corpus"] = "elsewhere"
        for field in ("driver", "target"):
            record[field] = record[field].replace("test-P01", "stranger")
    evaluate.evaluate(config, str(tmp_path), str(model_dir))


def test_another_landmark_set_is_refused(people, config, model_dir, tmp_path):
    people["test"] = make_source(landmark_set="ibug68")
    with pytest.raises(ConfigError, match="ibug68"):
        evaluate.evaluate(config, str(tmp_path), str(model_dir))


def test_further_rows_and_their_reasons(people, config, model_dir, tmp_path):
    config.evaluate.more_enrolment_clips = (2, 50)
    evaluate.evaluate(config, str(tmp_path), str(model_dir))
    rows = {row["condition"]: row for row in report_of(tmp_path)["rates"]}
    assert rows["protocol_driver_on_other_target"]["mated"] > 0
    assert rows["enrolled_2"]["mated"] > 0
    assert rows["enrolled_50"]["rates"] == {} and rows["enrolled_50"]["reason"]


def test_asked_to_stop_it_writes_nothing(people, config, model_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(workdir.StopFlag, "__init__", lambda self: setattr(self, "is_set", True))
    with pytest.raises(workdir.Stopped):
        evaluate.evaluate(config, str(tmp_path), str(model_dir))
    assert not (tmp_path / "evaluation").exists()


def test_probes_of_a_generator_that_training_never_saw_stand_apart(people, config, model_dir, tmp_path, monkeypatch):
    for record in people["test"].records:
        if not record["clip_id"].endswith("-0"):
            record["generator"] = "NEW"
    load = checkpoint.load_model

    def with_training(path):
        flat, document, digest = load(path)
        return flat, document | {"training": {"generators": ["SIM"], "corpora": ["made_up"]}}, digest

    monkeypatch.setattr(checkpoint, "load_model", with_training)
    evaluate.evaluate(config, str(tmp_path), str(model_dir))
    rows = {row["condition"]: row for row in report_of(tmp_path)["rates"]}
    assert "unseen_corpus" not in rows
    whole, new = rows["all"], rows["generator_NEW"]
    assert 0 < new["mated"] < whole["mated"] and 0 < new["non_mated"] < whole["non_mated"]
    assert "NEW" in new["description"] and "not seen in training" in new["description"]
    table = score_file.read(tmp_path / "evaluation" / "scores.csv")
    known = np.array([video.endswith("-0") for video in table.videos])
    within = ~known[[rows[0] for rows in table.templates]][table.template_index] & ~known[table.probe_index]
    assert (new["mated"], new["non_mated"]) == ((within & table.mated).sum(), (within & ~table.mated).sum())
    assert rows["generator_SIM"]["reason"] == "no mated trial"  # one clip each: no other to compare it with
    assert ", seen in training" in rows["generator_SIM"]["description"]


def test_a_person_spelt_otherwise_is_still_found(people, config, model_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(
        checkpoint,
        "load_model",
        lambda path, load=checkpoint.load_model: with_people(load(path), [["made_up", "1003"]]),
    )
    for record in people["test"].records:
        for field in ("driver", "target"):
            record[field] = record[field].replace("test-P01", "C1003")
    with pytest.raises(ProtocolError, match="C1003"):
        evaluate.evaluate(config, str(tmp_path), str(model_dir))


def test_a_model_that_does_not_say_whom_it_saw_claims_no_check(people, config, model_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "load_model", lambda path, load=checkpoint.load_model: with_people(load(path), []))
    evaluate.evaluate(config, str(tmp_path), str(model_dir))
    assert report_of(tmp_path)["protocol"]["leakage"].startswith("training people not checked")


def with_people(loaded, people):
    flat, document, digest = loaded
    return flat, document | {"identities": people}, digest


def test_people_apart_identification_and_balanced_pairs(people, config, model_dir, tmp_path):
    config.evaluate.balanced_pairs = True
    config.evaluate.identification_far = (0.5, 0.1, 1e-6)
    evaluate.evaluate(config, str(tmp_path), str(model_dir))
    report = report_of(tmp_path)
    table = score_file.read(tmp_path / "evaluation" / "scores.csv")
    wanted = per_identity.measure(table, replicates=20, seed=0)
    assert report["per_identity"]["people"] == wanted.rows()
    rows = {row["condition"]: row for row in report["rates"]}
    assert rows["all"]["identity_auc"] == wanted.summary()
    balanced = rows["balanced_pairs"]
    assert balanced["mated"] == balanced["non_mated"] == min(rows["all"]["mated"], rows["all"]["non_mated"])
    rates = balanced["rates"]
    assert rates["accuracy@youden"]["value"] == pytest.approx(rates["balanced_accuracy@youden"]["value"])
    found = report["identification"]
    assert found["people"] == 4 and found["enrolled"] == 2 and found["probes"] == 4 * 2 * 3
    assert [entry["far"] for entry in found["entries"]] == [0.5, 0.1, 1e-6]
    assert found["entries"][2]["value"] is None and "cannot show it" in found["entries"][2]["reason"]
    page = (tmp_path / "evaluation" / "report.html").read_text()
    assert "People apart" in page and "Identification in a gallery" in page and "DIR" in page


def test_every_generator_stands_apart_and_corpora_do(people, config, model_dir, tmp_path, monkeypatch):
    """Three generators, two corpora: as NVFAIR, people drive faces of the other corpus too."""
    made = []
    for record in people["test"].records:
        home = "A" if record["target"].endswith(("0", "1")) else "B"
        made += [
            record | {"generator": name, "corpus": home, "video_id": f"{record['video_id']}--{name}"}
            for name in ("fv2v", "lia", "tps")
        ]
    people["test"].records[:] = made
    load = checkpoint.load_model

    def with_training(path):
        flat, document, digest = load(path)
        return flat, document | {"training": {"generators": ["fv2v"], "corpora": ["A", "B"]}}, digest

    monkeypatch.setattr(checkpoint, "load_model", with_training)
    evaluate.evaluate(config, str(tmp_path), str(model_dir))
    report = report_of(tmp_path)
    rows = {row["condition"]: row for row in report["rates"]}
    apart = [rows[f"generator_{name}"] for name in ("fv2v", "lia", "tps")]
    assert [row["mated"] for row in apart] == [4 * 3] * 3  # three pairs of clips a person, no clip with itself
    assert [row["non_mated"] for row in apart] == [4 * 3 * 2 * 3] * 3
    assert rows["unseen_generator"]["mated"] == 24 and "lia, tps" in rows["unseen_generator"]["description"]
    assert "seen_generator" not in rows  # one alone: its own row
    assert all(row["identity_auc"]["identities"] == 4 for row in apart)
    # renderings are alike here, so the mean over people is too
    gap = report["per_identity"]["unseen_minus_seen"]
    assert [gap["value"], gap["low"], gap["high"]] == pytest.approx([0, 0, 0], abs=1e-12)
    single, cross = rows["single_corpus"], rows["cross_corpus"]
    assert single["mated"] == cross["mated"] == rows["all"]["mated"]
    assert single["non_mated"] > 0
    assert single["non_mated"] + cross["non_mated"] == rows["all"]["non_mated"]
