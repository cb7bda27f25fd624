"""Train a network: build, restore, step, validate, save. Reads top to bottom."""

from __future__ import annotations

import functools
import hashlib
import json
import pathlib
import time
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree
from ml_collections import ConfigDict

from fingerprint import checkpoint, losses, metrics_log, parallel, provenance, workdir
from fingerprint.data import augment, datasets, input_pipeline
from fingerprint.embed import Embedder
from fingerprint.errors import ConfigError, NonFinite
from fingerprint.landmarks.windows import WindowSpec
from fingerprint.models import registry
from fingerprint.models.embedding import embed_clips
from fingerprint.models.frame_order import shuffle_frames
from fingerprint.validation import Validation

# What may differ between a run and its continuation without changing the sequence of batches and losses.
_FREE = (
    "checkpoint", "train.log_every", "data.data_dir", "data.build", "data.threads", "data.prefetch", "data.test_split",
    "evaluate.model", "evaluate.name", "evaluate.title", "evaluate.more_", "evaluate.balanced_pairs",
    "evaluate.identification_far", "evaluate.max_trials", "evaluate.stride",
    "evaluate.batch_size", "evaluate.replicates", "evaluate.controls", "evaluate.development_split",
    "evaluate.scoring", "robustness", "quality",
)  # fmt: skip


class TrainState(NamedTuple):
    """All that a step changes.

    Attributes:
        step: steps taken. skipped: steps left out because loss or gradient was not finite.
        params: the network's. loss_params: the loss's own (class weights), no part of the released model.
    """

    step: Int[Array, ""]
    skipped: Int[Array, ""]
    params: PyTree
    loss_params: PyTree
    opt_state: PyTree


class DeviceBatch(NamedTuple):
    """What a device sees of a step: its rows, and whether its process was asked to stop."""

    windows: Float[Array, "batch time vertex coord"]
    frame_mask: Bool[Array, "batch time"]
    driver: Int[Array, "batch"]
    target: Int[Array, "batch"]
    video: Int[Array, "batch"]
    example_index: Int[Array, "batch"]
    stop: Int[Array, "1"]


# ---------------------------------------------------------------------------------------------------- the step


def train_step(
    state: TrainState,
    batch: DeviceBatch,
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: losses.Loss,
    seed: int,
    over_clips: bool = False,
    shuffled: bool = False,
) -> tuple[TrainState, dict[str, Array]]:
    """One step on one of the devices: embed the own rows, gather everybody's embeddings, take the global loss, average
    gradients.

    Args:
        over_clips: the loss is one of `losses.OVER_CLIPS`. shuffled: it also wants the rows with their frames shuffled.
    """
    trained = (state.params, state.loss_params)
    key_dropout, key_loss = jax.random.split(jax.random.fold_in(jax.random.key(seed), state.step))
    key_shuffle = jax.random.fold_in(key_loss, 1)

    def global_loss(trained):
        params, loss_params = trained
        options = {"train": True, "rngs": {"dropout": key_dropout}}
        if over_clips:
            vector, videos = embed_videos(model, params, batch, key_shuffle if shuffled else None, options)
        else:
            index = batch.example_index
            embedding = model.apply({"params": params}, batch.windows, batch.frame_mask, example_index=index, **options)
            vector, videos = embedding.vector, None
        vector, driver, videos = parallel.gather((vector, batch.driver, videos))
        more = {"videos": videos} if over_clips else {}
        anchors = loss(vector, driver, jnp.ones(driver.shape, bool), key_loss, **loss_params, **more)
        return anchors.mean(), (anchors, vector)

    (value, (anchors, vector)), gradient = jax.value_and_grad(global_loss, has_aux=True)(trained)
    gradient = parallel.mean(gradient)
    norm = optax.global_norm(gradient)
    finite = jnp.isfinite(value) & jnp.isfinite(norm)
    updates, opt_state = optimizer.update(gradient, state.opt_state, trained)
    moved = (optax.apply_updates(trained, updates), opt_state)
    trained, opt_state = jax.tree.map(functools.partial(jnp.where, finite), moved, (trained, state.opt_state))
    metrics = {
        "loss": value,
        "gradient_norm": norm,
        "anchors": jnp.mean(anchors.counts),
        "mean_cosine": mean_cosine(vector),
        **anchors.metrics,
        "finite": finite,
        "stop": parallel.total(batch.stop[0]),
    }
    skipped = state.skipped + jnp.where(finite, 0, 1)
    return TrainState(state.step + 1, skipped, *trained, opt_state), metrics


