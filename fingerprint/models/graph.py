"""Graph convolution with symmetric normalisation, as jraph message passing and as dense matrix products.

Both compute D^-1/2 (A + I) D^-1/2 X W + b (Kipf & Welling, arXiv 1609.02907, eq. 2; the default of PyTorch Geometric's
GCNConv): the bias is added after the aggregation. The graph is the same in every frame, so the dense form needs one
small matrix.
"""

from __future__ import annotations

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
    adjacency: Float[Array, "vertex vertex"], x: Float[Array, "vertex frame feature"]
) -> Float[Array, "vertex frame feature"]:
    """Aggregation in the vertex-leading layout: one matrix product, no transpose."""
    return (adjacency @ x.reshape(x.shape[0], -1)).reshape(x.shape)
