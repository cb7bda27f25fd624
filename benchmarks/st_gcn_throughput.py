"""ST-GCN at AMBER-ID's published setting beside the same network in PyTorch: training and embedding, windows/s.

    python -m benchmarks.st_gcn_throughput [--batch 2] [--rounds 5]        (pip install -e ".[benchmark]")

152 points x 64 frames, nine blocks of 64 to 256 channels, temporal kernel 9, adjacency by attention, dropout 0.3,
cross-entropy over 112 people, AdamW. The PyTorch network is the usual ST-GCN in [batch, channel, time, vertex], with
group normalisation for batch normalisation. Both hold the same weights and are compared first. Prints one JSON line.

`share_of_adjacency`: what the same network saves with the face's own edges (`adjacency="anatomical"`) in place of
queries, keys, softmax and a matrix a frame.
Share of peak: useful floating-point operations over the rate of a 2048 x 2048 float32 product in the same run. Per
place, V = 152, from C to D channels through d = max(8, C/2): queries, keys 4 C d; logits 2 V d; aggregation
2 V min(C, D); map 2 C D, once more for a residual that changes channels; convolution over time 2 · 9 · D². A training
step counts three times the forward pass (recomputation is not useful work).
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
import torch
from torch import nn

from benchmarks import training_step
from configs import amber_stgcn

TIME, VERTICES, PEOPLE, FEATURES = 64, 152, 112, 256
SIZES = (2, 64, 64, 64, 128, 128, 128, 256, 256, 256)


class Block(nn.Module):
    """One block, written plainly."""

    def __init__(self, before: int, channels: int, dropout: float):
        super().__init__()
        dim = max(8, before // 2)
        self.query = nn.Conv2d(before, dim, 1)
        self.key = nn.Conv2d(before, dim, 1, bias=False)
        self.map = nn.Conv2d(before, channels, 1)
        self.space_norm = nn.GroupNorm(8, channels)
        self.time = nn.Conv2d(channels, channels, (9, 1), padding=(4, 0))
        self.time_norm = nn.GroupNorm(8, channels)
        self.residual = nn.Identity()
        if before != channels:
            self.residual = nn.Sequential(nn.Conv2d(before, channels, 1), nn.GroupNorm(8, channels))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        query, key = self.query(x), self.key(x)
        logits = torch.einsum("bctu,bctv->btuv", query, key) / query.shape[1] ** 0.5
        y = torch.einsum("btuv,bctv->bctu", logits.softmax(dim=-1), x)
        y = self.time_norm(self.time(self.space_norm(self.map(y))))
        return self.dropout(torch.relu(y + self.residual(x)))


class PlainSTGCN(nn.Module):
    """The published network, written plainly."""

    def __init__(self, dropout: float = 0.3):
        super().__init__()
        self.blocks = nn.Sequential(*(Block(a, b, dropout) for a, b in itertools.pairwise(SIZES)))
        self.embedding = nn.Linear(SIZES[-1], FEATURES)
        self.embedding_norm = nn.LayerNorm(FEATURES, eps=1e-6)

    def forward(self, windows):
        x = self.blocks(10 * windows[..., :2].permute(0, 3, 1, 2)).mean((2, 3))
        return nn.functional.normalize(self.embedding_norm(self.embedding(x)), dim=-1)


def share_weights(params, network: PlainSTGCN) -> None:
    """Give the PyTorch network our weights."""

    def copy(to, kernel, bias=None):
        turned = np.array(kernel).T if np.ndim(kernel) else np.array(kernel)
        to.weight.copy_(torch.from_numpy(turned.copy()).reshape(to.weight.shape))
        if bias is not None:
            to.bias.copy_(torch.from_numpy(np.array(bias)))

    def norm(to, values):
        copy(to, values["scale"], values["bias"])

    with torch.no_grad():
        for number, block in enumerate(network.blocks, start=1):
            values = params[f"block{number}"]
            space = values["space"]
            copy(block.query, **space["query"])
            copy(block.key, space["key"])
            copy(block.map, **space["map"])
            copy(block.time, **values["time"])
            norm(block.space_norm, values["space_norm"])
            norm(block.time_norm, values["time_norm"])
            if "residual" in values:
                copy(block.residual[0], **values["residual"])
                norm(block.residual[1], values["residual_norm"])
        copy(network.embedding, **params["embedding"])
        norm(network.embedding_norm, params["embedding_norm"])


def torch_work(params, windows: np.ndarray, driver: np.ndarray) -> training_step.Work:
    """The same step and embedding in PyTorch."""
    network, head = PlainSTGCN(), nn.Linear(FEATURES, PEOPLE)
    share_weights(params, network)
    windows, driver = torch.from_numpy(windows), torch.from_numpy(driver).long()
    adam = torch.optim.AdamW([*network.parameters(), *head.parameters()], 1e-4, weight_decay=1e-4)

    def step():
        network.train()
        adam.zero_grad()
        nn.functional.cross_entropy(head(16 * network(windows)), driver).backward()
        adam.step()

    def embed():
        network.eval()
        with torch.no_grad():
            return network(windows)

    return training_step.Work(step, embed)


def useful_gflops() -> float:
    """Of one window's forward pass; see the module's docstring."""
    place = 0
    for before, channels in itertools.pairwise(SIZES):
        dim = max(8, before // 2)
        maps = 2 if before != channels else 1
        place += 4 * before * dim + 2 * VERTICES * (dim + min(before, channels)) + maps * 2 * before * channels
        place += 2 * 9 * channels**2
    return TIME * VERTICES * place / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    training_step.same_threads()

    windows = np.random.default_rng(0).standard_normal((arguments.batch, TIME, VERTICES, 3)).astype(np.float32)
    batch = training_step.batch_of(windows, drivers=2)
    ours = training_step.build(amber_stgcn.get_config("published"), batch, PEOPLE)
    works = {
        "torch": torch_work(ours.params, windows, batch.driver),
        "ours": ours,
        "anatomical": training_step.build(amber_stgcn.get_config("anatomical"), batch, PEOPLE),
    }
    difference = float(np.abs(np.asarray(ours.embed()) - works["torch"].embed().numpy()).max())
    assert difference < 1e-4, f"not the same network: embeddings differ by {difference}"
    training_step.report(
        "st_gcn_throughput",
        works,
        arguments.batch,
        arguments.rounds,
        part=("adjacency", "anatomical"),
        useful_gflops={"training": 3 * useful_gflops(), "embedding": useful_gflops()},
        largest_difference_of_embeddings=difference,
    )


if __name__ == "__main__":
    main()
