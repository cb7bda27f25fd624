"""The graph convolution, against its formula written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fingerprint.landmarks import topology
from fingerprint.models.graph import aggregate, jraph_convolution, normalized_adjacency


def brute_force_adjacency(edges, vertices):
    neighbours = {v: {v} for v in range(vertices)}
    for a, b in edges:
        neighbours[a].add(b)
        neighbours[b].add(a)
    out = np.zeros((vertices, vertices))
    for a in range(vertices):
        for b in neighbours[a]:
            out[a, b] = 1 / np.sqrt(len(neighbours[a]) * len(neighbours[b]))
    return out


@pytest.mark.parametrize("name", ["avaprintdb109", "ibug68"])
def test_adjacency_is_the_formula(name):
    points = topology.get(name)
    found = normalized_adjacency(points.edges, points.num_vertices)
    assert found.dtype == np.float32
    assert np.allclose(found, brute_force_adjacency(points.edges.tolist(), points.num_vertices), atol=1e-7)
    assert np.allclose(np.linalg.eigvalsh(found.astype(np.float64)).max(), 1, atol=1e-6)


def test_a_vertex_without_edges_keeps_its_own_value():
    found = normalized_adjacency(np.array([[0, 2]]), 4)
    assert np.allclose(found, [[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 1]])


def test_both_forms_are_the_formula_with_the_bias_after_the_aggregation():
    rng = np.random.default_rng(0)
    edges = np.array([[0, 1], [1, 2], [1, 4], [3, 4]], np.int32)
    shapes = ((3, 5, 4), (4, 6), (6,))
    frames, kernel, bias = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)
    adjacency = brute_force_adjacency(edges.tolist(), 5)
    expected = np.stack([adjacency @ (frame @ kernel) + bias for frame in frames])
    assert np.allclose(jraph_convolution(frames, kernel, bias, edges), expected, atol=1e-5)
    with jax.default_matmul_precision("highest"):
        leading = aggregate(normalized_adjacency(edges, 5), frames.transpose(1, 0, 2)) @ kernel + bias
    assert np.allclose(np.transpose(leading, (1, 0, 2)), expected, atol=1e-5)
