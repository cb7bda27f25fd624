"""ST-GCN: what it must not depend on, what it must see, and its size."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sources import face, smooth_motion

from fingerprint.errors import ConfigError, FingerprintError, UnknownName
from fingerprint.landmarks import topology
from fingerprint.models import registry, st_gcn
from fingerprint.models.st_gcn import ADJACENCIES, STGCN

pytestmark = pytest.mark.usefixtures("quick_compilation")
BATCH, TIME, FEATURES, SET = 3, 9, 16, "ibug68"
SMALL = {"landmark_set": SET, "channels": (8, 16), "strides": (1, 1), "kernel": 3, "features": FEATURES}


def talking_heads(batch=BATCH, time=TIME, seed=0, landmark_set=SET):
    rng = np.random.default_rng(seed)
    heads = [face(rng, landmark_set) + smooth_motion(rng, time, landmark_set, size=0.2) for _ in range(batch)]
    return 0.3 * np.stack(heads).astype(np.float32)


WINDOWS = talking_heads()
MASK = np.random.default_rng(1).random((BATCH, TIME)) < 0.8


@functools.cache
def random_params(**options):
    """Random weights, biases too: they start at zero, where a bias in the wrong place would not show."""
    model = STGCN(**{**SMALL, **options})
    windows = talking_heads(landmark_set=model.landmark_set)
    fresh = jax.jit(model.init)(jax.random.key(0), windows, MASK)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda p: p + 0.2 * rng.normal(size=p.shape).astype(np.float32), fresh)


@functools.cache
def compiled(**options):
    model = STGCN(**{**SMALL, **options})

    def embed(params, windows, mask, train, index, key):
        rngs = {"dropout": jax.random.key(key)} if train else None
        return model.apply({"params": params}, windows, mask, train=train, example_index=index, rngs=rngs)

    def projection(trained, target, *rest):
        return jnp.sum(embed(*trained, *rest).vector * target)

    return jax.jit(embed, static_argnums=3), jax.jit(jax.grad(projection), static_argnums=3)


def embed(windows=WINDOWS, mask=MASK, *, train=False, key=7, index=None, params=None, **options):
    params = random_params(**options) if params is None else params
    index = np.arange(len(windows)) if index is None else index
    return compiled(**options)[0](params, windows, mask, train, index, key)


def gradient(windows=WINDOWS, mask=MASK, *, train=False, **options):
    """With respect to parameters and landmarks."""
    target = np.random.default_rng(2).normal(size=(len(windows), FEATURES)).astype(np.float32)
    trained = (random_params(**options), jnp.asarray(windows))
    return compiled(**options)[1](trained, target, mask, train, np.arange(len(windows)), 7)


def difference(one, two):
    return max(float(jnp.abs(a - b).max()) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


BOTH = pytest.mark.parametrize("adjacency", ADJACENCIES)
STRIDES = pytest.mark.parametrize("strides", [(1, 1), (2, 2)])

# ------------------------------------------------------------------------------------------------------ what it returns


@STRIDES
def test_embeddings_have_unit_length_and_attention_is_one_over_the_valid_frames(strides):
    vector, attention = map(np.asarray, embed(strides=strides))
    assert vector.shape == (BATCH, FEATURES) and attention.shape == (BATCH, TIME)
    assert np.allclose(np.linalg.norm(vector, axis=1), 1, atol=1e-6)
    assert np.allclose(attention.sum(axis=1), 1, atol=1e-6)
    assert not attention[~MASK].any() and (attention[MASK] > 0).all()
    if strides == (1, 1):
        assert np.allclose(attention, MASK / MASK.sum(axis=1, keepdims=True), atol=1e-7)
    assert np.abs(vector[0] - vector[1]).max() > 1e-2


def count(**options):
    model = STGCN(**options)
    vertices = topology.get(model.landmark_set).num_vertices
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 9, vertices, 3)), np.ones((1, 9), bool))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def by_hand(inputs: int, adaptive: bool) -> int:
    """Nine blocks of the published sizes, and the last map."""
    total, incoming = 0, inputs
    for outgoing in (64,) * 3 + (128,) * 3 + (256,) * 3:
        dim = max(8, incoming // 2)
        total += incoming * dim * 2 + dim if adaptive else 0  # queries with, keys without bias
        total += incoming * outgoing + outgoing  # map
        total += 9 * outgoing * outgoing + outgoing  # convolution over time
        total += 2 * 2 * outgoing  # normalisations
        if incoming != outgoing:
            total += incoming * outgoing + outgoing + 2 * outgoing
        incoming = outgoing
    return total + 256 * 256 + 256 + 2 * 256


@pytest.mark.parametrize(
    ("options", "inputs", "expected"),
    [
        ({"motion_scale": 0.0}, 2, 2_845_448),
        ({}, 4, 2_845_736),
        ({"adjacency": "anatomical", "motion_scale": 0.0}, 2, 2_652_352),
        ({"landmark_set": "avaprintdb109", "coordinates": 3}, 6, 2_846_024),
    ],
)
def test_published_sizes_have_so_many_parameters(options, inputs, expected):
    assert count(**options) == by_hand(inputs, options.get("adjacency") != "anatomical") == expected


@pytest.mark.parametrize("landmark_set", topology.names())
@BOTH
def test_any_landmark_set_goes(landmark_set, adjacency):
    """The parameters do not know how many points there are."""
    windows = talking_heads(batch=1, time=4, landmark_set=landmark_set)
    model = STGCN(**SMALL | {"landmark_set": landmark_set, "adjacency": adjacency})
    vector = jax.jit(model.apply)({"params": random_params(adjacency=adjacency)}, windows, np.ones((1, 4), bool)).vector
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_options_of_a_configuration_file_reach_the_network():
    """A released model's configuration comes back from JSON, where tuples are lists."""
    model = registry.build({"name": "st_gcn", "channels": [4, 8], "strides": [1, 2], "landmark_set": SET})
    assert model == STGCN(channels=(4, 8), strides=(1, 2), landmark_set=SET)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"adjacency": "learned"}, UnknownName, "adaptive, anatomical"),
        ({"strides": (1,)}, ConfigError, "2 channels and 1 strides"),
        ({"kernel": 4}, ConfigError, "odd"),
        ({"coordinates": 1}, ConfigError, "2 or 3"),
        ({"regions": "ears"}, UnknownName, "ears.*eyes.*lips"),
        ({"regions": "lips,-nose"}, FingerprintError, "not both"),
    ],
)
def test_impossible_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        STGCN(**SMALL | options).init(jax.random.key(0), WINDOWS, MASK)


