"""Every configuration trains; optimisers, schedules and the guard against values that are not finite."""

import importlib
import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fingerprint import checkpoint, compare, metrics_log, options, train, workdir
from fingerprint.data import datasets
from fingerprint.errors import ConfigError, NonFinite
from fingerprint.landmarks import topology
from fingerprint.models import registry
from tests.sources import make_source

pytestmark = pytest.mark.usefixtures("quick_compilation")
CONFIGS = pathlib.Path(__file__).resolve().parents[1] / "configs"


def _slow(*experiment):
    return pytest.param(*experiment, marks=pytest.mark.slow)


EXPERIMENTS = [
    ("quickstart", "full"),
    ("quickstart", "dynamics_only"),
    ("avaprintdb_gcn", "cremad_huny"),
    ("avaprintdb_gcn", "ravdess_gaga"),
    ("gagavatar_gcn", None),
    ("eval_only", None),
    ("amber_stgcn", "published"),
    ("amber_stgcn", "quickstart"),
    ("amber_stgcn", "channels"),
    ("nvfair_tcn", "published"),
    ("nvfair_tcn", "quickstart"),
    # The same networks with one thing changed.
    *(_slow("amber_stgcn", name) for name in ("motion", "anatomical", "arcface", "without_oval")),
    *(_slow("nvfair_tcn", name) for name in ("coordinates", "single_frame", "clip31", "clip51", "no_q", "no_r")),
    *(_slow("nvfair_tcn", name) for name in ("dynamics_only", "trained_on_lia")),
    ("landmark_folder_gcn", "raw"),
    ("landmark_folder_gcn", "motion_only"),
    ("landmark_folder_gcn", "reenacted"),
    ("landmark_folder_tcn", "raw"),
    ("landmark_folder_stgcn", "raw"),
    *(
        _slow(f"landmark_folder_{name}", reading)
        for name in ("tcn", "stgcn")
        for reading in ("motion_only", "reenacted")
    ),
]
COMPARISONS = [
    ("compare_synthetic", "full"),
    ("compare_synthetic", "dynamics_only"),
    ("compare_react68", "raw"),
    ("compare_react68", "motion_only"),
    ("compare_react68", "reenacted"),
    ("amber_regions", "quickstart"),
    ("amber_regions", "published"),
    ("amber_linkability", "quickstart"),
    ("amber_linkability", "react68"),
    ("amber_linkability", "published"),
]


def load_config(name: str, argument: str | None):
    spec = importlib.util.spec_from_file_location(f"configs_{name}", CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config() if argument is None else module.get_config(argument)


def shrink(config):
    """Two steps of few short windows; everything else as configured."""
    config.sampler.drivers_per_batch = 4
    config.sampler.windows_per_driver = 2
    config.data.window.length = 10
    config.data.window.stride = 10
    if config.model.name == "temporal_cnn":
        config.model.hidden, config.model.every = 16, 40
    if config.model.name == "st_gcn":
        config.model.update({"channels": (4, 8), "strides": (1, 2)})
    config.data.reenact_targets = min(config.data.reenact_targets, 1)
    config.train.num_steps = 2
    config.train.log_every = 1
    config.train.eval_every = 2
    config.checkpoint.every = 2
    return config


@pytest.fixture
def in_memory(monkeypatch):
    """`datasets.open_split` gives made-up people, different ones in each split."""

    def give(landmark_set):
        def open_split(config, split):
            stored = tuple(name for name in config.data.channels if name != "canonical")
            people = {"drivers": 5, "targets": 2, "clips": 2, "frames": 25, "seed": len(split)}
            source = make_source(**people, landmark_set=landmark_set, channels=stored)
            for record in source.records:
                for name in ("driver", "target", "video_id", "clip_id"):
                    record[name] = f"{split}-{record[name]}"
                if config.evaluate.protocol == "claimed_target":  # which leaves real videos out
                    record["generator"] = "made up"
            if config.data.reenact_targets:
                from fingerprint.data.record_sources import ReenactedSource

                return ReenactedSource(source, config.data.reenact_targets, config.seed)
            return source

        monkeypatch.setattr(datasets, "open_split", open_split)

    return give


def test_every_config_file_is_listed():
    names = {getattr(experiment, "values", experiment)[0] for experiment in (*EXPERIMENTS, *COMPARISONS)}
    assert {path.stem for path in CONFIGS.glob("*.py")} == names


@pytest.mark.parametrize(("name", "argument"), EXPERIMENTS)
def test_every_config_trains_two_steps(name, argument, in_memory, tmp_path):
    config = shrink(load_config(name, argument))
    in_memory(config.data.landmark_set)
    released = train.train(config, str(tmp_path))
    rows = [row for row in metrics_log.read(tmp_path) if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2] and all(np.isfinite(row["loss"]) for row in rows)
    assert all(row["anchors"] == 1.0 for row in rows)
    _, document, _ = checkpoint.load_model(released)
    assert document["normalization"] == config.data.normalization and document["thresholds"]
    assert document["training"]["fps"] == [25.0, 25.0, 25.0] and len(document["calibration"]["mated_quantiles"]) == 41
    assert {f"train-P{i:02d}" for i in range(5)} <= {person for _, person in document["identities"]}


@pytest.mark.parametrize(("name", "argument"), COMPARISONS)
def test_every_entry_of_a_comparison_names_a_data_set_network_and_loss_that_exist(name, argument, tmp_path):
    """On data sets and landmark sets that a builder gives; every network is shaped on them."""
    runs = compare.plan(load_config(name, argument), tmp_path)
    assert len({run.entry for run in runs}) > 1
    for run in runs:
        for config in (run.training, *run.tests.values()):
            builder, _, chosen = config.data.dataset.partition("/")
            module = importlib.import_module(f"data_builders.{builder}.{builder}_dataset_builder")
            if builder != "landmark_folder":  # whose configurations are named by whoever builds one
                assert chosen in {known.name for known in module.Builder.BUILDER_CONFIGS}
        config = run.training
        train.make_loss(config.loss)
        train.make_optimizer(config.optimizer, config.train.num_steps)
        model = registry.build({**config.model, "landmark_set": config.data.landmark_set})
        shape = (1, config.data.window.length, topology.get(config.data.landmark_set).num_vertices, 3)
        rows = jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct(shape[:2], bool)
        assert jax.eval_shape(model.init, jax.random.key(0), *rows)["params"]


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("compare_synthetic", "x"),
        ("compare_react68", "x"),
        ("amber_regions", "x"),
        ("amber_linkability", "x"),
        ("landmark_folder_tcn", "x"),
        ("landmark_folder_stgcn", "x"),
        ("quickstart", "x"),
        ("avaprintdb_gcn", "cremad_x"),
        ("landmark_folder_gcn", "x"),
        ("nvfair_tcn", "x"),
        ("amber_stgcn", "x"),
    ],
)
def test_an_unknown_config_string_lists_the_known_ones(name, argument):
    with pytest.raises(ValueError, match=r"known|wanted"):
        load_config(name, argument)


