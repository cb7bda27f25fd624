"""1, 2 and 8 devices and two processes compute the same step; what does not divide is refused."""

import jax
import numpy as np
import pytest

from fingerprint import losses, parallel
from fingerprint.errors import ConfigError

CASES = (*losses.names(), "st_gcn", "st_gcn_channels", "temporal_cnn")
# Arrays that are trained: the network's, and the loss's own.
TRAINED = dict.fromkeys(CASES, 7) | {"softmax": 7 + 2, "arcface": 7 + 1, "st_gcn": 34 + 2, "temporal_cnn": 34}
TRAINED["st_gcn_channels"] = TRAINED["st_gcn"] + 1


def agree(results, reference, name, relative=1e-6):
    loss = f"metric/{name}/loss"
    assert results[loss] == pytest.approx(reference[loss], rel=relative) and reference[loss] > 0
    gradients = [key for key in reference if key.startswith(f"gradient/{name}/")]
    assert len(gradients) == TRAINED[name] and set(results) == set(reference)
    largest = max(np.abs(reference[key]).max() for key in gradients)
    assert largest > 0.01
    for key in gradients:
        assert np.abs(results[key] - reference[key]).max() <= relative * largest, key


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize("name", CASES)
def test_several_devices_compute_the_step_of_one(on_devices, name, count):
    """Loss and gradient with dropout on: masks belong to examples, and negatives come from the whole batch."""
    assert on_devices[count]["devices"] == count
    agree(on_devices[count], on_devices[1], name)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_compute_the_step_of_one(on_devices, in_two_processes, name):
    assert in_two_processes["devices"] == 4
    agree(in_two_processes, on_devices[1], name)


def test_metrics_are_those_of_the_whole_batch(on_devices, in_two_processes):
    for results in (*on_devices.values(), in_two_processes):
        for name in CASES:
            metrics = {key.split("/")[-1]: value for key, value in results.items() if key.startswith(f"metric/{name}/")}
            assert metrics["finite"] and metrics["anchors"] == 1.0
            gradient = [value for key, value in results.items() if key.startswith(f"gradient/{name}/")]
            norm = np.sqrt(sum(np.square(g, dtype=np.float64).sum() for g in gradient))
            assert metrics["gradient_norm"] == pytest.approx(norm, rel=1e-5)
            assert metrics["mean_cosine"] == pytest.approx(on_devices[1][f"metric/{name}/mean_cosine"], abs=1e-6)


def test_one_process_asked_to_stop_stops_all(on_devices, in_two_processes):
    assert in_two_processes["metric/triplet/stop"] == 2  # both devices of the process that was asked
    assert on_devices[8]["metric/triplet/stop"] == 8


@pytest.mark.parametrize(("devices", "processes", "total"), [(8, 1, 12), (8, 2, 4), (3, 3, 16)])
def test_a_batch_that_does_not_divide_is_refused(monkeypatch, devices, processes, total):
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    with pytest.raises(
        ConfigError, match=f"{total} windows does not divide over {devices} devices.*multiple of {devices}"
    ):
        parallel.share_of(total)


def test_shares_cover_the_batch_once(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    covered = []
    for index in range(4):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        share = parallel.share_of(24)
        covered += list(range(share.start, share.stop))
    assert covered == list(range(24))


def test_rows_are_split_over_devices_in_order(monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 3)
    split = parallel.shard({"a": np.arange(12), "b": np.arange(24).reshape(12, 2)})
    assert split["a"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert split["b"].shape == (3, 4, 2) and split["b"][1, 0].tolist() == [8, 9]


def test_one_process_needs_no_others():
    parallel.initialize("", 1, 0)
    parallel.barrier("alone")
    assert parallel.is_main() and parallel.describe()["processes"] == 1
    rows = np.arange(3)
    assert parallel.all_processes(rows) is rows
