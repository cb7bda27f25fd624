"""The robustness mode on made-up people: what is degraded, counted, refused and written."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fingerprint import checkpoint, embed, options, robustness, workdir
from fingerprint.data import datasets, degradations, records
from fingerprint.data.one_face import OneFaceSource
from fingerprint.errors import ConfigError, UnknownName
from fingerprint.models import registry
from fingerprint.verification import protocols
from fingerprint.verification.error_rates import DetCurve
from fingerprint.verification.trials import subset
from tests.sources import make_source

NETWORK = {"name": "gcn_tap", "hidden": 8, "features": 16, "form": "auto", "chunk": -1}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """An untrained network as a released model."""
    network = registry.build({**NETWORK, "landmark_set": "avaprintdb109"})
    params = network.init(jax.random.key(0), jnp.zeros((1, 10, 109, 3)), jnp.ones((1, 10), bool))["params"]
    document = {
        "model": NETWORK, "landmark_set": "avaprintdb109", "normalization": "aspect_corrected",
        "window": {"length": 10, "stride": 5}, "identities": [["made_up", "stranger"]],
    }  # fmt: skip
    return checkpoint.save_model(tmp_path_factory.mktemp("models") / "model", params, document)


@pytest.fixture
def config():
    config = options.defaults()
    config.robustness.replicates = 20
    config.evaluate.batch_size = 16
    for name in config.robustness.severities:
        config.robustness.severities[name] = ()
    return config


@pytest.fixture
def source(monkeypatch):
    source = make_source(drivers=9, targets=1, clips=3, frames=24, seed=1)
    for record in source.records:
        record["corpus"] = "made_up"
    monkeypatch.setattr(datasets, "open_split", lambda config, split: source)
    return source


def report_of(directory) -> dict:
    return json.loads((directory / "robustness" / "robustness.json").read_text())


def test_a_whole_run(source, config, model_dir, tmp_path, capsys):
    config.robustness.severities.jitter = (0.0, 0.05)
    config.robustness.severities.dropped_frames = (0.2, 0.9)
    config.robustness.severities.frame_rate = (12.5, 5.0)
    page = robustness.measure(config, str(tmp_path), str(model_dir))
    assert page == tmp_path / "robustness" / "robustness.html" and page.exists()
    report = report_of(tmp_path)
    assert [curve["name"] for curve in report["curves"]] == ["jitter", "dropped_frames", "frame_rate"]
    curves = {curve["name"]: curve["rows"] for curve in report["curves"]}
    none, noisy = curves["jitter"]
    assert none["rates"] == report["clean"]["rates"] and none["difference"]["auc"]["value"] == 0
    assert none["similarity"]["mean"] == pytest.approx(1, abs=1e-6) and noisy["similarity"]["mean"] < 1
    assert noisy["difference"]["auc"]["low"] is not None and noisy["identities"] == 9
    # 24 frames at 25 a second are 12 at 12.5, which is one window, and 5 at 5, which is none.
    assert [row["windows"] for row in curves["frame_rate"]] == [none["videos"], 0]
    assert [row["fta"] for row in curves["frame_rate"]] == [0, 1] and curves["frame_rate"][1]["reason"]
    assert curves["dropped_frames"][1]["fta"] == 1  # windows want half of their frames
    assert "AUC" in capsys.readouterr().out
    with open(tmp_path / "robustness" / "robustness.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["degradation"] for row in rows] == [
        "clean",
        *["jitter"] * 2,
        *["dropped_frames"] * 2,
        *["frame_rate"] * 2,
    ]
    assert float(rows[2]["auc"]) == noisy["rates"]["auc"]["value"] and rows[6]["auc"] == "" and rows[6]["fta"] == "1.0"
    assert {"robustness.md", "robustness.png"} <= {path.name for path in page.parent.iterdir()}
    assert (page.parent / "figures" / "jitter.png").exists()


def test_the_scores_are_those_of_probes_degraded_before_embedding(source, config, model_dir, tmp_path):
    """Clean enrolment against a jittered probe, embedded apart and scored from the definition."""
    config.robustness.severities.jitter = (0.05,)
    config.evaluate.protocol = "all_pairs"
    robustness.measure(config, str(tmp_path), str(model_dir))
    released = embed.open_model(model_dir, batch_size=8)
    worse = degradations.DegradedSource(source, "jitter", 0.05, landmark_set="avaprintdb109")
    clean, noisy = (released.embedder.split(released.params, one) for one in (source, worse))
    means = [np.array([w.vector[w.record == v].mean(axis=0) for v in range(len(source))]) for w in (clean, noisy)]
    trials = protocols.get("all_pairs")(records.tabulate_videos(source.metadata()), seed=0)
    reference = [trials.templates[template][0] for template in trials.template_index]
    scores = (means[0][reference] * means[1][trials.probe_index]).sum(axis=1)
    found = report_of(tmp_path)["curves"][0]["rows"][0]["rates"]["auc"]["value"]
    assert found == pytest.approx(DetCurve.from_scores(scores, trials.mated).auc, abs=1e-6)


def test_only_probes_are_embedded_again(source, config, model_dir, tmp_path, monkeypatch):
    sizes = []
    split = embed.Embedder.split

    def counted(self, params, records, **how):
        sizes.append(len(records))
        return split(self, params, records, **how)

    monkeypatch.setattr(embed.Embedder, "split", counted)
    config.robustness.severities.jitter = (0.05,)
    monkeypatch.setattr(robustness, "make_trials", lambda *a, **k: only_last_clips)
    robustness.measure(config, str(tmp_path), str(model_dir))
    config.robustness.degrade_enrolment = True
    robustness.measure(config, str(tmp_path), str(model_dir))
    assert sizes == [27, 9, 27, 27]
    assert report_of(tmp_path)["protocol"]["enrolment"] == "degraded as the probes are"


def only_last_clips(videos):
    """Everybody's last clip against the templates of the first two."""
    found = protocols.get("all_pairs")(videos, seed=0, enrolment_clips=1)
    last = np.char.endswith(videos["clip_id"], "-2")
    template = np.array([last[rows[0]] for rows in found.templates])
    return subset(found, last[found.probe_index] & ~template[found.template_index])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"jitter": (-0.1,)}, ConfigError, "severity -0.1 of jitter"),
        ({"dropped_frames": (0.1, 1.5)}, ConfigError, "severity 1.5 of dropped_frames; wanted a share"),
        ({"rain": (0.1,)}, UnknownName, "unknown degradation 'rain'; known: dropped_bursts"),
        ({}, ConfigError, "no severity of any degradation"),
    ],
)
def test_bad_severities_are_refused_before_anything_is_read(config, tmp_path, change, error, words):
    with config.unlocked():
        config.robustness.severities.update(change)
    with pytest.raises(error, match=words):
        robustness.measure(config, str(tmp_path), str(tmp_path / "no model"))
    assert not (tmp_path / "robustness").exists()


