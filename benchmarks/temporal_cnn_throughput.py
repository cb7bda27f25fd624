"""The temporal CNN over 7,875 distances at the published setting beside the same network in PyTorch, windows/s.

    python -m benchmarks.temporal_cnn_throughput [--batch 4] [--rounds 5]        (pip install -e ".[benchmark]")

Windows of 75 frames, five clips of 71 each, 126 landmarks, 512 channels; a training step embeds the windows and their
shuffled copies, takes the dynamic identity loss and a step of Adam. The PyTorch network is a stack of Conv1d over
distances made by indexing; `torch_by_clip` embeds the five clips of a window one by one, which a network without
shared places would have to (embedding only). All hold the same weights and are compared first. Prints one JSON line.

`share_of_distances`: what the same network saves where the distances are given to it.
Share of peak: useful floating-point operations over the rate of a 2048 x 2048 float32 product in the same run: first
layer 2 · 7,875 · 512 a frame, the others 2 · 3 · 512² (the last 2 · 3 · 512 · 128) for each frame they give. A training
step counts three times the forward pass of both copies, the first layer twice (distances have no gradient).
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import flax.linen as flax_nn
import numpy as np
import torch
from torch import nn

from benchmarks import training_step
from configs import nvfair_tcn
from fingerprint.landmarks import topology
from fingerprint.models import pairwise_distances
from fingerprint.models.temporal_cnn import SCHEDULES, TemporalCNN

SET, CLIP, TIME, VERTICES, HIDDEN, DIM = "nvfair126", 71, 75, 126, 512, 128
DILATIONS = SCHEDULES[CLIP]
DRIVERS = 4


class DistancesGiven(TemporalCNN):
    """The network without its distances: they are an attribute, the same for every piece of a batch."""

    given: Any = None

    def _project(self, points, valid, channels):
        kernel = self.param("kernel0", flax_nn.initializers.lecun_normal(), (self.given.shape[-1], channels))
        rows = self.given.reshape(-1, self.given.shape[-1])[: points.shape[0] * points.shape[1]]
        # A part of the landmarks is added, else the product would be the same for all pieces and made once.
        return (rows + points[..., 0, 0].reshape(-1, 1)) @ kernel, self.given.shape[-1]


class PlainTemporalCNN(nn.Module):
    """The published network, written plainly."""

    def __init__(self):
        super().__init__()
        points = topology.get(SET)
        self.first, self.second = (torch.from_numpy(ends).long() for ends in pairwise_distances.pairs(SET).T)
        self.eyes = points.inner_eyes
        self.origin = self.distances(torch.from_numpy(np.array(points.reference_shape))[None])
        sizes = [len(self.first), *[HIDDEN] * len(DILATIONS), DIM]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(sizes[n], sizes[n + 1], 3 if dilation else 1, dilation=dilation or 1)
            for n, dilation in enumerate((0, *DILATIONS))
        )
        self.norms = nn.ModuleList(nn.GroupNorm(HIDDEN // 16, HIDDEN) for _ in DILATIONS)

    def distances(self, landmarks):
        points = landmarks[..., :2]
        found = (points[..., self.first, :] - points[..., self.second, :]).norm(dim=-1)
        left, right = self.eyes
        return found / (points[..., left, :] - points[..., right, :]).norm(dim=-1, keepdim=True)

    def normalise(self, norm, x):
        batch, channels, time = x.shape
        frames = x.transpose(1, 2).reshape(batch * time, channels)
        return norm(frames).reshape(batch, time, channels).transpose(1, 2)

    def forward(self, windows):
        x = (self.distances(windows) - self.origin).transpose(1, 2)
        x = nn.functional.leaky_relu(self.normalise(self.norms[0], self.convolutions[0](x)), 0.02)
        layers = zip(self.convolutions[1:-1], self.norms[1:], DILATIONS[:-1], strict=True)
        for convolution, norm, dilation in layers:
            y = self.normalise(norm, convolution(x))
            x = nn.functional.leaky_relu(y + x[:, :, dilation:-dilation], 0.02)
        return nn.functional.normalize(self.convolutions[-1](x).transpose(1, 2), dim=-1)


def share_weights(params, network: PlainTemporalCNN) -> None:
    """Give the PyTorch network our weights."""

    def copy(to, weight, bias):
        to.weight.copy_(torch.from_numpy(np.array(weight)).reshape(to.weight.shape))
        to.bias.copy_(torch.from_numpy(np.array(bias)))

    with torch.no_grad():
        copy(network.convolutions[0], np.array(params["kernel0"]).T.copy(), params["bias0"])
        for number, convolution in enumerate(network.convolutions[1:], start=1):
            values = params[f"conv{number}"]
            copy(convolution, np.array(values["kernel"]).T.copy(), values["bias"])
        for number, norm in enumerate(network.norms):
            copy(norm, params[f"norm{number}"]["scale"], params[f"norm{number}"]["bias"])


def dynamic_identity(clips, shuffled, driver, target):
    """Equations 1 to 5, a window a video."""
    windows, number, dim = clips.shape
    anchors = clips.reshape(-1, dim)
    driver_of, target_of = driver.repeat_interleave(number)[:, None], target.repeat_interleave(number)[:, None]

    def similarity(to):
        distance = torch.cdist(anchors, to.reshape(-1, dim), compute_mode="donot_use_mm_for_euclid_dist")
        return torch.exp(-distance.square()).reshape(-1, windows, number).amax(2)

    to_videos, same = similarity(clips), driver_of == driver
    same_driver = (to_videos * same).sum(1)
    same_target = (to_videos * (~same & (target_of == target))).sum(1)
    out_of_order = (similarity(shuffled) * same).sum(1)
    return -torch.log(same_driver / (same_driver + same_target + out_of_order)).mean()


def torch_works(params, batch) -> dict[str, training_step.Work]:
    """The same step and embedding in PyTorch, places shared or clip by clip."""
    network = PlainTemporalCNN()
    share_weights(params, network)
    windows, driver, target = (torch.from_numpy(x) for x in (batch.windows, batch.driver, batch.target))
    adam = torch.optim.Adam(network.parameters(), 1e-4)
    places = TIME - CLIP + 1

    def by_clip(windows):
        clips = torch.stack([windows[:, place : place + CLIP] for place in range(places)], 1)
        return network(clips.flatten(0, 1)).reshape(len(windows), places, DIM)

    def work(clips_of):
        def step():
            adam.zero_grad()
            order = torch.rand(windows.shape[:2]).argsort(1)[:, :, None, None].expand_as(windows)
            clips, shuffled = clips_of(torch.cat([windows, windows.gather(1, order)])).chunk(2)
            dynamic_identity(clips, shuffled, driver, target).backward()
            adam.step()

        def embed():
            with torch.no_grad():
                return nn.functional.normalize(clips_of(windows).sum(1), dim=-1)

        return training_step.Work(step, embed)

    return {"torch": work(network), "torch_by_clip": work(by_clip)._replace(step=None)}


def useful_gflops() -> tuple[float, float]:
    """First layer and others, of one window's forward pass."""
    frames = TIME - 2 * np.cumsum(DILATIONS)
    others = 2 * 3 * HIDDEN * (HIDDEN * frames[:-1].sum() + DIM * frames[-1])
    return 2 * 7875 * HIDDEN * TIME / 1e9, others / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    training_step.same_threads()

    rng = np.random.default_rng(0)
    face = topology.get(SET).reference_shape
    windows = (face + 0.1 * rng.standard_normal((arguments.batch, TIME, VERTICES, 3))).astype(np.float32)
    batch = training_step.batch_of(windows, DRIVERS)
    config = nvfair_tcn.get_config()
    given = rng.standard_normal((2 * arguments.batch, TIME, 7875)).astype(np.float32)

    def make(given):
        fields = {f.name for f in dataclasses.fields(TemporalCNN)} - {"name", "parent"}
        model = training_step.registry.build({**config.model, "landmark_set": SET})
        return DistancesGiven(**{name: getattr(model, name) for name in fields}, given=given)

    ours = training_step.build(config, batch, DRIVERS)
    works = torch_works(ours.params, batch) | {
        "ours": ours,
        "distances_given": training_step.build(config, batch, DRIVERS, make, given),
    }
    ours_seen = np.asarray(ours.embed())
    difference = max(
        float(np.abs(ours_seen - works[name].embed().numpy()).max()) for name in ("torch", "torch_by_clip")
    )
    assert difference < 1e-4, f"not the same network: embeddings differ by {difference}"
    first, others = useful_gflops()
    training_step.report(
        "temporal_cnn_throughput",
        works,
        arguments.batch,
        arguments.rounds,
        part=("distances", "distances_given"),
        useful_gflops={"training": 2 * (2 * first + 3 * others), "embedding": first + others},
        largest_difference_of_embeddings=difference,
    )


if __name__ == "__main__":
    main()
