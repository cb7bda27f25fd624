"""The temporal CNN: its size, what an embedding sees, and what it must not depend on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sources import face, smooth_motion

from fingerprint.data import augment
from fingerprint.errors import ConfigError, UnknownName
from fingerprint.landmarks import topology
from fingerprint.models import pairwise_distances
from fingerprint.models.embedding import embed_clips
from fingerprint.models.gcn_tap import GCNTAP
from fingerprint.models.temporal_cnn import SCHEDULES, SLOPE, TemporalCNN

pytestmark = pytest.mark.usefixtures("quick_compilation")
SET, BATCH, CLIP, DIM = "nvfair126", 3, 31, 8
TIME = CLIP + 4
VARIANTS = {
    "distances": {},
    "coordinates": {"features": "coordinates"},
    "with velocity": {"velocity": "with"},
    "velocity only": {"velocity": "only"},
    "window scale and centre": {"scale": "window", "centre": "window"},
}


def network(**options):
    return TemporalCNN(**{"clip": CLIP, "hidden": 16, "dim": DIM, "every": 40, **options})


def talking_heads(batch=BATCH, time=TIME, seed=0, landmark_set=SET):
    rng = np.random.default_rng(seed)
    heads = [face(rng, landmark_set) + smooth_motion(rng, time, landmark_set, size=0.2) for _ in range(batch)]
    return np.stack(heads).astype(np.float32)


WINDOWS = talking_heads()
MASK = np.ones((BATCH, TIME), bool)
MASK[:, 4:7] = MASK[0, -1] = MASK[1, 0] = False


@functools.cache
def compiled(**options):
    model = network(**options)

    def embed(params, windows, mask):
        return model.apply({"params": params}, windows, mask)

    def clips(params, windows, mask):
        return model.apply({"params": params}, windows, mask, method="clips")

    fresh = jax.jit(model.init)(jax.random.key(0), talking_heads(landmark_set=model.landmark_set), MASK)["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape).astype(np.float32), fresh)
    return params, jax.jit(embed), jax.jit(clips)


def embed(windows=WINDOWS, mask=MASK, **options):
    params, function, _ = compiled(**options)
    return function(params, windows, mask)


def clips(windows=WINDOWS, mask=MASK, **options):
    params, _, function = compiled(**options)
    return function(params, windows, mask)


def difference(one, two):
    return float(np.abs(np.asarray(one) - np.asarray(two)).max())


# ------------------------------------------------------------------------------------------------------ size and shapes


@pytest.mark.parametrize(("clip", "number"), [(71, 14_473_856), (51, 11_321_984), (31, 9_746_048), (1, 7_527_040)])
def test_published_sizes_have_the_expected_number_of_parameters(clip, number):
    """First layer 7,875 x 512, middle layers 3 x 512 x 512, last 3 x 512 x 128, each with a bias; norms of 2 x 512."""
    windows = jnp.zeros((1, clip, 126, 3))
    shapes = jax.eval_shape(TemporalCNN(clip=clip).init, jax.random.key(0), windows, jnp.ones((1, clip), bool))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == number
    taps, middle = (3 if clip > 1 else 1), len(SCHEDULES[clip]) - 1
    first, last = 7875 * 512 + 512, taps * 512 * 128 + 128
    assert number == first + middle * (taps * 512 * 512 + 512) + last + (middle + 1) * 2 * 512


@pytest.mark.parametrize("clip", [1, 31, 51, 71])
def test_the_published_schedules_see_exactly_the_clip(clip):
    assert 1 + 2 * sum(SCHEDULES[clip]) == clip == TemporalCNN(clip=clip).receptive_field


@pytest.mark.parametrize(("clip", "velocity"), [(1, "without"), (31, "only"), (51, "without"), (71, "without")])
def test_an_embedding_depends_on_the_frames_of_its_clip_and_no_others(clip, velocity):
    """By gradient: a clip as input gives one embedding; four frames more give four more, each of its own frames."""
    model = network(clip=clip, velocity=velocity)
    field = model.receptive_field
    windows, mask = talking_heads(batch=1, time=field + 4), np.ones((1, field + 4), bool)
    params = jax.jit(model.init)(jax.random.key(0), windows, mask)["params"]
    weight = np.random.default_rng(0).normal(size=DIM).astype(np.float32)

    def places(x):
        vector = model.apply({"params": params}, x, mask, method="clips").vector
        assert vector.shape == (1, 5, DIM)
        return vector[0] @ weight

    for number, found in enumerate(np.abs(jax.jit(jax.jacrev(places))(windows))):
        seen = np.flatnonzero(found[0].max(axis=(1, 2)) > 0)
        assert seen.tolist() == list(range(number, number + field))
    alone = (windows[:, :field], mask[:, :field])
    one = jax.eval_shape(lambda *a: model.apply({"params": params}, *a, method="clips"), *alone)
    assert one.vector.shape == (1, 1, DIM)


def test_longer_input_gives_the_embeddings_of_the_clips_in_it():
    mask = np.ones((BATCH, TIME), bool)
    whole = clips(mask=mask)
    assert np.asarray(whole.counts).all() and whole.vector.shape == (BATCH, 5, DIM)
    for place in range(5):
        alone = clips(WINDOWS[:, place : place + CLIP], mask[:, :CLIP])
        assert difference(alone.vector[:, 0], whole.vector[:, place]) < 2e-6


@pytest.mark.parametrize("name", VARIANTS)
def test_vectors_have_unit_length_and_attention_sums_to_one_over_valid_frames(name):
    vector, attention = embed(**VARIANTS[name])
    assert vector.shape == (BATCH, DIM) and attention.shape == (BATCH, TIME)
    assert np.allclose(np.linalg.norm(vector, axis=1), 1, atol=1e-6)
    assert np.allclose(attention.sum(axis=1), 1, atol=1e-6)
    assert not np.asarray(attention)[~MASK].any()
    found = clips(**VARIANTS[name])
    assert np.allclose(np.linalg.norm(found.vector, axis=2), 1, atol=1e-6)
    assert np.abs(vector[0] - vector[1]).max() > 1e-3


def test_the_vector_is_the_mean_of_counting_places_and_attention_their_share_of_frames():
    found, (vector, attention) = clips(), embed()
    assert found.counts.tolist() == [[True] * 4 + [False], [True] * 4 + [False], [True] * 5]
    for row in range(BATCH):
        counting = np.asarray(found.vector[row])[np.asarray(found.counts[row])]
        mean = counting.mean(axis=0)
        assert difference(vector[row], mean / np.linalg.norm(mean)) < 1e-6
        first, weight = np.argmax(MASK[row]), np.zeros(TIME)
        for place in range(len(counting)):
            weight[first + place : first + place + CLIP] += MASK[row, first + place : first + place + CLIP]
        assert difference(attention[row], weight / weight.sum()) < 1e-6


def test_a_network_without_clips_takes_the_window_as_one():
    model = GCNTAP(landmark_set=SET, hidden=4, features=DIM)
    params = model.init(jax.random.key(0), WINDOWS, MASK)
    mask = MASK.copy()
    mask[2] = False
    found = embed_clips(model, params, WINDOWS, mask)
    assert found.vector.shape == (BATCH, 1, DIM) and found.counts.tolist() == [[True], [True], [False]]
    assert difference(found.pooled(), model.apply(params, WINDOWS, mask).vector) < 1e-6
    ours = embed_clips(network(), {"params": compiled()[0]}, WINDOWS, MASK)
    assert difference(ours.vector, clips().vector) < 1e-6 and ours.pooled().shape == (BATCH, DIM)


# ------------------------------------------------------------------------------- against NumPy, layer by layer


def layer_by_layer(params, window, options):
    """The clips of one window without masked frames, in float64 loops."""
    model = network(**options)
    face = topology.get(SET).reference_shape[None, :, :2].astype(np.float64)
    if model.features == "coordinates":
        x = (window[:, :, :2] - face).reshape(len(window), -1)
    else:
        left, right = topology.get(SET).inner_eyes
        between = pairwise_distances.pairs(SET, "all", 40)

        def distances(points, over):
            found = np.linalg.norm(points[:, between[:, 0]] - points[:, between[:, 1]], axis=-1)
            unit = np.linalg.norm(points[:, left] - points[:, right], axis=-1)
            return found / (unit if over == "frame" else np.full(len(unit), unit.mean()))[:, None]

        x = distances(window[:, :, :2].astype(np.float64), model.scale) - distances(face, "frame")
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    if model.velocity != "without":
        change = np.diff(x, axis=0)
        x = np.concatenate([x[1:], change], axis=1) if model.velocity == "with" else change
    kernel = p["kernel0"]
    if model.centre == "window":
        x = x - x.mean(axis=0)
    if model.velocity == "with":
        kernel = np.concatenate([kernel[:, : model.hidden], kernel[:, model.hidden :]])

    def norm(x, name):
        groups = x.reshape(len(x), -1, 16)
        groups = (groups - groups.mean(-1, keepdims=True)) / np.sqrt(groups.var(-1, keepdims=True) + 1e-5)
        return groups.reshape(x.shape) * p[name]["scale"] + p[name]["bias"]

    def leaky(x):
        return np.where(x > 0, x, SLOPE * x)

    def conv(x, layer, dilation):
        kernel, bias = p[f"conv{layer}"]["kernel"], p[f"conv{layer}"]["bias"]
        out = []
        for t in range(dilation, len(x) - dilation):
            out.append(sum(x[t + (tap - 1) * dilation] @ kernel[tap] for tap in range(3)) + bias)
        return np.array(out)

    x = leaky(norm(x @ kernel + p["bias0"], "norm0"))
    *middle, last = SCHEDULES[CLIP]
    for layer, dilation in enumerate(middle, start=1):
        x = leaky(norm(conv(x, layer, dilation), f"norm{layer}") + x[dilation:-dilation])
    x = conv(x, len(middle) + 1, last)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("name", VARIANTS)
def test_equals_a_plain_transcription(name):
    options = VARIANTS[name]
    found = clips(mask=np.ones_like(MASK), **options)
    expected = layer_by_layer(compiled(**options)[0], WINDOWS[0], options)
    assert found.vector[0].shape == expected.shape and difference(found.vector[0], expected) < 2e-4


@pytest.mark.parametrize("features", ["distances", "coordinates"])
def test_depth_regions_and_centre_reach_the_network(features):
    plain = embed(features=features).vector
    for options in ({"depth": True}, {"regions": "-lips"}, {"centre": "nothing"}):
        model = network(features=features, **options)
        params = jax.jit(model.init)(jax.random.key(0), WINDOWS, MASK)["params"]
        assert params["kernel0"].shape == {
            ("distances", "depth"): (197, 16), ("distances", "regions"): (105, 16), ("distances", "centre"): (197, 16),
            ("coordinates", "depth"): (378, 16), ("coordinates", "regions"): (184, 16),
            ("coordinates", "centre"): (252, 16),
        }[features, next(iter(options))]  # fmt: skip
        assert difference(embed(features=features, **options).vector, plain) > 1e-3


# ----------------------------------------------------------------------------------- what the result does not depend on


@pytest.mark.parametrize("name", VARIANTS)
def test_padding_frames_change_nothing(name):
    options, junk = VARIANTS[name], np.full((BATCH, 2, 126, 3), 37.0, np.float32)
    plain = embed(**options)
    padded = embed(np.concatenate([junk, WINDOWS, junk], 1), np.pad(MASK, ((0, 0), (2, 2))), **options)
    assert difference(padded.vector, plain.vector) <= 2e-6
    assert difference(padded.attention[:, 2:-2], plain.attention) <= 1e-6
    assert not np.asarray(padded.attention)[:, [0, 1, -2, -1]].any()


def test_a_window_shorter_than_a_clip_is_embedded_the_same_however_it_is_padded():
    short, mask = WINDOWS[:, :12], np.ones((BATCH, 12), bool)
    plain = embed(short, mask)
    padded = embed(np.pad(short, ((0, 0), (3, 25), (0, 0), (0, 0))), np.pad(mask, ((0, 0), (3, 25))))
    assert np.allclose(np.linalg.norm(plain.vector, axis=1), 1, atol=1e-6)
    assert difference(padded.vector, plain.vector) <= 2e-6
    assert np.allclose(plain.attention, 1 / 12)


@pytest.mark.parametrize("junk", [0.0, 1e4])
def test_what_masked_frames_hold_does_not_matter(junk):
    spoilt = np.where(MASK[:, :, None, None], WINDOWS, np.float32(junk))
    assert difference(embed(spoilt).vector, embed().vector) <= 1e-6


def test_batch_composition_and_padding_rows_change_nothing():
    windows = np.concatenate([talking_heads(seed=9), WINDOWS[1:2], np.zeros((2, TIME, 126, 3), np.float32)])
    mask = np.concatenate([np.ones((3, TIME), bool), MASK[1:2], np.zeros((2, TIME), bool)])
    other = embed(windows, mask)
    assert difference(other.vector[3], embed().vector[1]) <= 2e-6
    assert not np.asarray(other.vector[4:]).any() and not np.asarray(other.attention[4:]).any()


@pytest.mark.parametrize("chunk", [1, 13, 1000])
def test_chunks_change_nothing(chunk):
    assert difference(embed(chunk=chunk).vector, embed().vector) <= 2e-6


@pytest.mark.parametrize(("scale", "by"), [("frame", "frame"), ("window", "window")])
def test_the_size_and_place_of_the_face_do_not_matter(scale, by):
    size = np.linspace(0.5, 2, TIME if by == "frame" else BATCH, dtype=np.float32)
    size = size[None, :, None, None] if by == "frame" else size[:, None, None, None]
    moved = WINDOWS * size + np.array([3.0, -2.0, 1.0], np.float32)
    # A gap is filled between its neighbours as they stand: between faces of two sizes, with another face.
    mask = np.ones_like(MASK) if by == "frame" else MASK
    assert difference(embed(moved, mask, scale=scale).vector, embed(mask=mask, scale=scale).vector) < 1e-4
    if scale == "window":
        per_frame = WINDOWS * np.linspace(0.5, 2, TIME, dtype=np.float32)[None, :, None, None]
        assert difference(embed(per_frame, scale=scale).vector, embed(scale=scale).vector) > 1e-3


def test_distances_do_not_see_a_mirror_twice_and_see_it_once():
    once = np.stack([augment.mirror(window, SET) for window in WINDOWS])
    twice = np.stack([augment.mirror(window, SET) for window in once])
    assert difference(embed(twice).vector, embed().vector) == 0
    assert difference(embed(once).vector, embed().vector) > 1e-3


def test_the_order_of_frames_matters_but_for_single_frames():
    order = np.random.default_rng(0).permutation(TIME)
    every = np.ones((BATCH, TIME), bool)
    assert difference(embed(WINDOWS[:, order], every).vector, embed(mask=every).vector) > 1e-2
    single = {"clip": 1}
    assert difference(embed(WINDOWS[:, order], every, **single).vector, embed(mask=every, **single).vector) < 2e-6


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_are_finite_also_where_nothing_is_valid_and_points_coincide(name):
    model, params = network(**VARIANTS[name]), compiled(**VARIANTS[name])[0]
    windows, mask = WINDOWS.copy(), MASK.copy()
    mask[1] = False
    windows[2, 3] = 0
    weight = np.random.default_rng(2).normal(size=(BATCH, DIM)).astype(np.float32)

    def total(params, windows):
        return jnp.sum(weight * model.apply({"params": params}, windows, mask).vector)

    for leaf in jax.tree.leaves(jax.jit(jax.grad(total, argnums=(0, 1)))(params, windows)):
        assert np.isfinite(np.asarray(leaf)).all()
    vector, attention = embed(windows, mask, **VARIANTS[name])
    assert not vector[1].any() and not attention[1].any() and np.isfinite(np.asarray(vector)).all()


@pytest.mark.parametrize("landmark_set", ["ibug68", "avaprintdb109"])
def test_any_landmark_set_will_do(landmark_set):
    windows = talking_heads(landmark_set=landmark_set)
    assert np.allclose(np.linalg.norm(embed(windows, landmark_set=landmark_set).vector, axis=1), 1, atol=1e-6)


def test_no_silent_change_of_type():
    params = compiled()[0]
    with jax.numpy_dtype_promotion("strict"):
        assert jax.jit(lambda *a: network().apply({"params": a[0]}, *a[1:]))(params, WINDOWS, MASK).vector.dtype == (
            jnp.float32
        )


@pytest.mark.parametrize(
    "options",
    [
        {"features": "pixels"},
        {"velocity": "fast"},
        {"centre": "nose"},
        {"clip": 70},
        {"scale": "video"},
        {"regions": "beard"},
    ],
)
def test_unknown_options_list_the_known_ones(options):
    with pytest.raises(UnknownName, match="known"):
        network(**options).init(jax.random.key(0), WINDOWS, MASK)


def test_a_width_that_does_not_divide_into_groups_is_refused():
    with pytest.raises(ConfigError, match="hidden is 24; wanted a multiple of 16"):
        network(hidden=24).init(jax.random.key(0), WINDOWS, MASK)
