"""PyTorch's files of three kinds: read without running anything in them; what describes no tensors is refused."""

import contextlib
import itertools
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from torch_pickles import (
    mapping,
    module,
    name,
    number,
    ordered,
    sequence,
    tensor,
    text,
    write,
    write_legacy,
    write_torchscript,
    write_weights,
)

from fingerprint import torch_files
from fingerprint.errors import CheckpointError

WRITERS = {"zip": write, "before 1.6": write_legacy}


def arrays():
    rng = np.random.default_rng(0)
    return {
        "kernel": rng.normal(size=(3, 4)).astype(np.float32),
        "half": rng.normal(size=(2, 5)).astype(np.float16),
        "double": rng.normal(size=7),
        "count": np.array(9),
        "edges": rng.integers(0, 99, (2, 6)),
    }


def whole(described: bytes) -> bytes:
    return b"\x80\x02" + described + b"."


def equal(found: dict, wanted: dict) -> bool:
    same = (np.array_equal(found[key], value) and found[key].dtype == value.dtype for key, value in wanted.items())
    return list(found) == list(wanted) and all(same)


# ----------------------------------------------------------------------------------------------------------- what works


def test_tensors_are_read_as_written(tmp_path):
    assert equal(torch_files.read_tensors(write_weights(tmp_path / "a.pt", arrays())), arrays())
    read = torch_files.read_tensors(write_weights(tmp_path / "b.pt", arrays(), under="state_dict"))
    assert read["epoch"] == 7 and equal(read["state_dict"], arrays())


def test_the_format_before_pytorch_1_6_is_read(tmp_path):
    """Storages in another order than the tensors, one of them shared; PyTorch 0.3's tensors; parameters of all ages."""
    stored = {"94105427523408": np.arange(12, dtype=np.float32), "7": np.arange(4.0), "8": np.zeros(0, np.float32)}
    (key, shared), (other, double), (none, empty) = stored.items()
    plain = tensor(other, double, more=(b"N",), version=b"")
    described = {
        "whole": tensor(key, shared, more=(b"N",)),
        "double": plain,
        "parameter": name("torch._utils", "_rebuild_parameter") + sequence(plain, b"\x88", b"}") + b"R",
        "old parameter": name("torch.nn.parameter", "Parameter") + plain + b"\x85\x81" + sequence(b"\x88", b"N") + b"b",
        "tail": tensor(key, shared, offset=6, size=(2, 3), stride=(3, 1), more=(b"N",)),
        "empty": tensor(none, empty, more=(b"N",)),
    }
    in_file = {k: stored[k] for k in (other, none, key)}
    read = torch_files.read_tensors(write_legacy(tmp_path / "a.pth", whole(ordered(described)), in_file))
    expected = {"whole": shared, **dict.fromkeys(("double", "parameter", "old parameter"), double)}
    assert equal(read, {**expected, "tail": shared[6:].reshape(2, 3), "empty": empty})


def test_a_dict_in_order_as_python_2_pickled_it_is_read(tmp_path):
    pair = b"](U\x04sizec" + b"torch\nSize\n" + sequence(number(3), number(4)) + b"\x85Re"
    path = write(tmp_path / "a.pth", whole(name("collections", "OrderedDict") + b"](" + pair + b"e\x85R"))
    assert torch_files.read_tensors(path) == {"size": (3, 4)}


def test_torchscript_becomes_dicts_and_a_part_of_it_can_be_had(tmp_path):
    weights = {
        "visual.conv.weight": arrays()["half"],
        "visual.proj": arrays()["kernel"],
        "text.bias": arrays()["double"],
    }
    path = write_torchscript(tmp_path / "a.pt", weights)
    read = torch_files.read_tensors(path)
    assert read["training"] is False and read["visual"]["conv"]["training"] is False
    assert np.array_equal(read["visual"]["conv"]["weight"], weights["visual.conv.weight"])
    assert np.array_equal(read["text"]["bias"], weights["text.bias"])
    part = torch_files.read_tensors(path, "visual")
    assert np.array_equal(part["proj"], weights["visual.proj"]) and "text" not in part
    lacking = write(tmp_path / "c.pt", whole(module({"seen": module({}), "lost": tensor("9", np.zeros(2))})))
    assert torch_files.read_tensors(lacking, "seen") == {"training": False}  # what is not wanted is not looked for
    with pytest.raises(CheckpointError, match=r"a\.pt holds no audio"):
        torch_files.read_tensors(path, "audio")
    ints = name("torch.jit._pickle", "build_intlist") + b"](" + number(3) + number(5) + b"e\x85R"
    assert torch_files.read_tensors(write(tmp_path / "b.pt", whole(module({"sizes": ints}))))["sizes"] == [3, 5]