def test_a_rate_that_is_not_known_cannot_be_lowered(source, config, model_dir, tmp_path):
    source.records[5]["fps"] = np.float32(0)
    config.robustness.severities.frame_rate = (15.0,)
    with pytest.raises(ConfigError, match=r"frame_rate want.*P01--P01--2"):
        robustness.measure(config, str(tmp_path), str(model_dir))
    config.robustness.severities.frame_rate, config.robustness.severities.jitter = (), (0.1,)
    assert robustness.measure(config, str(tmp_path), str(model_dir)).exists()


def test_asked_to_stop_it_writes_nothing(source, config, model_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(workdir.StopFlag, "__init__", lambda self: setattr(self, "is_set", True))
    config.robustness.severities.jitter = (0.1,)
    with pytest.raises(workdir.Stopped):
        robustness.measure(config, str(tmp_path), str(model_dir))
    assert not (tmp_path / "robustness").exists()


def test_the_default_severities_are_sound():
    plan = robustness.planned(options.defaults().robustness.severities.to_dict())
    assert tuple(plan) == degradations.names()


def test_sources_in_another_reading_are_degraded_too(source, config, model_dir, tmp_path, monkeypatch):
    """Not every source says its landmark set."""
    monkeypatch.setattr(datasets, "open_split", lambda config, split: OneFaceSource(source))
    config.robustness.severities.jitter = (0.05,)
    robustness.measure(config, str(tmp_path), str(model_dir))
    (curve,) = report_of(tmp_path)["curves"]
    assert curve["rows"][0]["similarity"]["mean"] < 1


def test_a_rate_that_videos_do_not_exceed_is_said(source, config, model_dir, tmp_path):
    config.robustness.severities.frame_rate = (30.0,)
    robustness.measure(config, str(tmp_path), str(model_dir))
    (warning,) = report_of(tmp_path)["warnings"]
    assert "26 of 26 videos have no higher rate" in warning
