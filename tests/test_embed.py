"""Embedding a split: every window once, whatever the batch, the devices and the processes."""

import json

import jax
import numpy as np
import pytest
from sources import MemorySource, make_source

from fingerprint import checkpoint, embed
from fingerprint.data.input_pipeline import CONTROLS, evaluation_batches
from fingerprint.embed import Embedder
from fingerprint.errors import CheckpointError, UnknownName
from fingerprint.landmarks.windows import WindowSpec
from fingerprint.models.gcn_tap import GCNTAP

SET, SPEC = "ibug68", WindowSpec(6, 3, 0.6)
NETWORK = {"name": "gcn_tap", "hidden": 4, "features": 8, "form": "auto", "chunk": -1}
DOCUMENT = {
    "model": NETWORK,
    "landmark_set": SET,
    "normalization": "pose_removed",
    "window": {"length": 6, "stride": 3, "min_valid": 0.6, "pad_short": True},
}


@pytest.fixture(scope="module")
def source():
    return make_source(drivers=3, targets=2, clips=2, frames=14, lost_frames=4, landmark_set=SET)


@pytest.fixture(scope="module")
def params():
    model = GCNTAP(landmark_set=SET, hidden=4, features=8)
    return jax.jit(model.init)(jax.random.key(0), np.zeros((1, 6, 68, 3)), np.ones((1, 6), bool))["params"]


def embedder(batch_size=8, spec=SPEC, **options):
    model = GCNTAP(landmark_set=SET, hidden=4, features=8)
    return Embedder(
        model, landmark_set=SET, normalization="aspect_corrected", spec=spec, batch_size=batch_size, **options
    )


@pytest.fixture(scope="module")
def whole(source, params):
    return embedder().split(params, source)


def test_every_window_is_embedded_once_and_in_order(source, params, whole):
    batches = evaluation_batches(source, landmark_set=SET, normalization="aspect_corrected", spec=SPEC, batch_size=1000)
    (batch,) = batches
    real = batch.record >= 0
    assert whole.record.tolist() == batch.record[real].tolist() and whole.start.tolist() == batch.start[real].tolist()
    model = GCNTAP(landmark_set=SET, hidden=4, features=8)
    vector, attention = jax.jit(model.apply)({"params": params}, batch.windows[real], batch.frame_mask[real])
    assert np.abs(whole.vector - vector).max() < 2e-6 and np.abs(whole.attention - attention).max() < 2e-6
    assert np.allclose(np.linalg.norm(whole.vector, axis=1), 1, atol=1e-5) and whole.seconds > 0


@pytest.mark.parametrize("batch_size", [1, 5, 300])
def test_the_batch_size_changes_nothing(source, params, whole, batch_size):
    found = embedder(batch_size).split(params, source)
    assert np.array_equal(found.record, whole.record) and np.array_equal(found.start, whole.start)
    assert np.abs(found.vector - whole.vector).max() < 2e-6
    assert np.abs(found.attention - whole.attention).max() < 2e-6


def test_several_devices_and_processes_change_nothing(on_devices, in_two_processes):
    one = on_devices[1]
    assert len(one["embedded/record"]) > 20
    for other in (on_devices[2], on_devices[8], in_two_processes):
        assert np.array_equal(other["embedded/record"], one["embedded/record"])
        assert np.array_equal(other["embedded/start"], one["embedded/start"])
        assert np.abs(other["embedded/vector"] - one["embedded/vector"]).max() < 2e-6
        assert np.abs(other["embedded/attention"] - one["embedded/attention"]).max() < 2e-6


def test_the_batch_is_raised_to_a_multiple_of_the_devices(monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 8)
    assert [embedder(size).batch_size for size in (1, 8, 9)] == [8, 8, 16]


def test_asked_to_stop_it_gives_nothing(source, params):
    asked = []

    def stopped():
        asked.append(1)
        return len(asked) > 2

    assert embedder(4).split(params, source, stopped=stopped) is None
    assert len(asked) == 3  # before each batch, and no further
    assert embedder(4).split(params, source, stopped=lambda: False) is not None


def test_a_split_without_windows_gives_none_but_the_right_shapes(source, params):
    found = embedder(spec=WindowSpec(60, 1)).split(params, source)
    assert found.vector.shape == (0, 8) and found.attention.shape == (0, 60)
    assert found.record.shape == found.start.shape == (0,)


def test_records_without_a_window_are_left_out(source, params, whole):
    faceless = {**source[3], "frame_mask": np.zeros(14, bool), "landmarks": np.zeros((14, 68, 3), np.float32)}
    found = embedder().split(params, MemorySource([*source.records[:3], faceless, *source.records[4:]]))
    assert 3 not in found.record
    kept = whole.record != 3
    assert np.array_equal(found.record, whole.record[kept]) and np.abs(found.vector - whole.vector[kept]).max() < 2e-6


def test_controls_are_applied(source, params, whole):
    shuffled = embedder().split(params, source, transform=CONTROLS["shuffled_frames"])
    frozen = embedder().split(params, source, transform=CONTROLS["static_frame"], label="static")
    assert np.abs(shuffled.vector - whole.vector).max() < 2e-6  # a bag of poses: order is not read
    assert np.abs(shuffled.attention - whole.attention).max() > 1e-4
    assert np.abs(frozen.vector - whole.vector).max() > 1e-4
    spread = [row[row > 0] for row in frozen.attention]
    assert max(np.ptp(row) for row in spread) < 1e-6


# ------------------------------------------------------------------------------------------------------ released models


@pytest.fixture
def model(params, tmp_path):
    return checkpoint.save_model(tmp_path / "model", params, DOCUMENT)


def test_a_released_model_embeds_as_its_document_says(model, params, source):
    released = embed.open_model(model, batch_size=4)
    assert released.document == DOCUMENT and released.directory == model
    assert released.digest == json.loads((model / "model.json").read_text())["digest"]
    assert released.num_parameters == sum(leaf.size for leaf in jax.tree.leaves(params))
    spec = WindowSpec(6, 3, 0.6, True)
    assert released.embedder.spec == spec
    found = released.embedder.split(released.params, source)
    expected = Embedder(
        GCNTAP(landmark_set=SET, hidden=4, features=8), landmark_set=SET, normalization="pose_removed", spec=spec
    ).split(params, source)
    assert np.abs(found.vector - expected.vector).max() < 2e-6


def test_the_stride_may_be_another(model):
    assert embed.open_model(model, stride=2).embedder.spec == WindowSpec(6, 2, 0.6, True)


def test_the_best_model_of_a_working_directory_is_opened(params, tmp_path):
    checkpoint.publish_best(tmp_path, 3, params, DOCUMENT)
    assert embed.open_model(tmp_path).directory == tmp_path / "models" / "00000003"


def test_weights_that_do_not_fit_their_network_are_refused(params, tmp_path):
    other = {**DOCUMENT, "model": {**NETWORK, "features": 16}}
    path = checkpoint.save_model(tmp_path / "model", params, other)
    with pytest.raises(CheckpointError, match=r"another architecture: gcn3/bias: found \(8,\) float32, wanted \(16,\)"):
        embed.open_model(path)


def test_an_unknown_network_is_refused(params, tmp_path):
    path = checkpoint.save_model(tmp_path / "model", params, {**DOCUMENT, "model": {"name": "later"}})
    with pytest.raises(UnknownName, match="later"):
        embed.open_model(path)