def test_strides_and_offsets_are_followed(tmp_path):
    values = np.arange(12, dtype=np.float32)
    views = {
        "transposed": (tensor("0", values, size=(4, 3), stride=(1, 4)), values.reshape(3, 4).T),
        "shifted": (tensor("0", values, offset=5, size=(2, 3), stride=(3, 1)), values[5:11].reshape(2, 3)),
        "empty": (tensor("0", values, size=(0, 4), stride=(4, 1)), np.zeros((0, 4))),
        "scalar": (tensor("0", values, offset=3, size=(), stride=()), np.float32(3)),
    }
    pickled = whole(mapping({key: described for key, (described, _) in views.items()}))
    read = torch_files.read_tensors(write(tmp_path / "a.pt", pickled, {"0": values}))
    for key, (_, expected) in views.items():
        assert np.array_equal(read[key], expected), key


@pytest.mark.parametrize("zipped", [True, False])
def test_what_pytorch_writes_is_read(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    state = {key: torch.from_numpy(value) for key, value in arrays().items()}
    beside = {"epoch": 3, "val_loss": float("inf"), "flag": True, "list": [1, None]}
    kernel = torch.nn.Parameter(state["kernel"].T)
    saved = {"state": state, "linear": torch.nn.Linear(2, 3).state_dict(), "parameter": kernel, **beside}
    torch.save(saved, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    read = torch_files.read_tensors(tmp_path / "a.pt")
    assert equal(read["state"], arrays()) and {key: read[key] for key in beside} == beside
    assert np.array_equal(read["parameter"], arrays()["kernel"].T)
    assert read["linear"]["weight"].shape == (3, 2)


def test_what_torchscript_writes_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.Sequential(torch.nn.Linear(5, 4).half()))
    network.register_buffer("count", torch.tensor(9))
    torch.jit.script(network).save(str(tmp_path / "a.pt"))
    read = torch_files.read_tensors(tmp_path / "a.pt")
    assert read["count"] == 9 and np.array_equal(read["0"]["weight"], network[0].weight.detach().numpy())
    assert np.array_equal(read["1"]["0"]["bias"], network[1][0].bias.detach().numpy())


def test_a_storage_is_held_once_however_many_tensors_share_it(tmp_path):
    values = np.zeros(1 << 20, np.float32)
    views = {f"v{i}": tensor("0", values, size=(2, 1 << 19), stride=(1, 2)) for i in range(50)}
    path = write(tmp_path / "a.pt", whole(mapping(views)), {"0": values})
    tracemalloc.start()
    read = torch_files.read_tensors(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(read) == 50 and most < 3 * values.nbytes


# ------------------------------------------------------------------------------------------------------ what is refused


def payloads(sentinel):
    command = f"touch {sentinel}"
    argument = text(command)
    system = name("posix", "system")
    called = system + sequence(argument) + b"R"
    return {
        "reduce": called,
        "reduce os": name("os", "system") + sequence(argument) + b"R",
        "stack global": text("posix") + text("system") + b"\x93" + sequence(argument) + b"R",
        "memoized name": system + b"q\x01" + b"0" + b"h\x01" + sequence(argument) + b"R",
        "inst": b"(" + argument + b"iposix\nsystem\n",
        "obj": b"(" + system + argument + b"o",
        "newobj": system + sequence(argument) + b"\x81",
        "newobj ex": system + sequence(argument) + b"}" + b"\x92",
        "build": name("collections", "OrderedDict") + b")R" + called + b"b",
        "state of a module": name("__torch__", "Made") + b")\x81" + called + b"b",
        "a module with arguments": name("__torch__", "Made") + sequence(argument) + b"\x81",
        "a parameter of no tensor": name("torch.nn.parameter", "Parameter") + sequence(argument) + b"\x81",
        "eval in a tensor": name("builtins", "eval") + sequence(text(f"__import__('os').system({command!r})")) + b"R",
        "named like a tensor": text("torch._utils _rebuild_tensor_v2") + sequence(argument) + b"R",
        "extension": b"\x82\x01" + sequence(argument) + b"R",
        "text persistent id": b"Pposix\n",
        "unpickler's getattr": name("builtins", "getattr") + sequence(name("os", "system"), argument) + b"R",
    }


@pytest.mark.parametrize("how", payloads("x"))
@pytest.mark.parametrize("kind", WRITERS)
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path, how, kind):
    sentinel = tmp_path / "executed"
    payload = payloads(sentinel)[how]
    for body in (payload, mapping({"state_dict": ordered({"bias": payload})}), module({"net": payload})):
        path = WRITERS[kind](tmp_path / "evil.pt", b"\x80\x04" + body + b".")
        with pytest.raises(CheckpointError):
            torch_files.read_tensors(path)
    assert not sentinel.exists()


@pytest.mark.parametrize("part", ["magic", "protocol", "machine", "keys"])
def test_no_pickle_around_the_object_is_executed(tmp_path, part):
    evil = b"\x80\x02" + payloads(tmp_path / "executed")["reduce"] + b"."
    with pytest.raises(CheckpointError, match="calls posix system"):
        torch_files.read_tensors(write_legacy(tmp_path / "evil.pt", whole(b"}"), **{part: evil}))
    assert not (tmp_path / "executed").exists()


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
    for protocol, writer in itertools.product(range(6), WRITERS.values()):
        path = writer(tmp_path / f"{protocol}.pt", (tmp_path / f"{protocol}.pkl").read_bytes())
        with pytest.raises(CheckpointError):
            torch_files.read_tensors(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offset": 10}, "outside its storage"),
        ({"size": (4, 5)}, "outside its storage"),
        ({"offset": -1}, "outside its storage"),
        ({"stride": (-4, 1)}, "outside its storage"),
        ({"size": (-3, 4)}, "outside its storage"),
        ({"size": (1 << 30, 1 << 20), "stride": (0, 0)}, "larger than its storage"),
        ({"count": 11}, "outside its storage"),
        ({"count": 13}, "holds 12 values, wanted 13"),
        ({"kind": "QUInt8Storage"}, "unknown tensor storage"),
        ({"more": (b"N", b"N")}, "unknown tensor storage"),
        ({"more": (sequence(text("0"), number(0), number(3)),)}, "unknown tensor storage"),
        ({"size": (3, 4, 1)}, "no whole PyTorch checkpoint"),
    ],
)
def test_tensors_that_do_not_fit_their_storage_are_refused(tmp_path, options, message, kind):
    values = np.zeros((3, 4), np.float32)
    path = WRITERS[kind](tmp_path / "a.pt", whole(mapping({"a": tensor("0", values, **options)})), {"0": values})
    with pytest.raises(CheckpointError, match=message):
        torch_files.read_tensors(path)


