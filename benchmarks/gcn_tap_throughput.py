"""GCN + TAP at the published shape beside the same network in PyTorch Geometric: training and embedding, windows/s.

    python -m benchmarks.gcn_tap_throughput [--batch 16] [--rounds 5]        (pip install -e ".[benchmark]")

70 frames, 109 landmarks, 306 edges, 64-64-256 channels, dropout 0.3, triplet loss, Adam. Both hold the same weights
and are compared first. Prints one JSON line.

Share of peak: useful floating-point operations of our formulation over the rate of a 2048 x 2048 float32 product in the
same run. Per frame, V = 109: aggregation 2 V² (3 + 64), feature maps 2 V 64 (3 + 64), weighted mean 2 V 64, last map
2 · 64 · 256; a training step counts three times the forward pass (recomputation is not useful work). With `element`
dropout the last layer is 2 V² 64 + 2 V 64 · 256.
"""

from __future__ import annotations

import argparse
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch_geometric.nn

from benchmarks import alternate
from fingerprint import losses
from fingerprint.landmarks import topology
from fingerprint.models import registry

TIME, VERTICES = 70, 109
SIZES = (3, 64, 64, 256)


class PyGNetwork(torch.nn.Module):
    """The published network, written plainly."""

    def __init__(self, dropout: float = 0.3):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch_geometric.nn.GCNConv(a, b) for a, b in itertools.pairwise(SIZES))
        self.query = torch.nn.Parameter(torch.randn(SIZES[-1]))
        self.dropout = dropout

    def forward(self, windows, edge_index):
        batch, time, vertex, coord = windows.shape
        x = windows.reshape(batch * time * vertex, coord)
        for number, layer in enumerate(self.layers):
            x = layer(x, edge_index)
            x = torch.relu(x) if number < 2 else x
            x = torch.nn.functional.dropout(x, self.dropout, self.training)
        frames = x.reshape(batch, time, vertex, -1).mean(2)
        attention = torch.softmax(frames @ self.query, dim=1)
        return torch.nn.functional.normalize((attention[..., None] * frames).sum(1), dim=-1)


def batched_edges(frames: int) -> torch.Tensor:
    """Edge index of `frames` copies of the landmark graph, both directions."""
    edges = torch.from_numpy(np.array(topology.get("avaprintdb109").edges)).long().T
    edges = torch.cat([edges, edges.flip(0)], dim=1)
    return edges.repeat(1, frames) + (torch.arange(frames) * VERTICES).repeat_interleave(edges.shape[1])


def share_weights(params, network: PyGNetwork) -> None:
    """Give the PyTorch network our weights."""
    with torch.no_grad():
        for number, layer in enumerate(network.layers):
            layer.lin.weight.copy_(torch.from_numpy(np.array(params[f"gcn{number + 1}"]["kernel"]).T))
            layer.bias.copy_(torch.from_numpy(np.array(params[f"gcn{number + 1}"]["bias"])))
        network.query.copy_(torch.from_numpy(np.array(params["temporal_pool"]["query"])))


def useful_flops(last_dropout: str | None) -> float:
    """Operations of one window's forward pass; see the module's docstring."""
    v = VERTICES
    frame = 2 * v * v * (3 + 64) + 2 * v * 64 * (3 + 64)
    frame += 2 * v * v * 64 + 2 * v * 64 * 256 if last_dropout == "element" else 2 * v * 64 + 2 * 64 * 256
    return float(TIME * frame)


