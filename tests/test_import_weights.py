"""Released `.pt` checkpoints: read without running anything in them; what is not the network's weights is refused."""

import hashlib
import json

import jax
import numpy as np
import pytest
from sources import make_source
from torch_pickles import mapping, name, number, sequence, tensor, text, write

from fingerprint import checkpoint, embed, import_weights, torch_files
from fingerprint.errors import CheckpointError
from fingerprint.landmarks import topology
from fingerprint.models import registry

HIDDEN, FEATURES = 3, 5


def weights(**changes):
    rng = np.random.default_rng(0)
    edges = topology.get("avaprintdb109").edges.T.astype(np.int64)
    state = {"base_edge_index": np.concatenate([edges, edges[::-1]], axis=1)}
    for layer, (n, out) in {"gcn1": (3, HIDDEN), "gcn2": (HIDDEN, HIDDEN), "gcn3": (HIDDEN, FEATURES)}.items():
        state |= {f"{layer}.lin.weight": rng.normal(size=(out, n)), f"{layer}.bias": rng.normal(size=out)}
    state["temporal_pool.query"] = rng.normal(size=FEATURES)
    return {
        key: value if value.dtype == np.int64 else value.astype(np.float32) for key, value in state.items()
    } | changes


def write_state(path, state: dict, **more: bytes):
    arrays = {str(i): value for i, value in enumerate(state.values())}
    pickled = mapping({key: tensor(str(i), value) for i, (key, value) in enumerate(state.items())})
    return write(path, b"\x80\x02" + mapping({"model_state_dict": pickled, "epoch": number(7), **more}) + b".", arrays)


# ----------------------------------------------------------------------------------------------------------- what works


