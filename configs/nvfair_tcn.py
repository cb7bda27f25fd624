"""NVIDIA's avatar fingerprinting (arXiv 2305.03713): a temporal CNN over landmark distances, with the dynamic identity
embedding contrastive loss.

Data:    python -m data_builders.build nvfair/nvfair126 --source NVFAIR-v2-release --splits_csv SPLITS --data_dir data
Command: python -m fingerprint.main --config=configs/nvfair_tcn.py --workdir=runs/nvfair
Quickstart: python -m fingerprint.main --config=configs/nvfair_tcn.py:quickstart --workdir=runs/nvfair_quickstart
Control: python -m fingerprint.main --config=configs/nvfair_tcn.py:dynamics_only --workdir=runs/nvfair_dynamics

As published: 126 landmarks, all 7,875 distances of a frame over the facial scale, clips of 71 frames, a batch of 8
drivers x 16 windows, five clips a window at stride 1, Adam with 1e-4, 100 epochs, the loss of eqs. 1-5 with its terms
N, Q and R.
Choices of ours, as the paper does not say or its code was not released: which 126 points (the landmark set's `source`),
distances in the picture's plane over the inner eye corners' distance of each frame, the network's width and blocks
(fingerprint/models/temporal_cnn.py), unit embeddings and a temperature of 1, windows of which all show one of four
faces that two drivers share, so that Q is not empty, an epoch of 2,800 steps (about every training video once), the
model chosen on validation identities.
Ablations: coordinates, single_frame, clip31, clip51, no_q, no_r, trained_on_facevid2vid, trained_on_lia,
trained_on_tps (with --config.evaluate on other generators' data sets).
Evaluated as in the paper: AUC of each person's self-reenactments against others driving their face, mean over people;
each generator apart, seen and not seen in training; trials within one corpus beside all. Pairs of one source clip in
two renderings, which a pooled reading counts as mated, are left out.
The anchor's own video is in N, at similarity 1: with a small temperature the loss vanishes without anything learned.

Cost and result as published: not measured here (the data set is given on request); 14.5 million parameters.
quickstart, dynamics_only: a small network on the changes of a sixteenth or an eighth of the distances, 150 steps of 64
windows and their shuffled copies; 1,188 simulated videos, a minute to make, then about 85 CPU seconds of training.
Reaches, on unseen test drivers, mean of three seeds: AUC 0.66 (quickstart) and 0.993 (dynamics_only, where a network
that does not see order is at 0.50).
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from fingerprint import options

STEPS_PER_EPOCH = 2800


def get_config(variant: str = "published") -> ConfigDict:
    """The published setting as far as it is known, one of its ablations, or a run on the simulator."""
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
    config = published()
    VARIANTS[variant](config)
    return config


def published() -> ConfigDict:
    """Clips of 71 frames, 8 drivers x 16 windows, each of five clips."""
    config = options.defaults()
    config.data.dataset = "nvfair/nvfair126"
    config.data.data_dir = "data"
    config.data.landmark_set = "nvfair126"
    config.data.normalization = "aspect_corrected"
    config.model = ConfigDict(
        {
            "name": "temporal_cnn",
            "features": "distances",  # distances | coordinates
            "regions": "all",  # whose points: all, lips,eyes, -nose
            "every": 1,  # of their distances, every so manieth
            "depth": False,  # z too
            "scale": "frame",  # frame | window: what distances are divided by
            "centre": "face",  # face | window | nothing: what is taken off the features
            "velocity": "without",  # without | with | only: changes from frame to frame
            "clip": 71,  # 31 | 51 | 71; 1
            "hidden": 512,
            "dim": 128,
            "chunk": -1,  # frames at a time; 0: all; -1: the fastest on this platform
        }
    )
    set_clip(config, 71)
    config.loss = ConfigDict({"name": "dynamic_identity", "temperature": 1.0, "same_target": True, "shuffled": True})
    config.sampler.drivers_per_batch = 8
    config.sampler.windows_per_driver = 16
    config.sampler.same_target = True
    config.sampler.same_target_share = 1.0
    config.sampler.same_target_faces = 4
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-4
    config.optimizer.weight_decay = 0.0
    config.optimizer.schedule = "constant"
    config.optimizer.clip_norm = 0.0
    config.train.num_steps = 100 * STEPS_PER_EPOCH
    config.train.log_every = 10
    config.train.eval_every = STEPS_PER_EPOCH
    config.train.select_by = "auc"
    config.checkpoint.every = STEPS_PER_EPOCH
    config.evaluate.protocol = "claimed_target"  # the mean over people is the paper's per-target AUC
    config.evaluate.title = "Temporal CNN over distances, NVFAIR"
    return config


def set_clip(config: ConfigDict, clip: int) -> None:
    """Clips of so many frames, five in a window."""
    config.model.clip = clip
    config.data.window.length = config.data.window.stride = clip + 4


def change(path: str, value) -> Callable[[ConfigDict], None]:
    """Sets one option."""
    return lambda config: config.update_from_flattened_dict({path: value})


def simulated(config: ConfigDict, regime: str) -> None:
    """A small network on the simulator. Windows and stride are multiples of ten frames, as dynamics_only wants."""
    config.data.dataset = f"synthetic_drivers/{regime}_quickstart_nvfair126"
    config.data.build = True
    config.data.window.length = 40
    config.data.window.stride = 20
    config.model.clip = 31
    config.model.hidden = 64
    config.model.dim = 64
    config.model.every = 8
    config.model.depth = True
    config.model.velocity = "only"  # a face's shape does not change
    config.loss.temperature = 0.5
    config.sampler.drivers_per_batch = 16
    config.sampler.windows_per_driver = 4
    config.sampler.same_target_share = 0.5
    config.sampler.same_target_faces = 1
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.clip_norm = 1.0
    config.train.num_steps = 150
    config.train.log_every = 1
    config.train.eval_every = 50
    config.checkpoint.every = 50
    config.evaluate.title = f"Temporal CNN over distances: simulated drivers, {regime}"
    if regime == "full":  # the size of the face in the picture, and so how the head moves, is left in
        config.data.normalization = "box"
        config.model.scale = "window"
        config.model.every = 16
    else:
        config.loss.temperature = 1.0
        config.optimizer.learning_rate = 2e-3


VARIANTS = {
    "published": lambda config: None,
    "coordinates": change("model.features", "coordinates"),
    "single_frame": lambda config: set_clip(config, 1),
    "clip31": lambda config: set_clip(config, 31),
    "clip51": lambda config: set_clip(config, 51),
    "no_q": change("loss.same_target", False),
    "no_r": change("loss.shuffled", False),
    **{
        f"trained_on_{generator}": change("data.dataset", f"nvfair/{generator}_nvfair126")
        for generator in ("facevid2vid", "lia", "tps")
    },
    "quickstart": lambda config: simulated(config, "full"),
    "dynamics_only": lambda config: simulated(config, "dynamics_only"),
}
