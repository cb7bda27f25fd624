"""What the benchmarks of whole networks share: the house's training step and embedding, and their report.

Both are timed by the clock and in processor time (of all threads), which says more on a machine with other work.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from ml_collections import ConfigDict

from benchmarks import alternate
from fingerprint import losses, parallel, train
from fingerprint.models import registry


class Work(NamedTuple):
    """Functions that do one training step (None: not timed) or embed all windows, and wait; and our parameters."""

    step: Callable[[], Any] | None
    embed: Callable[[], Any]
    params: Any = None


def build(
    config: ConfigDict,
    batch: train.DeviceBatch,
    num_drivers: int,
    make: Callable[[Any], Any] | None = None,
    given: np.ndarray | None = None,
) -> Work:
    """The work of the configured network on a batch, by `train.train_step` on one device.

    Args:
        make: makes another network, with the same parameters, from `given`, which holds something for each row of a
            step, the batch's own first.
    """
    model = registry.build({**config.model, "landmark_set": config.data.landmark_set})
    make = make or (lambda _: model)
    optimizer, _ = train.make_optimizer(config.optimizer, config.train.num_steps)
    state = train.init_state(
        model, optimizer, np.asarray(batch.windows[0]), 0, loss=config.loss.name, num_drivers=num_drivers
    )

    @parallel.map_step
    def step(state_and_given, batch):
        state, given = state_and_given
        return train.train_step(
            state,
            batch,
            model=make(given),
            optimizer=optimizer,
            loss=train.make_loss(config.loss),
            seed=0,
            over_clips=config.loss.name in losses.OVER_CLIPS,
            shuffled=config.loss.get("shuffled", True),
        )

    @jax.jit
    def embed(params, windows, mask, given):
        return make(given).apply({"params": params}, windows, mask).vector

    state_and_given = jax.device_put((state, given))
    sharded = jax.device_put(parallel.shard(batch))
    windows, mask = jnp.asarray(batch.windows), jnp.asarray(batch.frame_mask)
    rows = None if given is None else jnp.asarray(given[: len(windows)])
    return Work(
        lambda: jax.block_until_ready(step(state_and_given, sharded)),
        lambda: jax.block_until_ready(embed(state_and_given[0].params, windows, mask, rows)),
        state.params,
    )


def batch_of(windows: np.ndarray, drivers: int) -> train.DeviceBatch:
    """All frames valid; every window a video of its own, windows of a driver in turn, two targets."""
    index = np.arange(len(windows), dtype=np.int32)
    mask = np.ones(windows.shape[:2], bool)
    driver = index // -(-len(windows) // drivers)
    return train.DeviceBatch(windows, mask, driver, index % 2, index, index, np.zeros(1, np.int32))


def same_threads() -> int:
    """Give PyTorch as many threads as JAX takes: one for each core of this process."""
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    return cores


def report(
    name: str,
    works: dict[str, Work],
    batch: int,
    rounds: int,
    *,
    part: tuple[str, str],
    useful_gflops: dict[str, float],
    **more: Any,
) -> None:
    """Time `torch`, `ours` and what else there is, alternating, beside a matrix product, and print one JSON line.

    Args:
        part: a part of our network, and the name of the work that does without it.
        useful_gflops: of one window, by `training` and `embedding`.
        more: further entries.
    """
    square = jax.random.normal(jax.random.key(0), (2048, 2048))
    product = jax.jit(jnp.matmul)
    peak = (lambda: jax.block_until_ready(product(square, square)), 2 * 2048**3 / 1e9)
    result: dict[str, Any] = {"benchmark": name, "batch": batch, "rounds": rounds, "cores": same_threads(), **more}
    for what, gflops in useful_gflops.items():
        attribute = "step" if what == "training" else "embed"
        candidates = {n: (getattr(work, attribute), float(batch)) for n, work in works.items()}
        candidates = {n: timed for n, timed in candidates.items() if timed[0]}
        others = [n for n in candidates if n.startswith("torch")]
        clock, processor = alternate.rates_by_both_clocks(candidates | {"peak": peak}, rounds)
        rate = alternate.medians(processor)
        result[what] = {
            "over": {n: alternate.ratio(clock, "ours", n) for n in others},
            "over_processor_time": {n: alternate.ratio(processor, "ours", n) for n in others},
            f"share_of_{part[0]}": alternate.share(processor, "ours", part[1]),
            "share_of_matmul_peak": {n: round(gflops * rate[n] / rate["peak"], 2) for n in ("ours", "torch")},
            "windows_per_s": alternate.medians(clock),
            "windows_per_processor_s": rate,
        }
    result["load"] = [round(load, 1) for load in os.getloadavg()]
    print(json.dumps(result))