def test_an_imported_model_embeds(tmp_path, capsys):
    path = write_state(tmp_path / "a.pt", weights())
    assert import_weights.main([str(path), "--out", str(tmp_path / "model"), "--window", "8", "--stride", "4"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "model")
    released = embed.open_model(tmp_path / "model", batch_size=4)
    source = make_source(drivers=2, targets=1, clips=1, frames=16)
    found = released.embedder.split(released.params, source)
    assert found.vector.shape == (6, FEATURES) and np.allclose(np.linalg.norm(found.vector, axis=1), 1, atol=1e-5)
    document = json.loads((tmp_path / "model" / "model.json").read_text())["document"]
    assert document["window"] == {"length": 8, "stride": 4} and document["normalization"] == "published"
    assert document["provenance"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert document["provenance"]["epoch"] == 7 and document["landmark_set"] == "avaprintdb109"


@pytest.mark.parametrize("released", ["cremad_liveportrait", "ravdess_gagavatar"])
def test_released_checkpoints_become_models_that_embed_as_released(released, shared, tmp_path):
    folder = shared / "parity" / "avaprintdb_graph"
    import_weights.import_avaprintdb(folder / f"checkpoint_graph_trained_{released}.pt", tmp_path / "model")
    model = embed.open_model(tmp_path / "model")
    assert model.num_parameters == 21_312 and model.embedder.spec.length == 70 and model.embedder.spec.stride == 35
    with np.load(folder / f"reference_{released}.npz", allow_pickle=False) as reference:
        windows, expected = reference["windows"], reference["embeddings"]
    network = registry.build({**model.document["model"], "landmark_set": model.document["landmark_set"]})
    found = jax.jit(network.apply)({"params": model.params}, windows, np.ones(windows.shape[:2], bool))
    assert np.abs(found.vector - expected).max() < 1e-5


# ------------------------------------------------------------------------------------------------------ what is refused


def test_a_malicious_pickle_is_refused_and_makes_no_model(tmp_path):
    called = name("posix", "system") + sequence(text(f"touch {tmp_path / 'executed'}")) + b"R"
    body = mapping({"model_state_dict": mapping({"gcn1.bias": called})})
    path = write(tmp_path / "evil.pt", b"\x80\x04" + body + b".")
    with pytest.raises(CheckpointError, match="calls posix system"):
        import_weights.import_avaprintdb(path, tmp_path / "model")
    assert not (tmp_path / "executed").exists() and not (tmp_path / "model").exists()


def test_nothing_of_a_mutated_pickle_gets_through_but_our_errors(tmp_path):
    """Random damage to pickle or zip ends in a CheckpointError or in a plain reading, never in another error."""
    rng = np.random.default_rng(0)
    whole = write_state(tmp_path / "a.pt", weights()).read_bytes()
    start = whole.index(b"data.pkl") + 8
    end = start + whole[start:].index(b"PK")
    for number_of_try in range(400):
        damaged = bytearray(whole)
        low, high = (start, end) if number_of_try % 2 else (0, len(whole))
        for position in rng.integers(low, high, rng.integers(1, 4)):
            damaged[position] = rng.integers(256)
        # Storages and pickle carry a checksum in the zip: rewritten, so that the damage reaches the reader.
        path = tmp_path / "b.pt"
        if number_of_try % 2:
            arrays = {str(i): value for i, value in enumerate(weights().values())}
            path = write(path, bytes(damaged[start:end]), arrays)
        else:
            path.write_bytes(damaged)
        try:
            read = torch_files.read_tensors(path)
            import_weights.avaprintdb_params(read["model_state_dict"] if isinstance(read, dict) else {})
        except (CheckpointError, KeyError) as error:
            assert isinstance(error, CheckpointError) or "model_state_dict" in str(error)


def without(state, *keys):
    return {key: value for key, value in state.items() if key not in keys}


WRONG = {
    "missing": (without(weights(), "gcn2.bias"), "missing .'gcn2.bias'"),
    "extra": (weights(**{"gcn4.bias": np.zeros(2, np.float32)}), "extra .'gcn4.bias'"),
    "not a number": (weights(**{"gcn1.bias": np.array([0, np.nan, 0], np.float32)}), "not finite"),
    "infinite": (weights(**{"temporal_pool.query": np.full(FEATURES, np.inf, np.float32)}), "not finite"),
    "bias shape": (weights(**{"gcn2.bias": np.zeros(HIDDEN + 1, np.float32)}), "do not follow one another"),
    "kernel shape": (weights(**{"gcn2.lin.weight": np.zeros((HIDDEN, 9), np.float32)}), "do not follow one another"),
    "query shape": (weights(**{"temporal_pool.query": np.zeros(7, np.float32)}), "do not follow one another"),
    "two coordinates": (weights(**{"gcn1.lin.weight": np.zeros((HIDDEN, 2), np.float32)}), "do not follow one another"),
    "flat kernel": (weights(**{"gcn1.lin.weight": np.zeros(9, np.float32)}), "gcn1.lin.weight is .9,., not a tensor"),
    "scalar bias": (weights(**{"gcn1.bias": np.zeros((), np.float32)}), "gcn1.bias is .., not a tensor"),
    "flat graph": (weights(base_edge_index=np.zeros(8, np.int64)), "base_edge_index is .8,., not a tensor"),
    "other graph": (
        weights(base_edge_index=np.array([[0, 1], [1, 2]])),
        "graph has 2 edges that are not those of avaprintdb109",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_weights_of_another_network_are_refused(tmp_path, case):
    state, message = WRONG[case]
    path = write_state(tmp_path / "a.pt", state)
    with pytest.raises(CheckpointError, match=message):
        import_weights.import_avaprintdb(path, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_objects_that_are_no_tensors_are_refused():
    with pytest.raises(CheckpointError, match="gcn1.bias is dict, not a tensor"):
        import_weights.avaprintdb_params(weights(**{"gcn1.bias": {}}))


def test_a_graph_without_its_edges_is_taken_as_the_published_one(tmp_path):
    params = import_weights.avaprintdb_params(without(weights(), "base_edge_index"))
    assert params["gcn1"]["kernel"].shape == (3, HIDDEN) and params["gcn1"]["kernel"].dtype == np.float32
    assert np.array_equal(params["gcn3"]["kernel"], weights()["gcn3.lin.weight"].T)


def test_the_command_line_says_what_is_wrong(tmp_path, capsys):
    assert import_weights.main([str(tmp_path / "absent.pt"), "--out", str(tmp_path / "model")]) == 1
    assert "absent.pt does not exist" in capsys.readouterr().err
    path = write_state(tmp_path / "a.pt", weights())
    checkpoint.save_model(tmp_path / "model", {"a": np.zeros(1)}, {})
    assert import_weights.main([str(path), "--out", str(tmp_path / "model")]) == 1
    assert "exists; a released model is never overwritten" in capsys.readouterr().err