def test_a_storage_of_two_types_is_refused(tmp_path):
    values = np.zeros(4, np.float32)
    both = mapping({"a": tensor("0", values), "b": tensor("0", values, count=2, size=(2,), kind="LongStorage")})
    with pytest.raises(CheckpointError, match="storage 0 is said to be"):
        torch_files.read_tensors(write(tmp_path / "a.pt", whole(both), {"0": values}))


def test_files_that_are_no_checkpoint_are_refused(tmp_path):
    content = write_weights(tmp_path / "whole.pt", arrays()).read_bytes()
    cases = {
        "empty.pt": b"",
        "text.pt": b"not a zip",
        "half.pt": content[: len(content) // 2],
        "headless.pt": content[100:],
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
    for writer in WRITERS.values():
        with pytest.raises(CheckpointError, match="no whole PyTorch checkpoint"):
            torch_files.read_tensors(writer(tmp_path / "missing.pt", whole(missing)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"magic": b"\x80\x02K\x07."}, "neither a zip nor of the format before PyTorch 1.6"),
        ({"protocol": b"\x80\x02K\x07."}, "neither a zip nor of the format before PyTorch 1.6"),
        ({"machine": whole(mapping({"little_endian": b"\x89"}))}, "little-endian"),
        ({"keys": b"\x80\x02]."}, "no whole PyTorch checkpoint"),
        ({"keys": whole(b"](" + text("1") + b"e")}, "no whole PyTorch checkpoint"),
        ({"values": b""}, "no whole PyTorch checkpoint"),
        ({"values": b"\4" + bytes(7) + bytes(15)}, "storage 0 of 4 values reaches outside the file"),
        ({"values": b"\xff" * 8 + bytes(16)}, "storage 0 of -1 values reaches outside the file"),
        ({"values": b"\xff" * 7 + b"\x7f" + bytes(16)}, "reaches outside the file"),
        ({"values": b"\3" + bytes(7) + bytes(16)}, "holds 3 values, wanted 4"),
    ],
)
def test_a_broken_file_of_the_format_before_1_6_is_refused(tmp_path, changes, message):
    values = np.zeros(4, np.float32)
    path = write_legacy(tmp_path / "a.pth", whole(mapping({"a": tensor("0", values)})), {"0": values})
    assert torch_files.read_tensors(path)["a"].shape == (4,)
    write_legacy(path, whole(mapping({"a": tensor("0", values)})), {"0": values}, **changes)
    with pytest.raises(CheckpointError, match=message):
        torch_files.read_tensors(path)