def poisoned_config():
    """A division by zero in the loss."""
    config = shrink(options.defaults())
    config.loss.temperature = 0.0
    return config


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_videos(in_memory, tmp_path):
    config = poisoned_config()
    in_memory("avaprintdb109")
    with pytest.raises(NonFinite, match=r"at step 1; videos in the batch: \['train-P0"):
        train.train(config, str(tmp_path))


def test_skipped_steps_leave_the_parameters_alone_and_are_counted(in_memory, tmp_path):
    config = poisoned_config()
    config.train.nonfinite = "skip"
    in_memory("avaprintdb109")
    train.train(config, str(tmp_path))
    rows = metrics_log.read(tmp_path)
    assert [row["skipped_nonfinite"] for row in rows if "skipped_nonfinite" in row] == [1, 1]
    flat, _, _ = checkpoint.load_model(tmp_path)
    model = train.registry.build({**config.model, "landmark_set": "avaprintdb109"})
    fresh = checkpoint.flatten(
        train.init_state(
            model,
            train.make_optimizer(config.optimizer, 2)[0],
            np.zeros((10, 109, 3)),
            0,
            loss="triplet",
            num_drivers=5,
        ).params
    )
    assert all(np.array_equal(flat[name], fresh[name]) for name in fresh)


def test_a_validation_that_a_stop_cut_short_is_made_up_for(in_memory, tmp_path, monkeypatch):
    config = shrink(options.defaults())
    config.train.num_steps = 4
    in_memory("avaprintdb109")
    with monkeypatch.context() as patched:
        patched.setattr(train.Validation, "run", lambda *args, **kwargs: None)
        with pytest.raises(workdir.Stopped, match="stopped at step 2"):
            train.train(config, str(tmp_path))
    train.train(config, str(tmp_path))
    rows = metrics_log.read(tmp_path)
    assert [row["step"] for row in rows if "validation/eer" in row] == [2, 4]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]


def test_a_split_that_shares_people_with_training_is_refused(in_memory, tmp_path, monkeypatch):
    config = shrink(options.defaults())
    config.data.validation_split = "train"
    in_memory("avaprintdb109")
    with pytest.raises(Exception, match="identit"):
        train.train(config, str(tmp_path))


def test_adam_decays_as_pytorch_does():
    """Decay goes through the gradient: with a zero gradient the first step is the learning rate against the sign of the
    weight."""
    config = options.defaults().optimizer
    config.update(
        {"name": "adam", "learning_rate": 0.1, "weight_decay": 0.01, "schedule": "constant", "clip_norm": 0.0}
    )
    optimizer, _ = train.make_optimizer(config, 10)
    params = {"w": jnp.array([2.0, -3.0])}
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    np.testing.assert_allclose(updates["w"], [-0.1, 0.1], rtol=1e-4)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("staircase", {0: 1.0, 49: 1.0, 50: 0.1, 99: 0.1, 100: 0.01}),
        ("constant", {0: 1.0, 99: 1.0}),
        ("step", {0: 1.0, 49: 1.0, 51: 0.1}),
        ("cosine", {0: 1.0, 50: 0.5, 100: 0.0}),
    ],
)
def test_schedules(schedule, expected):
    config = options.defaults().optimizer
    config.update({"learning_rate": 1.0, "schedule": schedule, "schedule_step": 50})
    _, rate = train.make_optimizer(config, 100)
    assert {step: pytest.approx(float(rate(step)), abs=1e-6) for step in expected} == expected


@pytest.mark.parametrize(("name", "value"), [("schedule", "linear"), ("name", "sgd")])
def test_unknown_optimiser_options_are_refused(name, value):
    config = options.defaults().optimizer
    config[name] = value
    with pytest.raises(ConfigError, match="known"):
        train.make_optimizer(config, 10)


def test_mean_cosine_is_one_when_all_embeddings_are_the_same():
    same = jnp.tile(jnp.array([[0.6, 0.8]]), (5, 1))
    assert float(train.mean_cosine(same)) == pytest.approx(1.0)
    assert float(train.mean_cosine(jnp.eye(4))) == pytest.approx(0.0)
