"""Parity with the released AVAPrintDB weights: embeddings, attention, loss and gradients as their own code has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fingerprint import import_weights, losses, torch_files
from fingerprint.models.gcn_tap import GCNTAP

RELEASED = ("cremad_liveportrait", "ravdess_gagavatar")


@pytest.fixture(scope="module", params=RELEASED)
def released(request, shared):
    folder = shared / "parity" / "avaprintdb_graph"
    state = torch_files.read_tensors(folder / f"checkpoint_graph_trained_{request.param}.pt")["model_state_dict"]
    with np.load(folder / f"reference_{request.param}.npz", allow_pickle=False) as reference:
        return import_weights.avaprintdb_params(state), dict(reference)


@pytest.mark.parametrize(("form", "chunk"), [("dense", 0), ("dense", 140), ("jraph", 0)])
def test_embeddings_and_attention(released, form, chunk):
    params, reference = jax.tree.map(jnp.asarray, released)
    windows = reference["windows"]
    model = GCNTAP(form=form, chunk=chunk)
    vector, attention = jax.jit(model.apply)({"params": params}, windows, jnp.ones(windows.shape[:2], bool))
    assert np.abs(vector - reference["embeddings"]).max() < 1e-5
    assert np.abs(attention - reference["attention"]).max() < 1e-5


@pytest.mark.parametrize(("form", "double"), [("dense", False), ("dense", True), ("jraph", False)])
def test_loss_and_gradients(released, form, double):
    params, reference = released

    def loss(params, windows):
        vector = GCNTAP(form=form).apply({"params": params}, windows, jnp.ones(windows.shape[:2], bool)).vector
        return losses.triplet_margin(vector[0:2], vector[2:4], vector[4:6], margin=1.0).mean()

    with jax.enable_x64(double):
        precision = np.float64 if double else np.float32
        arguments = jax.tree.map(lambda leaf: leaf.astype(precision), (params, reference["windows"]))
        value, gradient = jax.tree.map(np.asarray, jax.jit(jax.value_and_grad(loss))(*arguments))
    assert value.dtype == precision
    assert abs(float(value) - reference["triplet_loss_margin1"]) < 1e-5
    found = {"temporal_pool.query": gradient["temporal_pool"]["query"]}
    for layer in ("gcn1", "gcn2", "gcn3"):
        found |= {f"{layer}.lin.weight": gradient[layer]["kernel"].T, f"{layer}.bias": gradient[layer]["bias"]}
    wanted = {name.removeprefix("grad."): value for name, value in reference.items() if name.startswith("grad.")}
    assert set(found) == set(wanted)
    overall = max(np.abs(expected).max() for expected in wanted.values())
    for name, expected in wanted.items():
        # In single precision the last bias's gradient, a small difference of large sums, is good to 1e-4 of itself.
        largest = np.abs(expected).max() if double else overall
        assert np.abs(found[name] - expected).max() < 5e-5 * largest, name


def test_released_weights_have_the_published_number_of_parameters(released):
    params, _ = released
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 21_312
