"""Released `.pt` checkpoints: read without running anything in them; what is not the network's weights is refused."""

import hashlib
import json
import struct
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest
from sources import make_source

from fingerprint import checkpoint, embed, import_weights, torch_files
from fingerprint.errors import CheckpointError
from fingerprint.landmarks import topology
from fingerprint.models import registry

HIDDEN, FEATURES = 3, 5
STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage", "float16": "HalfStorage"}

# --------------------------------------------------------------------------------------- a writer of pickles, by opcode


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def sequence(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def mapping(items: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def tensor(key: str, array: np.ndarray, count=None, offset=0, size=None, stride=None, kind=None) -> bytes:
    array = np.asarray(array, order="C")
    storage_type = name("torch", kind or STORAGES[array.dtype.name])
    storage = sequence(
        text("storage"), storage_type, text(key), text("cpu"), number(array.size if count is None else count)
    )
    size = array.shape if size is None else size
    stride = [s // array.itemsize for s in array.strides] if stride is None else stride
    parts = [storage + b"Q", number(offset), sequence(*map(number, size)), sequence(*map(number, stride))]
    hooks = name("collections", "OrderedDict") + b")R"
    return name("torch._utils", "_rebuild_tensor_v2") + sequence(*parts, b"\x89", hooks) + b"R"


def write(path, pickled: bytes, storages: dict[str, np.ndarray] | None = None, **members: bytes):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, array in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
        for member, content in members.items():
            archive.writestr(f"archive/{member}", content)
    return path


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


def test_tensors_are_read_as_written(tmp_path):
    state = weights()
    read = torch_files.read_tensors(write_state(tmp_path / "a.pt", state))
    assert read["epoch"] == 7 and list(read["model_state_dict"]) == list(state)
    for key, value in state.items():
        assert (
            np.array_equal(read["model_state_dict"][key], value) and read["model_state_dict"][key].dtype == value.dtype
        )


def test_strides_and_offsets_are_followed(tmp_path):
    values = np.arange(12, dtype=np.float32)
    views = {
        "transposed": (tensor("0", values, size=(4, 3), stride=(1, 4)), values.reshape(3, 4).T),
        "shifted": (tensor("0", values, offset=5, size=(2, 3), stride=(3, 1)), values[5:11].reshape(2, 3)),
        "empty": (tensor("0", values, size=(0, 4), stride=(4, 1)), np.zeros((0, 4))),
        "scalar": (tensor("0", values, offset=3, size=(), stride=()), np.float32(3)),
    }
    path = write(
        tmp_path / "a.pt", b"\x80\x02" + mapping({key: ops for key, (ops, _) in views.items()}) + b".", {"0": values}
    )
    read = torch_files.read_tensors(path)
    for key, (_, expected) in views.items():
        assert np.array_equal(read[key], expected), key


def test_what_pytorch_writes_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    state = {key: torch.from_numpy(value) for key, value in weights().items()}
    torch.save(
        {"epoch": 3, "model_state_dict": state, "val_loss": float("inf"), "flag": True, "list": [1, None]},
        tmp_path / "a.pt",
    )
    read = torch_files.read_tensors(tmp_path / "a.pt")
    assert (read["epoch"], read["val_loss"], read["flag"], read["list"]) == (3, float("inf"), True, [1, None])
    assert all(np.array_equal(read["model_state_dict"][key], value) for key, value in weights().items())


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


def payloads(sentinel):
    command = f"touch {sentinel}"
    argument = text(command)
    return {
        "reduce": name("posix", "system") + sequence(argument) + b"R",
        "reduce os": name("os", "system") + sequence(argument) + b"R",
        "stack global": text("posix") + text("system") + b"\x93" + sequence(argument) + b"R",
        "memoized name": name("posix", "system") + b"q\x01" + b"0" + b"h\x01" + sequence(argument) + b"R",
        "inst": b"(" + argument + b"iposix\nsystem\n",
        "obj": b"(" + name("posix", "system") + argument + b"o",
        "newobj": name("posix", "system") + sequence(argument) + b"\x81",
        "newobj ex": name("posix", "system") + sequence(argument) + b"}" + b"\x92",
        "build": name("collections", "OrderedDict")
        + b")R"
        + name("posix", "system")
        + sequence(argument)
        + b"R"
        + b"b",
        "eval in a tensor": name("builtins", "eval") + sequence(text(f"__import__('os').system({command!r})")) + b"R",
        "named like a tensor": text("torch._utils _rebuild_tensor_v2") + sequence(argument) + b"R",
        "extension": b"\x82\x01" + sequence(argument) + b"R",
        "text persistent id": b"Pposix\n",
        "unpickler's getattr": name("builtins", "getattr") + sequence(name("os", "system"), argument) + b"R",
    }


@pytest.mark.parametrize("how", payloads("x"))
@pytest.mark.parametrize("place", ["whole", "inside"])
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path, how, place):
    sentinel = tmp_path / "executed"
    payload = payloads(sentinel)[how]
    body = payload if place == "whole" else mapping({"model_state_dict": mapping({"gcn1.bias": payload})})
    path = write(tmp_path / "evil.pt", b"\x80\x04" + body + b".")
    out = tmp_path / "model"
    with pytest.raises(CheckpointError):
        import_weights.import_avaprintdb(path, out)
    assert not sentinel.exists() and not out.exists()


def test_pickle_s_own_reduce_is_refused_and_not_executed(tmp_path):
    """The textbook attack, as the standard library writes it."""
    script = (
        "import os, pickle, sys\n"
        "class Evil:\n"
        "    def __reduce__(self):\n"
        "        return os.system, (f'touch {sys.argv[1]}',)\n"
        "for protocol in range(6):\n"
        "    open(f'{sys.argv[2]}/{protocol}.pkl', 'wb').write(pickle.dumps({'model_state_dict': Evil()}, protocol))\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "executed"), str(tmp_path)], check=True, timeout=60)
    for protocol in range(6):
        path = write(tmp_path / f"{protocol}.pt", (tmp_path / f"{protocol}.pkl").read_bytes())
        with pytest.raises(CheckpointError):
            torch_files.read_tensors(path)
    assert not (tmp_path / "executed").exists()


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offset": 10}, "outside its storage"),
        ({"size": (4, 5)}, "outside its storage"),
        ({"offset": -1}, "outside its storage"),
        ({"stride": (-4, 1)}, "outside its storage"),
        ({"size": (-3, 4)}, "outside its storage"),
        ({"size": (1 << 30, 1 << 20), "stride": (0, 0)}, "larger than its storage"),
        ({"count": 11}, "holds 12 values, wanted 11"),
        ({"kind": "QUInt8Storage"}, "unknown tensor storage"),
        ({"size": (3, 4, 1)}, "no whole PyTorch zip checkpoint"),
    ],
)
def test_tensors_that_do_not_fit_their_storage_are_refused(tmp_path, options, message):
    values = np.zeros((3, 4), np.float32)
    path = write(tmp_path / "a.pt", b"\x80\x02" + mapping({"a": tensor("0", values, **options)}) + b".", {"0": values})
    with pytest.raises(CheckpointError, match=message):
        torch_files.read_tensors(path)


def test_files_that_are_no_checkpoint_are_refused(tmp_path):
    whole = write_state(tmp_path / "whole.pt", weights()).read_bytes()
    cases = {
        "empty.pt": b"",
        "text.pt": b"not a zip",
        "half.pt": whole[: len(whole) // 2],
        "headless.pt": whole[100:],
        "pickle.pt": b"\x80\x02}.",
    }
    for file, content in cases.items():
        (tmp_path / file).write_bytes(content)
        with pytest.raises(CheckpointError, match=file):
            torch_files.read_tensors(tmp_path / file)
    with pytest.raises(CheckpointError, match=r"absent.pt does not exist"):
        torch_files.read_tensors(tmp_path / "absent.pt")
    with pytest.raises(CheckpointError):
        torch_files.read_tensors(tmp_path)
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"found 0 data\.pkl, wanted 1"):
        torch_files.read_tensors(tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="little-endian"):
        torch_files.read_tensors(write(tmp_path / "big.pt", b"\x80\x02}.", byteorder=b"big"))
    with pytest.raises(CheckpointError, match="exhausted"):
        torch_files.read_tensors(write(tmp_path / "endless.pt", b"\x80\x02}"))
    missing = mapping({"a": tensor("9", np.zeros(2, np.float32))})
    with pytest.raises(CheckpointError, match="no whole PyTorch zip checkpoint"):
        torch_files.read_tensors(write(tmp_path / "missing.pt", b"\x80\x02" + missing + b"."))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_files, "_MAX_BYTES", 1 << 16)
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", b"\0" * (1 << 20))
    with pytest.raises(CheckpointError, match="unpacks to more than 65536 bytes"):
        torch_files.read_tensors(tmp_path / "bomb.pt")


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
