"""One training step with every loss, and a split embedded, on however many devices and processes there are.

Run as a program by the fixtures of conftest.py: `python on_devices.py OUT.npz [COORDINATOR PROCESSES PROCESS_ID]`; the
number of devices comes from XLA_FLAGS. Process 0 writes the results.
"""

import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sources import make_source

from fingerprint import checkpoint, losses, parallel
from fingerprint.embed import Embedder
from fingerprint.landmarks.channels import NAMES, Layout
from fingerprint.landmarks.windows import WindowSpec
from fingerprint.models.gcn_tap import GCNTAP
from fingerprint.models.st_gcn import STGCN
from fingerprint.models.temporal_cnn import TemporalCNN
from fingerprint.train import DeviceBatch, TrainState, train_step

SET, BATCH, TIME = "ibug68", 16, 6
MODEL = GCNTAP(landmark_set=SET, hidden=8, features=16, dropout=0.3)
ST_GCN = STGCN(landmark_set=SET, channels=(8, 12), strides=(1, 2), kernel=3, features=16)
WHOLE = Layout(SET, NAMES)
WITH_CHANNELS = ST_GCN.clone(strides=(1, 1), extra_channels=NAMES)
# One window at a time, as a CPU does with longer ones: how many a device has then changes no window's numbers.
TEMPORAL_CNN = TemporalCNN(landmark_set=SET, clip=31, hidden=16, dim=16, every=50, chunk=31)
# What is compared: the first network with every loss, the others with one.
CASES = {name: (MODEL, name) for name in losses.names()} | {
    "st_gcn": (ST_GCN, "softmax"),
    "st_gcn_channels": (WITH_CHANNELS, "softmax"),
    "temporal_cnn": (TEMPORAL_CNN, "dynamic_identity"),
}
STOP_ASKED_BY = 0  # the process that was asked to stop


def _keep_gradient(gradient, state, params):
    return jax.tree.map(jnp.zeros_like, params), gradient


# Puts the averaged gradient where it can be read as it is; read off an update of the parameters it would lose digits.
CATCH = optax.GradientTransformation(lambda params: params, _keep_gradient)


def global_batch():
    rng = np.random.default_rng(0)
    source = make_source(drivers=4, targets=1, clips=4, frames=TIME, landmark_set=SET)
    windows = np.stack([record["landmarks"] for record in source.records])
    mask = rng.random((BATCH, TIME)) < 0.8
    # Behind the landmarks what channels might hold; networks that read landmarks only are given those.
    beside = np.random.default_rng(1).random((BATCH, TIME, WHOLE.num_vertices - windows.shape[2], 3), np.float32)
    return (
        np.concatenate([100 * (windows - windows.mean((0, 1))), beside], axis=2),
        mask,
        np.repeat(np.arange(4, dtype=np.int32), 4),
        np.arange(BATCH, dtype=np.int32) // 2 % 3,
        np.arange(BATCH, dtype=np.int32) // 2,
        np.arange(BATCH, dtype=np.int32),
    )


def vertices_of(model) -> int:
    return Layout(SET, getattr(model, "extra_channels", ())).num_vertices


def fresh_state(model, loss: str) -> TrainState:
    windows, mask, driver, *_ = global_batch()
    windows = windows[:, :, : vertices_of(model)]
    params = jax.jit(model.init)(jax.random.key(0), windows[:1], mask[:1])["params"]
    loss_params = losses.init_params(loss, jax.random.key(1), 16, len(set(driver.tolist())))
    trained = jax.tree.map(np.asarray, (params, loss_params))
    zero = np.zeros((), np.int32)
    return TrainState(zero, zero, *trained, CATCH.init(trained))


def steps():
    """Metrics and gradients by case, and the parameters as a step leaves them: on all devices of all processes."""
    share = parallel.share_of(BATCH)
    rows = [column[share] for column in global_batch()]
    stop = np.full((jax.local_device_count(),), int(jax.process_index() == STOP_ASKED_BY), np.int32)
    batch = parallel.shard(DeviceBatch(*rows, stop))

    def every_case(states, batch):
        results = {}
        for name, (model, loss) in CASES.items():
            clips = loss in losses.OVER_CLIPS
            step = functools.partial(train_step, optimizer=CATCH, seed=3, over_clips=clips, shuffled=clips)
            seen = batch._replace(windows=batch.windows[:, :, : vertices_of(model)])
            results[name] = step(states[name], seen, model=model, loss=losses.get(loss))
        return {name: new for name, (new, _) in results.items()}, {
            name: metrics for name, (_, metrics) in results.items()
        }

    states = {name: fresh_state(*case) for name, case in CASES.items()}
    states, metrics = parallel.map_step(every_case)(states, batch)
    assert all(int(state.step) == 1 and int(state.skipped) == 0 for state in states.values())
    gradients = {name: state.opt_state for name, state in states.items()}
    return checkpoint.flatten({"metric": metrics, "gradient": gradients}), states["triplet"].params


def embedded(params) -> dict[str, np.ndarray]:
    source = make_source(drivers=3, targets=1, clips=3, frames=15, landmark_set=SET, lost_frames=4)
    embedder = Embedder(
        MODEL, landmark_set=SET, normalization="aspect_corrected", spec=WindowSpec(TIME, 3, 0.6), batch_size=5
    )
    assert embedder.batch_size % jax.local_device_count() == 0
    found = embedder.split(params, source)
    return {f"embedded/{name}": getattr(found, name) for name in ("vector", "attention", "record", "start")}


def check_several_processes(params, folder: pathlib.Path) -> None:
    """What only several processes can get wrong: shares, gathering, and files that one of them writes."""
    me = jax.process_index()
    assert parallel.is_main() == (me == 0) and parallel.describe()["processes"] == jax.process_count()
    assert parallel.all_processes(np.array([me, me + 10])).tolist() == [0, 10, 1, 11]
    with parallel.main_holds(lambda: (folder / "held").open("x")) as held:
        assert (held is not None) == (me == 0)
    store = checkpoint.CheckpointStore(folder / "checkpoints")
    store.save(1, params, {"a": 1})
    store.wait()
    step, restored, document = store.restore(params)
    assert (step, document) == (1, {"a": 1})
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(params), strict=True))
    store.close()
    if parallel.is_main():
        checkpoint.publish_best(folder / "run", 5, params, {"step": 5})
    parallel.barrier("published")
    flat, _, _ = checkpoint.load_model(folder / "run")
    assert set(flat) == set(checkpoint.flatten(params))


def main(out: str, coordinator: str = "", processes: str = "1", process_id: str = "0") -> None:
    parallel.initialize(coordinator, int(processes), int(process_id))
    results, unchanged = steps()
    results |= embedded(unchanged)
    if jax.process_count() > 1:
        check_several_processes(unchanged, pathlib.Path(out).parent)
    if parallel.is_main():
        np.savez(out, devices=jax.device_count(), **results)
    parallel.barrier("written")


if __name__ == "__main__":
    main(*sys.argv[1:])
