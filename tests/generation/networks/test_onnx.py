"""An ONNX file of another network is refused by its inputs, and what fails in one is told as the project tells it."""

import numpy as np
import pytest

from fingerprint.errors import WeightsMissing
from fingerprint.generation.networks import onnx

FLOAT, DOUBLE = 1, 11

pytest.importorskip("onnxruntime")


def message(*fields):
    """A protocol buffer of numbers below 128, texts and messages."""
    out = b""
    for place, value in fields:
        if isinstance(value, int):
            out += bytes([place << 3, value])
        else:
            value = value.encode() if isinstance(value, str) else value
            length = bytes([len(value) & 127 | 128, len(value) >> 7])
            out += bytes([place << 3 | 2]) + length + value
    return out


def written(path, *inputs):
    """A network that gives its first input back; each input: kind of number and shape, names for lengths left open."""

    def tensor(name, kind, shape):
        lengths = [(1, message((2 if isinstance(n, str) else 1, n))) for n in shape]
        return message((1, name), (2, message((1, message((1, kind), (2, message(*lengths)))))))

    node = message((1, "in0"), (2, "out"), (4, "Identity"))
    taken = [(11, tensor(f"in{i}", *entry)) for i, entry in enumerate(inputs)]
    graph = message((1, node), (2, "graph"), *taken, (12, tensor("out", *inputs[0])))
    path.write_bytes(message((1, 8), (7, graph), (8, message((2, 13)))))
    return path


def test_a_network_computes_on_inputs_in_order(tmp_path):
    path = written(tmp_path / "a.onnx", (FLOAT, ("frame", 3)), (FLOAT, (2,)))
    network = onnx.session(path, [(5, 3), (None,)], threads=1)
    x = np.arange(15, dtype=np.float32).reshape(5, 3)
    np.testing.assert_array_equal(onnx.run(network, x, np.zeros(2, np.float32))[0], x)


@pytest.mark.parametrize(
    "inputs",
    [
        [(FLOAT, (1, 3, 8, 9))],
        [(FLOAT, (1, 3, 8))],
        [(DOUBLE, (1, 3, 8, 8))],
        [(FLOAT, (1, 3, 8, 8)), (FLOAT, (1, 3, 8, 8))],
    ],
)
def test_other_inputs_are_refused_on_loading(tmp_path, inputs):
    path = written(tmp_path / "other.onnx", *inputs)
    with pytest.raises(
        WeightsMissing, match=r"other.onnx is another network.*in0: tensor.*wanted float32 \[1, any, 8, 8"
    ):
        onnx.session(path, [(1, None, 8, 8)])


def test_what_is_no_network_is_refused(tmp_path):
    for content in (b"", b"something else"):
        (tmp_path / "none.onnx").write_bytes(content)
        with pytest.raises(WeightsMissing, match="none.onnx is no network"):
            onnx.session(tmp_path / "none.onnx", [(1,)])


@pytest.mark.parametrize("given", [[np.zeros((4, 2), "f4")], [np.zeros((4, 3))], [np.zeros((4, 3), "f4")] * 2])
def test_a_network_that_fails_is_told_with_what_it_was_given(tmp_path, given):
    network = onnx.session(written(tmp_path / "a.onnx", (FLOAT, ("frame", 3))))
    with pytest.raises(WeightsMissing, match=r"takes in0: tensor\(float\) .* fails on float(32|64) \[4, [23]\]"):
        onnx.run(network, *given)
