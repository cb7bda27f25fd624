"""Quality networks as their authors run them, in PyTorch: references where it is installed.

Needs torch, for I3D also `pip install --no-deps cd-fvd==0.1.1` (which carries Piergiovanni's pytorch-i3d), for LPIPS
`pip install lpips==0.1.4`, for MUSIQ `pip install pyiqa==0.1.16`, and in the folder that FINGERPRINT_WEIGHT_SOURCES
names the files as published: `default_1.pt`, `i3d-kinetics-400.ckpt`, `alexnet.ckpt`.
"""

import os
import pathlib

import numpy as np
import pytest

from fingerprint.generation.networks import conversion, weights
from fingerprint.generation.networks import musiq as our_musiq


def source(name: str) -> pathlib.Path:
    path = pathlib.Path(os.environ.get("FINGERPRINT_WEIGHT_SOURCES", "nowhere")) / name
    if not path.is_file():
        pytest.skip(f"{name} is not there; set FINGERPRINT_WEIGHT_SOURCES to the folder that holds it")
    return path


def inception():
    """Features of uint8 frames by the published TorchScript graph, resized as StyleGAN's code resizes."""
    torch = pytest.importorskip("torch")
    network = torch.jit.load(str(source("default_1.pt"))).eval()

    @torch.no_grad()
    def features(frames: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
        theta = torch.eye(2, 3)
        for axis, old in ((0, x.shape[3]), (1, x.shape[2])):
            theta[axis, 2] = 1 / old - 1 / 299
        grid = torch.nn.functional.affine_grid(
            theta.repeat(len(x), 1, 1), (*x.shape[:2], 299, 299), align_corners=False
        )
        x = torch.nn.functional.grid_sample(x, grid, "bilinear", "border", align_corners=False)
        return network((x - 128) / 128).numpy()

    return features


def i3d():
    """Logits and pooled features of uint8 clips by pytorch-i3d with the checkpoint's weights."""
    torch = pytest.importorskip("torch")
    pytorch_i3d = pytest.importorskip("cdfvd.third_party.i3d.pytorch_i3d")
    path = source("i3d-kinetics-400.ckpt")
    tree = conversion._NumPyPickle(path).run(path.read_bytes())
    network = pytorch_i3d.InceptionI3d(400, in_channels=3).eval()

    def fill(unit, layer, kept):
        kernel = torch.from_numpy(layer["Conv_0"]["kernel"].transpose(4, 3, 0, 1, 2).copy())
        unit.conv3d.weight.data = kernel
        if kept is None:
            unit.conv3d.bias.data = torch.from_numpy(layer["Conv_0"]["bias"].copy())
            return
        unit.bn.bias.data = torch.from_numpy(layer["BatchNorm_0"]["bias"].ravel().copy())
        unit.bn.running_mean = torch.from_numpy(kept["BatchNorm_0"]["mean"].ravel().copy())
        unit.bn.running_var = torch.from_numpy(kept["BatchNorm_0"]["var"].ravel().copy())
        unit.bn.eps = 1e-3  # of the network in TensorFlow; this fork of its port has another

    units = {"Branch_0/Conv3d_0a_1x1": "b0", "Branch_3/Conv3d_0b_1x1": "b3b"}
    units |= {f"Branch_{i}/Conv3d_0{part}": f"b{i}{part[0]}" for i in (1, 2) for part in ("a_1x1", "b_3x3")}
    for name, layer in tree["params"].items():
        if name.startswith("Mixed"):
            for inner, child in layer.items():
                fill(getattr(network._modules[name], units[inner]), child, tree["batch_stats"][name][inner])
        elif name.startswith("Logits"):
            fill(network.logits, layer, None)
        else:
            fill(network._modules[name], layer, tree["batch_stats"][name])

    @torch.no_grad()
    def features(clips: np.ndarray, *, pooled: bool = False, signed: bool = True) -> np.ndarray:
        x = torch.from_numpy(clips).permute(0, 1, 4, 2, 3).float()
        flat = torch.nn.functional.interpolate(x.flatten(0, 1), (224, 224), mode="bilinear", align_corners=False)
        x = flat.unflatten(0, x.shape[:2]).transpose(1, 2) / 255
        x = 2 * x - 1 if signed else x
        return (network.extract_features(x).mean((2, 3, 4)) if pooled else network(x)).numpy()

    return features


def lpips():
    """Distances of uint8 frames by the package `lpips`, whose own heads are used, with the checkpoint's AlexNet."""
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("lpips")
    path = source("alexnet.ckpt")
    layers = conversion._NumPyPickle(path).run(path.read_bytes())["AlexNet_0"]
    network = package.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    convolutions = [module for module in network.net.modules() if isinstance(module, torch.nn.Conv2d)]
    for i, convolution in enumerate(convolutions):
        layer = layers[f"Conv_{i}"]
        convolution.weight.data = torch.from_numpy(layer["kernel"].transpose(3, 2, 0, 1).copy())
        convolution.bias.data = torch.from_numpy(layer["bias"].copy())

    @torch.no_grad()
    def distances(reference: np.ndarray, generated: np.ndarray) -> np.ndarray:
        sides = (torch.from_numpy(f).permute(0, 3, 1, 2).float() / 127.5 - 1 for f in (reference, generated))
        return network(*sides).numpy().ravel()

    return distances


def musiq_weights() -> dict[str, np.ndarray]:
    """Made-up weights of MUSIQ by their official names, under which scores differ well from frame to frame."""
    random, state = np.random.default_rng(0), {}
    for name, shape in sorted(our_musiq.shapes().items()):
        values = random.standard_normal(shape, np.float32)
        if name.endswith(("_emb", ".cls")):
            values *= 0.5
        elif values.ndim > 1:
            values /= np.sqrt(np.prod(shape[1:]), dtype=np.float32)
        else:
            values *= 0.1
            values += name.endswith(".weight")
        state[name] = values
    state["head.weight"] *= 20
    return state


def musiq(state: dict[str, np.ndarray]):
    """Scores of uint8 frames by pyiqa's MUSIQ, as VBench prepares them and calls it."""
    torch = pytest.importorskip("torch")
    network = pytest.importorskip("pyiqa.archs.musiq_arch").MUSIQ(pretrained=False)
    network.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
    network.training = False

    @torch.no_grad()
    def scores(frames: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
        height, width = x.shape[2:]
        if max(height, width) > 512:
            scale = 512.0 / max(height, width)
            size = int(scale * height), int(scale * width)
            x = torch.nn.functional.interpolate(x, size, mode="bilinear", align_corners=False)
        return np.array([float(network(image[None])) for image in x / 255.0])

    return scores


def installed(name: str) -> str:
    """The folder that holds the network's converted weights."""
    path = weights.find(name)
    if path is None:
        pytest.skip(f"{weights.get(name).file} is not there; set {weights.VARIABLE} to the folder that holds it")
    return str(path.parent)


def pictures(count: int, height: int, width: int) -> np.ndarray:
    """Uint8 frames in which edges, slopes and colours move; whole numbers only, so the same on every machine."""
    rows, columns = np.mgrid[:height, :width]
    frames = []
    for i in range(count):
        slopes = [abs((a * rows + b * columns + 7 * i) % 510 - 255) for a, b in ((2, 1), (1, 3), (3, 5))]
        frame = np.stack(slopes, -1)
        frame[(rows - height // 2) ** 2 + (columns - width // 2 - 2 * i) ** 2 < (height // 4) ** 2] = (230, 40, 90)
        frames.append(frame)
    return np.stack(frames).astype(np.uint8)