# ------------------------------------------------------------------------------------------------------------ adjacency


def test_rows_of_the_adaptive_adjacency_sum_to_one():
    query, key = np.random.default_rng(0).normal(size=(2, BATCH, TIME, 68, 8)).astype(np.float32)
    found = np.asarray(st_gcn.adaptive_adjacency(query, key))
    assert found.shape == (BATCH, TIME, 68, 68) and (found >= 0).all()
    assert np.allclose(found.sum(axis=-1), 1, atol=1e-5)
    logits = query[1, 2] @ key[1, 2].T / np.sqrt(8)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(found[1, 2], expected, atol=1e-5)
    assert np.abs(found[1, 2] - found[1, 3]).max() > 0.01  # each frame has its own
    huge = np.asarray(st_gcn.adaptive_adjacency(100 * query, 100 * key))
    assert np.isfinite(huge).all() and np.allclose(huge.sum(axis=-1), 1, atol=1e-5)


def test_aggregation_takes_the_adjacency_of_its_own_frame():
    rng = np.random.default_rng(0)
    query, key, x = (rng.normal(size=(5, BATCH, TIME, dim)).astype(np.float32) for dim in (4, 4, 3))
    found = np.asarray(st_gcn.attend(query, key, x))
    for b in range(BATCH):
        for t in (0, TIME - 1):
            adjacency = np.asarray(st_gcn.adaptive_adjacency(query[:, b, t], key[:, b, t]))
            assert np.allclose(found[:, b, t], adjacency @ x[:, b, t], atol=1e-5)


