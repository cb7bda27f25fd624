"""GCN + TAP: what it must not depend on, and that both forms of it are one network."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sources import face, smooth_motion

from fingerprint.errors import UnknownName
from fingerprint.landmarks import topology
from fingerprint.models.gcn_tap import FORMS, GCNTAP, LAST_DROPOUT

pytestmark = pytest.mark.usefixtures("quick_compilation")
BATCH, TIME, HIDDEN, FEATURES = 3, 8, 8, 16


def network(**options):
    return GCNTAP(**{"hidden": HIDDEN, "features": FEATURES, **options})


def talking_heads(batch=BATCH, time=TIME, seed=0, landmark_set="avaprintdb109"):
    rng = np.random.default_rng(seed)
    heads = [face(rng, landmark_set) + smooth_motion(rng, time, landmark_set, size=0.2) for _ in range(batch)]
    return np.stack(heads).astype(np.float32)


WINDOWS = talking_heads()
MASK = np.random.default_rng(1).random((BATCH, TIME)) < 0.8


@pytest.fixture(scope="module")
def params():
    """Random weights, biases too: they start at zero, where a bias in the wrong place would not show."""
    fresh = jax.jit(network().init)(jax.random.key(0), WINDOWS, MASK)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), fresh)


@functools.cache
def compiled(**options):
    """Embedding and gradient of a random projection, compiled: op by op these tests would take minutes."""
    model = network(**options)

    def embed(params, windows, mask, train, index, key):
        rngs = {"dropout": jax.random.key(key)} if train else None
        return model.apply({"params": params}, windows, mask, train=train, example_index=index, rngs=rngs)

    def projection(params, target, *rest):
        return jnp.sum(embed(params, *rest).vector * target)

    return jax.jit(embed, static_argnums=3), jax.jit(jax.grad(projection), static_argnums=4)


def embed(params, windows=WINDOWS, mask=MASK, *, train=False, key=7, index=None, **options):
    return compiled(**options)[0](
        params, windows, mask, train, np.arange(len(windows)) if index is None else index, key
    )


def gradient(params, windows=WINDOWS, mask=MASK, *, train=False, **options):
    target = np.random.default_rng(2).normal(size=(len(windows), FEATURES)).astype(np.float32)
    return compiled(**options)[1](params, target, windows, mask, train, np.arange(len(windows)), 7)


def difference(one, two):
    return max(float(jnp.abs(a - b).max()) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


def size(tree):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


# ------------------------------------------------------------------------------------------------------ what it returns


def test_embeddings_have_unit_length_and_attention_sums_to_one_over_valid_frames(params):
    vector, attention = embed(params)
    assert vector.shape == (BATCH, FEATURES) and attention.shape == (BATCH, TIME)
    assert np.allclose(np.linalg.norm(vector, axis=1), 1, atol=1e-6)
    assert np.allclose(attention.sum(axis=1), 1, atol=1e-6)
    assert not np.asarray(attention)[~MASK].any() and (np.asarray(attention)[MASK] > 0).all()


def test_published_sizes_have_the_published_number_of_parameters():
    shapes = jax.eval_shape(GCNTAP().init, jax.random.key(0), WINDOWS, MASK)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 21_312


def test_windows_of_different_heads_differ(params):
    vector = np.asarray(embed(params).vector)
    assert np.abs(vector[0] - vector[1]).max() > 1e-2


def test_a_window_with_one_valid_frame_is_that_frame_s_embedding(params):
    alone = np.zeros_like(MASK)
    alone[:, 3] = True
    one = embed(params, WINDOWS[:, 3:4], np.ones((BATCH, 1), bool))
    assert difference(embed(params, mask=alone).vector, one.vector) < 2e-6


@pytest.mark.parametrize("form", FORMS)
def test_input_scale_multiplies_the_landmarks(params, form):
    assert difference(embed(params, input_scale=5.0, form=form), embed(params, 5 * WINDOWS, form=form)) < 5e-6


def test_unknown_options_list_the_known_ones(params):
    with pytest.raises(UnknownName, match="dense, jraph"):
        embed(params, form="sparse")
    with pytest.raises(UnknownName, match="element, vertex"):
        embed(params, last_dropout="channel")


# --------------------------------------------------------------------------------------------------------- jraph, dense


@pytest.mark.parametrize("landmark_set", ["avaprintdb109", "ibug68"])
def test_jraph_and_dense_forms_are_one_network(params, landmark_set):
    windows = talking_heads(landmark_set=landmark_set)
    dense, jraph = (embed(params, windows, landmark_set=landmark_set, form=form) for form in FORMS)
    assert difference(dense, jraph) < 5e-6


def test_jraph_and_dense_forms_have_the_same_gradient(params):
    one, two = (gradient(params, form=form) for form in FORMS)
    assert difference(one, two) < 2e-5 * size(one)


@pytest.mark.parametrize("last_dropout", LAST_DROPOUT)
def test_jraph_and_dense_forms_drop_the_same(params, last_dropout):
    dense, jraph = (embed(params, train=True, form=form, last_dropout=last_dropout) for form in FORMS)
    assert difference(dense, jraph) < 5e-6
    assert difference(dense.vector, embed(params).vector) > 1e-2  # something was dropped


def test_jraph_and_dense_forms_have_the_same_gradient_under_dropout(params):
    one, two = (gradient(params, train=True, form=form) for form in FORMS)
    assert difference(one, two) < 2e-5 * size(one)


@pytest.mark.parametrize(
    ("chunk", "form"), [(1, "dense"), (5, "dense"), (8, "dense"), (24, "dense"), (100, "dense"), (5, "jraph")]
)
def test_chunks_change_nothing(params, chunk, form):
    assert difference(embed(params, chunk=chunk, form=form), embed(params, form=form)) < 2e-6


@pytest.mark.parametrize("last_dropout", LAST_DROPOUT)
def test_chunks_drop_the_same(params, last_dropout):
    options = {"train": True, "last_dropout": last_dropout}
    assert difference(embed(params, chunk=5, **options), embed(params, **options)) < 2e-6


def test_chunks_have_the_same_gradient(params):
    one, two = gradient(params, train=True, chunk=5), gradient(params, train=True)
    assert difference(one, two) < 1e-5 * size(two)


# ----------------------------------------------------------------------------------- what the result does not depend on


@pytest.mark.parametrize("form", FORMS)
def test_the_order_of_frames_does_not_matter(params, form):
    """It is a bag of poses: shuffling and reversing change nothing, which the shuffled-frames control relies on."""
    for order in (np.random.default_rng(0).permutation(TIME), np.arange(TIME)[::-1]):
        plain, shuffled = embed(params, form=form), embed(params, WINDOWS[:, order], MASK[:, order], form=form)
        assert difference(shuffled.vector, plain.vector) <= 1e-6
        assert difference(shuffled.attention, plain.attention[:, order]) <= 1e-6


@pytest.mark.parametrize("form", FORMS)
def test_padding_frames_change_nothing(params, form):
    junk = np.full((BATCH, 5, 109, 3), 37.0, np.float32)
    padded = embed(params, np.concatenate([WINDOWS, junk], 1), np.pad(MASK, ((0, 0), (0, 5))), form=form)
    plain = embed(params, form=form)
    assert difference(padded.vector, plain.vector) <= 1e-6
    assert difference(padded.attention[:, :TIME], plain.attention) <= 1e-6 and not padded.attention[:, TIME:].any()


@pytest.mark.parametrize("train", [False, True])
def test_batch_composition_and_padding_rows_change_nothing(params, train):
    whole = embed(params, train=train, index=np.arange(BATCH))
    windows = np.concatenate([talking_heads(seed=9), WINDOWS[1:2], np.zeros((2, TIME, 109, 3), np.float32)])
    mask = np.concatenate([np.ones((3, TIME), bool), MASK[1:2], np.zeros((2, TIME), bool)])
    other = embed(params, windows, mask, train=train, index=np.array([8, 5, 4, 1, 0, 2]))
    assert difference(other.vector[3], whole.vector[1]) <= 2e-6
    assert not other.vector[4:].any()


@pytest.mark.parametrize("junk", [0.0, 1e4, -3.0])
@pytest.mark.parametrize("form", FORMS)
def test_what_masked_frames_hold_does_not_matter(params, junk, form):
    spoilt = np.where(MASK[:, :, None, None], WINDOWS, np.float32(junk))
    assert difference(embed(params, spoilt, form=form), embed(params, form=form)) <= 1e-6
    one, two = gradient(params, spoilt, form=form), gradient(params, form=form)
    assert difference(one, two) < 1e-5 * size(two)


@pytest.mark.parametrize("train", [False, True])
def test_a_fully_masked_window_is_zero_with_a_finite_gradient(params, train):
    mask = MASK.copy()
    mask[1] = False
    vector, attention = embed(params, mask=mask, train=train)
    assert not vector[1].any() and not attention[1].any() and np.isfinite(np.asarray(vector)).all()
    found = gradient(params, mask=mask, train=train)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(found))
    nothing = gradient(params, mask=np.zeros_like(MASK), train=train)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(nothing))


@pytest.mark.parametrize("form", FORMS)
def test_permuting_the_vertices_with_the_topology_changes_nothing(params, monkeypatch, form):
    points = topology.get("avaprintdb109")
    order = np.random.default_rng(3).permutation(109)
    place = np.argsort(order)
    name = f"permuted for {form}"  # compiled once a name
    permuted = dataclasses.replace(points, name=name, edges=np.sort(place[points.edges], axis=1).astype(np.int32))
    known = topology.get
    monkeypatch.setattr(topology, "get", lambda wanted: permuted if wanted == name else known(wanted))
    moved = embed(params, WINDOWS[:, :, order], landmark_set=name, form=form)
    assert difference(moved, embed(params, form=form)) < 2e-6
    # And the graph is read: the same landmarks on the graph of other vertices are another embedding.
    assert difference(embed(params, landmark_set=name, form=form).vector, embed(params, form=form).vector) > 1e-3


# -------------------------------------------------------------------------------------------------------------- dropout


@pytest.mark.parametrize("last_dropout", LAST_DROPOUT)
@pytest.mark.parametrize("form", FORMS)
def test_an_example_s_mask_is_its_own_in_any_batch_and_order(params, form, last_dropout):
    options = {"train": True, "form": form, "last_dropout": last_dropout}
    index = np.array([10, 3, 77])
    whole = embed(params, index=index, **options)
    order = np.array([2, 0, 1])
    turned = embed(params, WINDOWS[order], MASK[order], index=index[order], **options)
    assert difference(turned.vector, whole.vector[order]) <= 2e-6
    assert difference(embed(params, index=index + 1, **options).vector, whole.vector) > 1e-2


def test_masks_change_with_the_step_and_only_in_training(params):
    assert difference(embed(params, train=True, key=1).vector, embed(params, train=True, key=2).vector) > 1e-2
    assert difference(embed(params, train=True, key=1).vector, embed(params, train=True, key=1).vector) == 0
    assert difference(embed(params, train=True, dropout=0.0), embed(params)) < 1e-6
    default = compiled()[0](params, WINDOWS, MASK, True, None, 7)
    assert difference(default, embed(params, train=True)) < 2e-6  # the default positions are 0, 1, …


@functools.cache
def pooling(last_dropout, train):
    """What is pooled from one frame, before it is scaled to unit length, under as many masks as rows."""
    model = network(last_dropout=last_dropout)

    def pooled(params, windows):
        _, captured = model.apply(
            {"params": params}, windows, jnp.ones(windows.shape[:2], bool), train=train,
            rngs={"dropout": jax.random.key(11)}, capture_intermediates=True,
        )  # fmt: skip
        return captured["intermediates"]["temporal_pool"]["__call__"][0][0]

    return jax.jit(pooled)


def pooled_samples(params, last_dropout, count=2000):
    windows = np.broadcast_to(WINDOWS[0, :1], (count, 1, 109, 3))
    return np.asarray(pooling(last_dropout, True)(params, windows), np.float64)


def test_vertex_and_element_dropout_have_the_same_law_in_each_channel(params):
    element, vertex = (pooled_samples(params, kind) for kind in LAST_DROPOUT)
    spread = np.sqrt(element.var(0) / len(element) + vertex.var(0) / len(vertex))
    assert (np.abs(element.mean(0) - vertex.mean(0)) < 5 * spread).all()
    assert np.abs(np.log(vertex.var(0) / element.var(0))).max() < 0.2
    for samples in (element, vertex):  # and the same skew, beyond mean and variance
        assert np.abs(((samples - samples.mean(0)) ** 3).mean(0) / samples.std(0) ** 3).max() < 0.5


def test_the_last_dropout_keeps_the_expectation(params):
    """With weights that make all that follows the first mask linear, masks go through in the mean."""
    linear = jax.tree.map(np.array, params)
    linear["gcn2"]["kernel"][:] = 0
    linear["gcn2"]["bias"] = np.abs(linear["gcn2"]["bias"])
    (expected,) = pooling("element", False)(linear, WINDOWS[:1, :1])
    for kind in LAST_DROPOUT:
        samples = pooled_samples(linear, kind)
        assert (np.abs(samples.mean(0) - expected) < 5 * samples.std(0) / np.sqrt(len(samples))).all()
        assert (samples.std(0) > 0).all()