def test_damage_ends_in_our_error_or_a_plain_reading(tmp_path):
    rng = np.random.default_rng(0)
    stored = {str(i): value for i, value in enumerate(arrays().values())}
    described = ordered({key: tensor(str(i), value) for i, (key, value) in enumerate(arrays().items())})
    content = write_legacy(tmp_path / "a.pth", whole(described), stored).read_bytes()
    for _ in range(200):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), rng.integers(1, 4)):
            damaged[position] = rng.integers(256)
        (tmp_path / "b.pth").write_bytes(damaged)
        with contextlib.suppress(CheckpointError):
            torch_files.read_tensors(tmp_path / "b.pth")


def test_nodes_in_nodes_make_no_endless_work(tmp_path):
    """A list of a list of ... each ten times its inner one; and a list that holds itself."""
    doubled = b"]" + b"q\x00"
    for level in range(1, 60):
        doubled += b"](" + bytes([ord("h"), level - 1]) * 10 + b"eq" + bytes([level])
    listed = torch_files.read_tensors(write(tmp_path / "a.pt", b"\x80\x02" + doubled + b"."))
    assert len(listed) == 10 and listed[0] is listed[9]
    with pytest.raises(CheckpointError, match="no whole PyTorch checkpoint"):
        torch_files.read_tensors(write(tmp_path / "b.pt", whole(b"]q\x00h\x00a")))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_files, "_MAX_BYTES", 1 << 16)
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", b"\0" * (1 << 20))
    with pytest.raises(CheckpointError, match="unpacks to more than 65536 bytes"):
        torch_files.read_tensors(tmp_path / "bomb.pt")
    monkeypatch.setattr(torch_files, "_MAX_INSTRUCTIONS", 1000)
    with pytest.raises(CheckpointError, match="more than 1,000 instructions"):
        torch_files.read_tensors(write(tmp_path / "objects.pt", b"\x80\x02" + b"]" * 1000 + b"."))
    with pytest.raises(CheckpointError, match="more than 1,000 instructions"):
        torch_files.read_tensors(write_legacy(tmp_path / "objects.pth", b"\x80\x02" + b"]" * 1000 + b".", {}))
    monkeypatch.setattr(torch_files, "_MAX_PICKLE_BYTES", 1 << 10)
    with pytest.raises(CheckpointError, match=r"data.pkl unpacks to more than 1024 bytes"):
        torch_files.read_tensors(write(tmp_path / "text.pt", b"\x80\x02X" + b"\x00\x08\x00\x00" + b"a" * 2048 + b"."))
    values = np.zeros(1 << 15, np.float32)
    path = write_legacy(tmp_path / "large.pth", whole(mapping({"a": tensor("0", values)})), {"0": values})
    with pytest.raises(CheckpointError, match="more than 65536 bytes"):
        torch_files.read_tensors(path)