def embed_videos(
    model: nn.Module, params: PyTree, batch: DeviceBatch, key: Key[Array, ""] | None, options: dict[str, Any]
) -> tuple[Float[Array, "batch dim"], losses.Videos]:
    """The rows' embeddings, and their clips for losses that compare those.

    Args:
        key: of the order of the shuffled copies; None: none are wanted.
        options: further arguments of `model.apply`.
    """
    rows = (batch.windows, batch.frame_mask, batch.example_index)
    if key is not None:
        copies = (*shuffle_frames(key, *rows), batch.example_index)
        rows = jax.tree.map(lambda *parts: jnp.concatenate(parts), rows, copies)
    windows, frame_mask, index = rows
    found = embed_clips(model, {"params": params}, windows, frame_mask, example_index=index, **options)
    count = len(batch.driver)
    clips = jax.tree.map(lambda x: x[:count], found)
    copies = jax.tree.map(lambda x: x[count:], found) if key is not None else (None, None)
    return clips.pooled(), losses.Videos(batch.target, batch.video, *clips, *copies)


def mean_cosine(vector: Float[Array, "batch dim"]) -> Float[Array, ""]:
    """Mean cosine over pairs of different rows of unit vectors: 1 when all embeddings are the same (collapse)."""
    count = vector.shape[0]
    return (jnp.sum(jnp.square(jnp.sum(vector, axis=0))) - count) / max(count * (count - 1), 1)