@BOTH
@pytest.mark.parametrize("channels", [3, 12])
def test_aggregation_and_map_commute(adjacency, channels):
    """Of fewer channels or more, it is A (x W) + b."""
    fixed = None if adjacency == "adaptive" else st_gcn._within(SET, np.arange(68))
    layer = st_gcn.GraphConvolution(channels, fixed)
    x = np.random.default_rng(0).normal(size=(68, 2, 3, 6)).astype(np.float32)
    params = layer.init(jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda p: p + 0.1, params)
    kernel, bias = params["map"]["kernel"], params["map"]["bias"]
    for b in range(2):
        for t in range(3):
            a = fixed
            if fixed is None:
                query = x[:, b, t] @ params["query"]["kernel"] + params["query"]["bias"]
                a = st_gcn.adaptive_adjacency(query, x[:, b, t] @ params["key"])
            found = layer.apply({"params": params}, x)[:, b, t]
            assert np.allclose(found, a @ (x[:, b, t] @ kernel) + bias, atol=1e-4)


# ---------------------------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize("kernel", [3, 9])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_sees_the_kernel_s_frames_and_no_others(kernel, stride, monkeypatch):
    """By gradient. The normalisations look at the whole window by design and are taken out here."""
    monkeypatch.setattr(st_gcn.GroupNorm, "__call__", lambda self, x, mask: x)
    time, mask = 15, np.ones((1, 15), bool)
    block = st_gcn.Block(4, stride, kernel, 0.0, None)
    x = np.random.default_rng(0).normal(size=(5, 1, time, 4)).astype(np.float32)
    params = block.init(jax.random.key(0), x, mask, None, 0)["params"]
    middle = 8 // stride

    def value(x):
        y, _, _ = block.apply({"params": params}, x, mask, None, 0)
        return jnp.sum(y[:, 0, middle])

    seen = np.abs(jax.jit(jax.grad(value))(x)).sum(axis=(0, 1, 3)) > 0
    assert np.flatnonzero(seen).tolist() == list(range(8 - kernel // 2, 8 + kernel // 2 + 1))


@BOTH
def test_the_order_of_frames_matters(adjacency):
    order = np.random.default_rng(0).permutation(TIME)
    for motion_scale in (0.0, 20.0):
        options = {"adjacency": adjacency, "motion_scale": motion_scale}
        plain, shuffled = embed(**options), embed(WINDOWS[:, order], MASK[:, order], **options)
        assert difference(shuffled.vector, plain.vector) > 1e-2


@STRIDES
def test_every_valid_frame_is_seen_and_no_masked_one(strides):
    _, found = gradient(strides=strides)
    assert np.array_equal(np.abs(found).sum(axis=(2, 3)) > 0, MASK)


def test_differences_are_between_valid_neighbours():
    model = STGCN(**SMALL, position_scale=1.0, motion_scale=2.0)
    x, mask = np.random.default_rng(0).normal(size=(4, 1, 5, 2)).astype(np.float32), np.array([[1, 1, 0, 1, 1]], bool)
    x = x * mask[..., None]
    found = np.asarray(model._channels(x, mask))
    assert np.array_equal(found[..., :2], x)
    expected = np.zeros_like(x)
    expected[:, 0, 1], expected[:, 0, 4] = 2 * (x[:, 0, 1] - x[:, 0, 0]), 2 * (x[:, 0, 4] - x[:, 0, 3])
    assert np.allclose(found[..., 2:], expected, atol=1e-6)


# ----------------------------------------------------------------------------------- what the result does not depend on


@BOTH
@STRIDES
def test_padding_frames_change_nothing(adjacency, strides):
    options = {"adjacency": adjacency, "strides": strides}
    junk = np.full((BATCH, 5, 68, 3), 37.0, np.float32)
    padded = embed(np.concatenate([WINDOWS, junk], 1), np.pad(MASK, ((0, 0), (0, 5))), **options)
    plain = embed(**options)
    assert difference(padded.vector, plain.vector) <= 2e-6
    assert difference(padded.attention[:, :TIME], plain.attention) <= 1e-6 and not padded.attention[:, TIME:].any()


@pytest.mark.parametrize("train", [False, True])
def test_batch_composition_and_padding_rows_change_nothing(train):
    whole = embed(train=train)
    windows = np.concatenate([talking_heads(seed=9), WINDOWS[1:2], np.zeros((2, TIME, 68, 3), np.float32)])
    mask = np.concatenate([np.ones((3, TIME), bool), MASK[1:2], np.zeros((2, TIME), bool)])
    other = embed(windows, mask, train=train, index=np.array([8, 5, 4, 1, 0, 2]))
    assert difference(other.vector[3], whole.vector[1]) <= 2e-6
    assert not other.vector[4:].any() and not other.attention[4:].any()


@BOTH
@pytest.mark.parametrize("junk", [1e4, -3.0])
def test_what_masked_frames_hold_does_not_matter(adjacency, junk):
    spoilt = np.where(MASK[:, :, None, None], WINDOWS, np.float32(junk))
    assert difference(embed(spoilt, adjacency=adjacency), embed(adjacency=adjacency)) == 0
    assert difference(gradient(spoilt, adjacency=adjacency), gradient(adjacency=adjacency)) == 0


@BOTH
@pytest.mark.parametrize("train", [False, True])
def test_gradients_are_finite_also_of_windows_without_a_face(adjacency, train):
    mask = MASK.copy()
    mask[1] = False
    for windows in (WINDOWS, np.zeros_like(WINDOWS)):
        vector, attention = embed(windows, mask, train=train, adjacency=adjacency)
        assert not vector[1].any() and not attention[1].any() and np.isfinite(np.asarray(vector)).all()
        found = gradient(windows, mask, train=train, adjacency=adjacency)
        assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(found))
    nothing = gradient(WINDOWS, np.zeros_like(MASK), train=train, adjacency=adjacency)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(nothing))


