"""How much of the driver shows: scored by the model's own back end."""

import dataclasses
import pathlib
import types

import pytest

from fingerprint.app import evidence, leakage
from fingerprint.embed import open_model
from fingerprint.landmarks import track
from fingerprint.verification.scoring import Scoring


@pytest.mark.parametrize("over_windows", ["mean", "max"])
def test_drivers_are_told_from_generated_videos(tracks, model, monkeypatch, tmp_path, over_windows):
    released = dataclasses.replace(open_model(model), scoring=Scoring(over_windows=over_windows))
    paths = sorted(pathlib.Path(tracks).glob("*/*.track.npz"))
    videos = [(str(path), track.read(path)) for path in paths]
    monkeypatch.setattr(leakage, "_embedded", lambda *_: evidence.embed(videos, released))
    known = []
    for path in paths:
        pair = types.SimpleNamespace(name=str(path), generator="made up", corpus="made up", clip_id=str(path))
        known.append((pair, path.parent.name, path.parent.name))
    found = leakage._told(known, tmp_path, released, 0)
    assert found["protocol"] == "all_pairs" and found["people"] == len({path.parent for path in paths})
    assert 0.6 < found["auc"] <= 1 and 0 < found["mated"] < found["trials"]