def make_optimizer(config: ConfigDict, num_steps: int) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Optimiser and learning-rate schedule.

    `adam` adds weight decay to the gradient, as PyTorch's Adam does; `adamw` decouples it.
    Schedules: `constant`, `cosine` (to zero), `step` (times `schedule_factor` after `schedule_step`), `staircase`
    (times `schedule_factor` after every `schedule_step` steps); each after `warmup_steps`.
    """
    peak = config.learning_rate
    match config.schedule:
        case "constant":
            schedule = optax.constant_schedule(peak)
        case "cosine":
            schedule = optax.cosine_decay_schedule(peak, max(num_steps - config.warmup_steps, 1))
        case "step":
            schedule = optax.piecewise_constant_schedule(peak, {config.schedule_step: config.schedule_factor})
        case "staircase":
            schedule = optax.exponential_decay(peak, config.schedule_step, config.schedule_factor, staircase=True)
        case other:
            raise ConfigError(f"unknown schedule {other!r}; known: constant, cosine, step, staircase")
    if config.warmup_steps:
        warmup = optax.linear_schedule(0.0, peak, config.warmup_steps)
        schedule = optax.join_schedules([warmup, schedule], [config.warmup_steps])
    match config.name:
        case "adam":
            rule = optax.chain(optax.add_decayed_weights(config.weight_decay), optax.adam(schedule))
        case "adamw":
            rule = optax.adamw(schedule, weight_decay=config.weight_decay)
        case other:
            raise ConfigError(f"unknown optimizer {other!r}; known: adam, adamw")
    clip = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    return optax.chain(*clip, rule), schedule


def make_loss(config: ConfigDict) -> losses.Loss:
    """The configured loss with its options bound."""
    options = dict(config)
    return functools.partial(losses.get(options.pop("name")), **options)


def init_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    example: np.ndarray,
    seed: int,
    *,
    loss: str,
    num_drivers: int,
) -> TrainState:
    """Fresh parameters of network and loss from the seed; equal in every process."""
    windows = jnp.asarray(example[None])
    mask = jnp.ones(windows.shape[:2], bool)
    params = model.init(jax.random.key(seed), windows, mask)["params"]
    dim = jax.eval_shape(model.apply, {"params": params}, windows, mask).vector.shape[1]
    loss_params = losses.init_params(loss, jax.random.fold_in(jax.random.key(seed), 1), dim, num_drivers)
    zero = jnp.zeros((), jnp.int32)
    return TrainState(zero, zero, params, loss_params, optimizer.init((params, loss_params)))


# ---------------------------------------------------------------------------------------------------- the run


def train(config: ConfigDict, directory: str) -> pathlib.Path:
    """Train as configured; the same call resumes.

    Returns:
        The best released model, chosen on validation identities.

    Raises:
        ConfigError, DatasetError: found before the first step.
        CheckpointError: the run's checkpoint is damaged or was made by another configuration.
        NonFinite: loss or gradient not finite, with `train.nonfinite="stop"`.
        workdir.Stopped: asked to stop; saved.
    """
    seed, num_steps = config.seed, config.train.num_steps
    spec = WindowSpec(**config.data.window)

    # Data: everything that can be wrong with it is found here.
    source = datasets.open_split(config, config.data.train_split)
    examples = input_pipeline.train_examples(
        source,
        landmark_set=config.data.landmark_set,
        normalization=config.data.normalization,
        spec=spec,
        options=augment.Augmentation(**config.augment),
        drivers_per_batch=config.sampler.drivers_per_batch,
        windows_per_driver=config.sampler.windows_per_driver,
        same_target=config.sampler.same_target,
        same_target_share=config.sampler.same_target_share,
        same_target_faces=config.sampler.same_target_faces,
        leave_out_few=config.sampler.leave_out_few,
        channels=config.data.channels,
        seed=seed,
    )
    batch_size = examples.sampler.batch_size
    iterator = input_pipeline.train_iterator(
        examples,
        num_steps=num_steps,
        share=parallel.share_of(batch_size),
        threads=config.data.threads,
        prefetch=config.data.prefetch,
        workers=config.data.workers,
    )

    # Network, optimiser, the step on all devices.
    model = registry.build(
        {**config.model, "landmark_set": config.data.landmark_set, "extra_channels": examples.layout.channels}
    )
    optimizer, schedule = make_optimizer(config.optimizer, num_steps)
    step_on_devices = parallel.map_step(
        functools.partial(
            train_step,
            model=model,
            optimizer=optimizer,
            loss=make_loss(config.loss),
            seed=seed,
            over_clips=config.loss.name in losses.OVER_CLIPS,
            shuffled=config.loss.get("shuffled", True),
        )
    )
    state = init_state(
        model,
        optimizer,
        examples(0, 0).windows,
        seed,
        loss=config.loss.name,
        num_drivers=len(examples.sampler.names),
    )
    embedder = Embedder(
        model,
        landmark_set=config.data.landmark_set,
        normalization=config.data.normalization,
        spec=spec,
        channels=config.data.channels,
        batch_size=config.evaluate.batch_size,
    )
    validation = Validation(config, embedder, datasets.open_split(config, config.data.validation_split), source)

    # Resume where the last run of this directory was saved.
    store = checkpoint.CheckpointStore(pathlib.Path(directory) / "checkpoints", keep=config.checkpoint.keep)
    description = describe_run(config, batch_size, source.metadata(), validation.trials_hash)
    if (restored := store.restore(state, fallback=config.checkpoint.fallback)) is not None:
        _, state, document = restored
        refuse_other_run(document["run"], description, directory)
        iterator.set_state(document["iterator"])
        validation.resume(document["validation"], directory)
    first = int(state.step)
    log = metrics_log.MetricsLog(directory, resume_step=first, num_steps=num_steps, enabled=parallel.is_main())
    origin = provenance.collect(config.to_dict(), parallel.describe())
    if parallel.is_main():
        (pathlib.Path(directory) / "provenance.json").write_text(json.dumps(origin, indent=1), encoding="utf-8")
        (pathlib.Path(directory) / "config.json").write_text(config.to_json_best_effort(indent=1), encoding="utf-8")
    log.say(
        f"{'Resuming at' if first else 'Training from'} step {first} of {num_steps}: {len(source)} records, "
        f"{len(examples.sampler.names)} drivers, {batch_size} windows a step on {jax.device_count()} "
        f"{jax.default_backend()} device(s)"
    )
    if examples.sampler.left_out:
        log.say(f"left out, fewer than 2 usable records each: {', '.join(examples.sampler.left_out)}")

    def save():
        document = {"run": description, "iterator": iterator.get_state(), "validation": validation.state()}
        store.save(int(state.step), state, document)

    # Step. Metrics are read one step late, so that the device never waits for the host.
    flag = workdir.StopFlag()
    clock = _Clock(first, batch_size)
    unread = None
    step, asked = first, False
    with flag.listening():
        while True:
            if validation.due(step) and not asked:  # after a step, or where a stopped run left it undone
                row = validation.run(step, state.params, directory, origin, stopped=lambda: flag.is_set)
                asked = row is None
                if row is not None:
                    log.write(step, row)
                    log.say(validation.sentence(step, row))
                clock.restart(step)
                save()
            if asked:
                store.close()
                log.close()
                raise workdir.Stopped(f"stopped at step {step}, saved in {store.directory}; the same command resumes")
            if step == num_steps or validation.exhausted:
                break
            batch = next(iterator)
            rows = batch._asdict()
            record = rows.pop("record")
            device_batch = DeviceBatch(**rows, stop=_stop_rows(flag))
            state, metrics = step_on_devices(state, parallel.shard(device_batch))
            asked = unread is not None and read_metrics(*unread, config, examples, schedule, log, clock)
            unread = (step, metrics, record)
            step += 1
            if asked or validation.due(step) or step % config.checkpoint.every == 0:
                asked = read_metrics(*unread, config, examples, schedule, log, clock) or asked
                unread = None
                if asked or not validation.due(step):
                    save()
    store.close()
    log.close()
    parallel.barrier("end of training")
    return checkpoint.resolve_model(directory)


def read_metrics(step: int, metrics: dict, record: np.ndarray, config, examples, schedule, log, clock) -> bool:
    """Log a finished step; True if a process was asked to stop.

    Raises:
        NonFinite: as configured.
    """
    values = {name: np.asarray(value).item() for name, value in metrics.items()}
    stop, finite = values.pop("stop"), values.pop("finite")
    if not finite:
        ids = sorted(set(examples.source.metadata()["video_id"][record].tolist()))
        message = (
            f"loss {values['loss']} with gradient norm {values['gradient_norm']} at step {step + 1}; "
            f"videos in the batch: {ids}"
        )
        if config.train.nonfinite == "stop":
            raise NonFinite(message + ". To leave such steps out pass --config.train.nonfinite=skip")
        log.say("skipped: " + message)
    rate = clock.windows_per_second(step + 1)
    row = {**values, "learning_rate": float(schedule(step)), "windows_per_second": round(rate, 2)}
    if not finite:
        row = {"skipped_nonfinite": 1}
    if (step + 1) % config.train.log_every == 0 or not finite:
        log.write(step + 1, row)
    log.progress(step + 1, loss=f"{values['loss']:.4f}", windows_per_s=f"{rate:.0f}")
    return bool(stop)


def describe_run(config: ConfigDict, batch_size: int, metadata: dict[str, np.ndarray], trials: str) -> dict[str, Any]:
    """What must be the same for a continuation to be the same run: options, records, validation trials, processes."""
    records = hashlib.sha256()
    for name in ("video_id", "window_index", "num_frames", "num_valid"):
        records.update("|".join(map(str, metadata[name].tolist())).encode())
    flat = {path: value for path, value in _leaves(config.to_dict()) if not path.startswith(_FREE)}
    return {
        "config": flat,
        "processes": jax.process_count(),
        "batch_size": batch_size,
        "training_records": records.hexdigest(),
        "validation_trials": trials,
    }


def refuse_other_run(found: dict[str, Any], wanted: dict[str, Any], directory: str) -> None:
    """Raise ConfigError with every difference between a saved run and this one."""
    found, wanted = (dict(_leaves(json.loads(json.dumps(d)))) for d in (found, wanted))
    differing = [
        f"{name}: saved {found.get(name, 'nothing')!r}, now {wanted.get(name, 'nothing')!r}"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    ]
    if differing:
        raise ConfigError(
            f"{directory} holds another run ({'; '.join(differing)}); choose another --workdir or undo the change"
        )


def options_differing(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What another run would differ in, of the options that a finished run knew: newer ones had no say in it."""
    found, wanted = (dict(_leaves(json.loads(json.dumps(tree)))) for tree in (saved, now))
    return [
        f"{name}: saved {found[name]!r}, now {wanted.get(name, 'nothing')!r}"
        for name in sorted(found)
        if found[name] != wanted.get(name) and not name.startswith(_FREE)
    ]


def _leaves(tree: dict, prefix: str = ""):
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _stop_rows(flag: workdir.StopFlag) -> np.ndarray:
    return np.full((jax.local_device_count(),), int(flag.is_set), np.int32)


class _Clock:
    """Throughput since the last pause."""

    def __init__(self, step: int, batch_size: int):
        self._batch_size = batch_size
        self.restart(step)

    def restart(self, step: int) -> None:
        self._step, self._time = step, time.perf_counter()

    def windows_per_second(self, step: int) -> float:
        return (step - self._step) * self._batch_size / max(time.perf_counter() - self._time, 1e-9)