def our_work(params, windows, last_dropout: str, form: str):
    """Functions that do one training step and one embedding, and wait."""
    config = {
        "name": "gcn_tap",
        "landmark_set": "avaprintdb109",
        "last_dropout": last_dropout,
        "form": form,
        "chunk": -1,
    }
    model = registry.build(config)
    mask = jnp.ones(windows.shape[:2], bool)
    driver = jnp.arange(len(windows)) // 2
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params, state, key):
        def loss(params):
            vector = model.apply({"params": params}, windows, mask, train=True, rngs={"dropout": key}).vector
            return losses.triplet(vector, driver, jnp.ones(driver.shape, bool), key, margin=0.1).mean()

        gradient = jax.grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    embed = jax.jit(lambda params, windows: model.apply({"params": params}, windows, mask).vector)
    state, key = optimizer.init(params), jax.random.key(1)
    return (
        lambda: jax.block_until_ready(step(params, state, key)),
        lambda: jax.block_until_ready(embed(params, windows)),
        embed,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(jax.local_device_count() * 2)

    windows = np.random.default_rng(0).standard_normal((arguments.batch, TIME, VERTICES, 3)).astype(np.float32)
    model = registry.build({"name": "gcn_tap", "landmark_set": "avaprintdb109", "form": "auto", "chunk": -1})
    params = model.init(jax.random.key(0), windows[:1], jnp.ones((1, TIME), bool))["params"]
    network, edges = PyGNetwork(), batched_edges(arguments.batch * TIME)
    share_weights(params, network)
    torch_windows = torch.from_numpy(windows)
    adam = torch.optim.Adam(network.parameters(), 1e-2)

    def torch_embed():
        network.eval()
        with torch.no_grad():
            return network(torch_windows, edges)

    def torch_step():
        network.train()
        adam.zero_grad()
        vector = network(torch_windows, edges)
        torch.nn.functional.triplet_margin_loss(vector, vector.roll(1, 0), vector.roll(3, 0), margin=0.1).backward()
        adam.step()

    jax_windows = jnp.asarray(windows)
    works = {
        name: our_work(params, jax_windows, last, form)
        for name, last, form in (
            ("vertex", "vertex", "dense"),
            ("element", "element", "dense"),
            ("jraph", "element", "jraph"),
        )
    }
    difference = max(
        float(np.abs(work[2](params, jax_windows) - torch_embed().numpy()).max()) for work in works.values()
    )
    assert difference < 1e-5, f"not the same network: embeddings differ by {difference}"

    square = jax.random.normal(jax.random.key(0), (2048, 2048))
    product = jax.jit(jnp.matmul)
    units = float(arguments.batch)
    peak_unit = (lambda: jax.block_until_ready(product(square, square)), 2 * 2048**3 / 1e9)
    training = {"pyg": (torch_step, units), "peak": peak_unit} | {n: (w[0], units) for n, w in works.items()}
    embedding = {"pyg": (torch_embed, units), "peak": peak_unit} | {
        n: (w[1], units) for n, w in works.items() if n != "element"
    }
    seen_training = alternate.rates(training, arguments.rounds)
    seen_embedding = alternate.rates(embedding, arguments.rounds)
    rate_t, rate_e = alternate.medians(seen_training), alternate.medians(seen_embedding)
    print(
        json.dumps(
            {
                "benchmark": "gcn_tap_throughput",
                "batch": arguments.batch,
                "rounds": arguments.rounds,
                "largest_difference_of_embeddings": difference,
                "training_over_pyg": {n: alternate.ratio(seen_training, n, "pyg") for n in works},
                "embedding_over_pyg": {n: alternate.ratio(seen_embedding, n, "pyg") for n in ("vertex", "jraph")},
                "windows_per_second": {
                    "training": {n: r for n, r in rate_t.items() if n != "peak"},
                    "embedding": {n: r for n, r in rate_e.items() if n != "peak"},
                },
                "share_of_matmul_peak": {
                    "training_vertex": round(3 * useful_flops("vertex") * rate_t["vertex"] / 1e9 / rate_t["peak"], 3),
                    "training_element": round(
                        3 * useful_flops("element") * rate_t["element"] / 1e9 / rate_t["peak"], 3
                    ),
                    "embedding": round(useful_flops(None) * rate_e["vertex"] / 1e9 / rate_e["peak"], 3),
                },
                "matmul_gflops": rate_t["peak"],
            }
        )
    )


if __name__ == "__main__":
    main()
