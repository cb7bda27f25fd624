"""ST-GCN of AMBER-ID (TU Berlin, 2025) on folders of one person each, in its published setting and its ablations.

Data:    python -m data_builders.build identity_folders/did_d_amber152 --source did-d --data_dir data
             --landmark_model face_landmarker.task
Command: python -m fingerprint.main --config=configs/amber_stgcn.py:published --workdir=runs/amber
Variants: published; motion (differences between frames beside the positions); anatomical (the face's own edges instead
of attention); arcface; without_eyebrows, without_lips, without_eyes, without_nose, without_oval (a region's points
taken out of the network); channels (an extension, see below); quickstart and dynamics_only (simulated drivers, see
below).

As published: 152 points, x and y times 10, differences times 20, one box a video, every video brought to 71 frames,
windows of 64 of them, 8 people x 8 videos a step, AdamW with 1e-4 and decay 1e-4, x 0.5 every 100 epochs of 14 steps,
3,000 epochs, cross-entropy over the training people (the best runs: no differences, never ArcFace); ArcFace with scale
30, margin 0.3, 5e-5.
Choices of ours: group normalisation (models/st_gcn.py); the cross-entropy's logits are 16 times the unit embedding
times the weights, plus a bias; ArcFace from the first step (published: after a warm-up by cross-entropy); at evaluation
both ends of the 71 frames as two windows (published: 64 frames picked from them); lost frames are masked (published:
filled in); equal units on both axes before the box; the box has seen all points, also of a region left out; identities
split as NVFAIR's lists (published: drawn without a seed); the model chosen by its EER on validation identities
(train.select_by), never on the test set; enrolled people are half of the test people, ten times.
Evaluated with all pairs and balanced ones, accuracy at the best threshold (optimistic, as published) and at one from
validation, DIR at FAR 10 % to 0.0001 % as far as the strangers' probes are enough to show it.
Cost: 2,845,448 parameters, 42,000 steps of 64 windows: a GPU's work. Reaches: not measured here. Published EER: about
0.16 on clear video, 0.26 on the avatar.

channels: the publication announces blendshapes, head-pose matrices and a canonical 3-D space as features; its code has
none of them. This variant is the published network with all three beside the positions (models/st_gcn.py says where
they enter): an extension of ours, with no published figure to compare with. Its data set is built with
--channels blendshapes pose, and serves the other variants too. The pose says where the camera stood: compare with
runs without it before reading its gain as a person's.

quickstart, dynamics_only: simulated drivers (lips, eyes and eyebrows of 109 points) and a small network of 28,272
parameters, adaptive adjacency and differences.
Command: python -m fingerprint.main --config=configs/amber_stgcn.py:quickstart --workdir=runs/amber_quickstart
Cost: 200 steps of 32 windows, about three CPU minutes. Reaches on unseen test drivers, mean of three seeds:
dynamics_only AUC 0.93 (EER 14 %), where models blind to order are at chance; quickstart 0.68 (EER 38 %).
"""

from ml_collections import ConfigDict

from fingerprint import options

STEPS_PER_EPOCH = 14  # 112 training people, 8 a step
REGIONS = ("eyebrows", "lips", "eyes", "nose", "face_oval")
WITHOUT = {f"without_{region.removeprefix('face_')}": f"-{region}" for region in REGIONS}
SIMULATED = {"quickstart": "full", "dynamics_only": "dynamics_only"}
NAMES = ("published", "motion", "anatomical", "arcface", "channels", *WITHOUT, *SIMULATED)


def get_config(name: str = "published") -> ConfigDict:
    """The published setting, one of its ablations, or a small run on simulated drivers."""
    if name not in NAMES:
        raise ValueError(f"unknown variant {name!r}; known: {NAMES}")
    return _simulated(name) if name in SIMULATED else _published(name)


def _published(name: str) -> ConfigDict:
    config = options.defaults()
    config.seed = 42
    config.data.data_dir = "data"
    config.data.dataset = "identity_folders/did_d_amber152"
    config.data.landmark_set = "amber152"
    config.data.normalization = "box"
    config.data.window.length = 64
    config.data.window.stride = 7
    config.data.window.resample = 71
    if name == "channels":
        config.data.channels = ("canonical", "blendshapes", "pose")
    config.sampler.drivers_per_batch = 8
    config.sampler.windows_per_driver = 8
    config.model = ConfigDict(
        {
            "name": "st_gcn",
            "regions": WITHOUT.get(name, "all"),
            "adjacency": "anatomical" if name == "anatomical" else "adaptive",
            "motion_scale": 20.0 if name == "motion" else 0.0,
        }
    )
    config.loss = ConfigDict({"name": "softmax", "scale": 16.0})
    config.optimizer.learning_rate = 1e-4
    if name == "arcface":
        config.loss = ConfigDict({"name": "arcface", "scale": 30.0, "margin": 0.3})
        config.optimizer.learning_rate = 5e-5
    config.optimizer.weight_decay = 1e-4
    config.optimizer.schedule = "staircase"
    config.optimizer.schedule_step = 100 * STEPS_PER_EPOCH
    config.optimizer.schedule_factor = 0.5
    config.optimizer.clip_norm = 0.0
    config.train.num_steps = 3000 * STEPS_PER_EPOCH
    config.train.log_every = 10
    config.train.eval_every = 50 * STEPS_PER_EPOCH
    config.train.select_by = "eer"
    config.checkpoint.every = 50 * STEPS_PER_EPOCH
    config.evaluate.more_enrolment_clips = (3, 5, 10)
    config.evaluate.balanced_pairs = True
    config.evaluate.identification_far = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    config.evaluate.title = f"ST-GCN, AMBER-ID, {name}"
    return config


def _simulated(name: str) -> ConfigDict:
    config = options.defaults()
    config.data.data_dir = "data"
    config.data.dataset = f"synthetic_drivers/{SIMULATED[name]}_quickstart"
    config.data.build = True
    config.data.normalization = "deviation"
    # dynamics_only is exact for windows whose length and stride are multiples of its period of ten frames.
    config.data.window.length = 40
    config.data.window.stride = 20
    config.sampler.drivers_per_batch = 16
    config.sampler.windows_per_driver = 2
    config.model = ConfigDict(
        {
            "name": "st_gcn",
            "regions": "lips,eyes,eyebrows",
            "channels": (16, 32, 32),
            "strides": (2, 1, 2),
            "features": 64,
            "position_scale": 5.0,
            "motion_scale": 20.0,
            "dropout": 0.1,
        }
    )
    config.loss = ConfigDict({"name": "softmax", "scale": 16.0})
    config.optimizer.learning_rate = 3e-3
    config.train.num_steps = 200
    config.train.eval_every = 50
    config.checkpoint.every = 50
    config.evaluate.title = f"ST-GCN, simulated drivers, {SIMULATED[name]}"
    return config
