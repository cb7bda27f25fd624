"""Graph convolution with symmetric normalisation, as jraph message passing and as dense matrix products.

Both compute D^-1/2 (A + I) D^-1/2 X W + b (Kipf & Welling, arXiv 1609.02907, eq. 2; the default of PyTorch Geometric's
GCNConv): the bias is added after the aggregation. The graph is the same in every frame, so the dense form needs one
small matrix.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph
import numpy as np
from jaxtyping import Array, Float, Int


def normalized_adjacency(edges: Int[np.ndarray, "edge 2"], num_vertices: int) -> Float[np.ndarray, "vertex vertex"]:
    """D^-1/2 (A + I) D^-1/2 of an undirected graph without self-loops, each edge once."""
    adjacency = np.eye(num_vertices, dtype=np.float64)
    adjacency[edges[:, 0], edges[:, 1]] = 1.0
    adjacency[edges[:, 1], edges[:, 0]] = 1.0
    scale = 1.0 / np.sqrt(adjacency.sum(axis=1))
    return (scale[:, None] * adjacency * scale[None, :]).astype(np.float32)


class GraphConvolutionWeights(nn.Module):
    """Kernel and bias of one graph convolution: the parameters both forms share."""

    features: int

    @nn.compact
    def __call__(self, in_features: int) -> tuple[Float[Array, "in out"], Float[Array, "out"]]:
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), (in_features, self.features))
        return kernel, self.param("bias", nn.initializers.zeros_init(), (self.features,))


def jraph_convolution(
    frames: Float[Array, "frame vertex in"],
    kernel: Float[Array, "in out"],
    bias: Float[Array, "out"],
    edges: Int[np.ndarray, "edge 2"],
) -> Float[Array, "frame vertex out"]:
    """The reference form: one jraph graph a frame."""
    senders = jnp.concatenate([edges[:, 0], edges[:, 1]])
    receivers = jnp.concatenate([edges[:, 1], edges[:, 0]])
    num_vertices = frames.shape[1]
    convolve = jraph.GraphConvolution(
        update_node_fn=lambda nodes: nodes @ kernel, add_self_edges=True, symmetric_normalization=True
    )

    def one_frame(nodes):
        graph = jraph.GraphsTuple(
            nodes=nodes,
            edges=None,
            senders=senders,
            receivers=receivers,
            globals=None,
            n_node=jnp.array([num_vertices]),
            n_edge=jnp.array([len(senders)]),
        )
        return convolve(graph).nodes

    return jax.vmap(one_frame)(frames) + bias


def aggregate(
    adjacency: Float[np.ndarray, "vertex vertex"], x: Float[Array, "vertex frame *feature"]
) -> Float[Array, "vertex frame *feature"]:
    """Aggregation in the vertex-leading layout, by a symmetric matrix.

    One matrix product, no transpose. On a CPU, where multiplying by zero is not free, a sum over neighbours.
    """
    x = jnp.asarray(x)
    by_platform = functools.partial(
        jax.lax.platform_dependent,
        cpu=functools.partial(_sum_neighbours, *_neighbours(adjacency)),
        default=functools.partial(_multiply, adjacency),
    )
    # A symmetric matrix is its own derivative; JAX would make a scatter of the sum's.
    symmetric = jax.custom_vjp(by_platform)
    symmetric.defvjp(lambda x: (by_platform(x), None), lambda _, gradient: (by_platform(gradient),))
    return symmetric(x)


def _multiply(adjacency, x):
    return (adjacency @ x.reshape(x.shape[0], -1)).reshape(x.shape)


def _neighbours(adjacency):
    """Columns and entries of each row, zeros left out but as filling, cut at a width that 19 of 20 rows keep to; which
    rows were cut; and what was cut off."""
    count = np.count_nonzero(adjacency, axis=1)
    width = int(np.quantile(count, 0.95))
    columns = np.argsort(adjacency != 0, axis=1, kind="stable")[:, -count.max() :]
    entries = np.take_along_axis(adjacency, columns, axis=1)
    cut = np.flatnonzero(count > width)
    return (columns[:, -width:], entries[:, -width:]), cut, (columns[cut, :-width], entries[cut, :-width])


def _sum_neighbours(most, cut, rest, x):
    def weighted(columns, entries):
        entries = np.expand_dims(entries, tuple(range(2, x.ndim + 1)))
        columns, entries = columns.T, entries.swapaxes(0, 1)
        return sum(e * x.at[c].get(mode="promise_in_bounds") for c, e in zip(columns, entries, strict=True))

    out = weighted(*most)
    return out.at[cut].add(weighted(*rest), unique_indices=True, indices_are_sorted=True) if len(cut) else out


@jax.custom_vjp
def feature_map(x: Float[Array, "vertex frame in"], kernel: Float[Array, "in out"]) -> Float[Array, "vertex frame out"]:
    """`x @ kernel` in the vertex-leading layout."""
    if kernel.shape[0] > 4:
        return x @ kernel
    # Of few channels a sum: it fuses with what follows, a matrix product is written out first.
    return sum(x[:, :, i, None] * kernel[i] for i in range(kernel.shape[0]))


def _feature_map_gradient(saved, gradient):
    x, kernel = saved
    # A small product for each vertex: before a single one over vertices and frames, XLA transposes both on a CPU.
    return gradient @ kernel.T, jnp.sum(jnp.einsum("vfi,vfo->vio", x, gradient), axis=0)


feature_map.defvjp(lambda x, kernel: (feature_map(x, kernel), (x, kernel)), _feature_map_gradient)