@BOTH
@pytest.mark.parametrize("regions", ["all", "-lips"])
def test_permuting_the_vertices_with_the_topology_changes_nothing(monkeypatch, adjacency, regions):
    points = topology.get(SET)
    order = np.random.default_rng(3).permutation(68)
    place = np.argsort(order)
    name = f"permuted for {adjacency} {regions}"  # compiled once a name
    permuted = dataclasses.replace(
        points,
        name=name,
        edges=np.sort(place[points.edges], axis=1).astype(np.int32),
        regions={region: place[vertices] for region, vertices in points.regions.items()},
    )
    known, options = topology.get, {"adjacency": adjacency, "regions": regions}
    monkeypatch.setattr(topology, "get", lambda wanted: permuted if wanted == name else known(wanted))
    params = random_params(adjacency=adjacency)
    moved = embed(WINDOWS[:, :, order], params=params, landmark_set=name, **options)
    assert difference(moved, embed(params=params, **options)) < 5e-6
    if adjacency == "anatomical":  # and the graph is read
        other = embed(params=params, landmark_set=name, **options)
        assert difference(other.vector, embed(params=params, **options).vector) > 1e-3


# -------------------------------------------------------------------------------------------------------------- regions


@BOTH
def test_a_region_left_out_is_not_seen_and_all_others_are(adjacency):
    params, points = random_params(adjacency=adjacency), topology.get(SET)
    model = STGCN(**SMALL | {"adjacency": adjacency, "regions": "-eyes,-nose"})

    def value(windows):
        return jnp.sum(model.apply({"params": params}, windows, MASK).vector[:, 0])

    seen = np.abs(jax.jit(jax.grad(value))(jnp.asarray(WINDOWS))).sum(axis=(0, 1, 3)) > 0
    left_out = np.concatenate([points.regions[region] for region in ("left_eye", "right_eye", "nose")])
    assert np.array_equal(np.flatnonzero(~seen), np.sort(left_out))
    assert difference(embed(adjacency=adjacency, regions="-eyes,-nose"), embed(adjacency=adjacency)) > 1e-3


def test_depth_is_seen_where_asked():
    deeper = WINDOWS * np.array([1, 1, 2], np.float32)
    assert difference(embed(deeper), embed()) == 0
    assert difference(embed(deeper, coordinates=3), embed(coordinates=3)) > 1e-3


# -------------------------------------------------------------------------------------------------------------- dropout


@STRIDES
def test_an_example_s_mask_is_its_own_in_any_batch_and_order(strides):
    index, order = np.array([10, 3, 77]), np.array([2, 0, 1])
    whole = embed(train=True, index=index, strides=strides)
    turned = embed(WINDOWS[order], MASK[order], train=True, index=index[order], strides=strides)
    assert difference(turned.vector, whole.vector[order]) <= 2e-6
    assert difference(embed(train=True, index=index + 1, strides=strides).vector, whole.vector) > 1e-2


def test_masks_change_with_the_step_and_only_in_training():
    assert difference(embed(train=True, key=1).vector, embed(train=True, key=2).vector) > 1e-2
    assert difference(embed(train=True, key=1).vector, embed(train=True, key=1).vector) == 0
    assert difference(embed(train=True, dropout=0.0), embed()) < 1e-6
