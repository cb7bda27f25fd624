"""Channels beside the landmarks: the networks that read them see each, and depend on nothing they must not."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sources import make_source

from fingerprint.data.input_pipeline import normalized
from fingerprint.errors import ConfigError
from fingerprint.landmarks import topology
from fingerprint.landmarks.channels import NAMES, Layout
from fingerprint.models import registry

pytestmark = pytest.mark.usefixtures("quick_compilation")
SET, BATCH, TIME = "ibug68", 3, 34
LAYOUT = Layout(SET, NAMES)
NETWORKS = {
    "st_gcn": {"channels": (8, 12), "strides": (1, 2), "kernel": 3, "features": 8},
    "st_gcn anatomical": {
        "channels": (8, 12),
        "strides": (1, 1),
        "kernel": 3,
        "features": 8,
        "adjacency": "anatomical",
    },
    "temporal_cnn": {"clip": 31, "hidden": 16, "dim": 8, "every": 1},
}
ALL = pytest.mark.parametrize("name", ["st_gcn", "temporal_cnn"])
MASK = np.ones((BATCH, TIME), bool)
MASK[:, 5:7] = MASK[0, 0] = MASK[1, -1] = False


def made_up():
    source = make_source(BATCH, 1, 1, TIME, landmark_set=SET, channels=LAYOUT.stored)
    return np.stack([normalized(record, "box", LAYOUT) for record in source.records])


WINDOWS = made_up()


def network(name, landmark_set=SET, channels=NAMES):
    described = {"name": name.split()[0], "landmark_set": landmark_set, "extra_channels": channels}
    return registry.build({**described, **NETWORKS[name]})


@functools.cache
def compiled(name, landmark_set=SET, channels=NAMES):
    model = network(name, landmark_set, channels)

    def embed(params, windows, mask):
        return model.apply({"params": params}, windows, mask)

    def projection(params, windows, mask):
        return jnp.sum(embed(params, windows, mask).vector * jnp.arange(1.0, 9.0))

    return jax.jit(embed), jax.jit(jax.grad(projection, argnums=(0, 1)))


@functools.cache
def random_params(name):
    fresh = jax.jit(network(name).init)(jax.random.key(0), WINDOWS, MASK)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda p: p + 0.2 * rng.normal(size=p.shape).astype(np.float32), fresh)


def embed(name, windows=WINDOWS, mask=MASK, landmark_set=SET):
    return compiled(name, landmark_set)[0](random_params(name), windows, mask)


def difference(one, two):
    return max(float(jnp.abs(a - b).max()) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


@ALL
def test_every_number_of_every_valid_frame_is_seen_and_nothing_else(name):
    """But z of the landmarks, which these settings leave out, and the two zeros behind the blendshapes."""
    _, found = compiled(name)[1](random_params(name), WINDOWS, MASK)
    seen = np.asarray(found).reshape(BATCH, TIME, -1) != 0
    assert not seen[~MASK].any()
    per_frame = 3 * LAYOUT.num_points
    assert not seen[:, :, [per_frame + 52, per_frame + 53]].any()
    used = np.delete(np.arange(per_frame, seen.shape[2]), [52, 53])
    assert seen[MASK][:, used].mean() > 0.99
    points = seen[:, :, :per_frame].reshape(BATCH, TIME, 2, 68, 3)
    assert points[MASK][:, 1].mean() > 0.99  # canonical: x, y and z
    assert points[MASK][:, 0, :, :2].any(axis=0).all() and not points[:, :, 0, :, 2].any()


@ALL
def test_padding_and_what_masked_frames_hold_change_nothing(name):
    plain = embed(name)
    junk = np.full((BATCH, 5, *WINDOWS.shape[2:]), 37.0, np.float32)
    padded = embed(name, np.concatenate([WINDOWS, junk], axis=1), np.pad(MASK, ((0, 0), (0, 5))))
    assert difference(padded.vector, plain.vector) <= 5e-6 and not padded.attention[:, TIME:].any()
    spoilt = np.where(MASK[:, :, None, None], WINDOWS, np.float32(1e4))
    assert difference(embed(name, spoilt).vector, plain.vector) <= 5e-6


@ALL
def test_a_window_s_embedding_is_its_own_and_gradients_are_finite(name):
    order, mask = np.array([2, 0, 1]), MASK.copy()
    assert difference(embed(name, WINDOWS[order], MASK[order]).vector, embed(name).vector[order]) <= 5e-6
    mask[1] = False
    found = compiled(name)[1](random_params(name), WINDOWS, mask)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(found))
    assert not np.asarray(embed(name, mask=mask).vector)[1].any()


@pytest.mark.parametrize("name", ["st_gcn", "st_gcn anatomical"])
def test_permuting_the_vertices_with_the_topology_changes_nothing(monkeypatch, name):
    points, order = topology.get(SET), np.random.default_rng(3).permutation(68)
    place = np.argsort(order)
    edges = np.sort(place[points.edges], axis=1).astype(np.int32)
    permuted = dataclasses.replace(points, name=f"permuted for {name}", edges=edges)
    known = topology.get
    monkeypatch.setattr(topology, "get", lambda wanted: permuted if wanted == permuted.name else known(wanted))
    columns = np.concatenate([order, 68 + order, np.arange(LAYOUT.num_points, LAYOUT.num_vertices)])
    moved = embed(name, WINDOWS[:, :, columns], landmark_set=permuted.name)
    assert difference(moved.vector, embed(name).vector) < 1e-5
    half = embed(
        name, WINDOWS[:, :, np.where(columns < 68, columns, np.arange(len(columns)))], landmark_set=permuted.name
    )
    assert difference(half.vector, embed(name).vector) > 1e-3  # canonical points belong to their landmarks


def test_regions_choose_canonical_points_too():
    """What of the face is left out is left out of both; the blendshapes are of the whole face."""
    model = network("st_gcn").clone(regions="-lips")

    def value(windows):
        return jnp.sum(model.apply({"params": random_params("st_gcn")}, windows, MASK).vector[:, 0])

    seen = np.abs(jax.jit(jax.grad(value))(jnp.asarray(WINDOWS))).sum(axis=(0, 1, 3)) > 0
    lips = topology.get(SET).regions["lips"]
    assert sorted(np.flatnonzero(~seen).tolist()) == sorted([*lips, *(68 + lips)])


@pytest.mark.parametrize(("name", "outgoing"), [("st_gcn", 8), ("temporal_cnn", 16)])
def test_parameters_grow_by_what_the_channels_need(name, outgoing):
    """And without channels a network is what it was."""

    def count(channels):
        shape = (1, TIME, Layout(SET, channels).num_vertices, 3)
        model = network(name, channels=channels)
        shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape), jnp.ones(shape[:2], bool))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))

    for channels, width in (("pose",), 9), (("blendshapes",), 52), (("blendshapes", "pose"), 61):
        assert count(channels) == count(()) + width * outgoing


def test_windows_of_another_layout_are_refused():
    with pytest.raises(ConfigError, match="is data.channels that of the model"):
        network("st_gcn", channels=("pose",)).init(jax.random.key(0), WINDOWS, MASK)


def test_a_network_that_reads_landmarks_only_refuses_channels():
    with pytest.raises(ConfigError, match=r"'gcn_tap' reads landmarks.*asks for pose: take st_gcn or temporal_cnn"):
        registry.build({"name": "gcn_tap", "extra_channels": ("pose",)})
    assert registry.build({"name": "gcn_tap", "extra_channels": []}).landmark_set == "avaprintdb109"
