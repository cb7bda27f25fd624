"""Train, evaluate and report on simulated drivers, with nothing but this repository.

Command: python -m fingerprint.main --config=configs/quickstart.py --workdir=runs/quickstart
Control: python -m fingerprint.main --config=configs/quickstart.py:dynamics_only --workdir=runs/dynamics_only
Cost: 1,188 simulated videos, 150 steps of 64 windows; two to three minutes on 2 cores, data set and report included.
Reaches (docs/RESULTS.md): AUC 0.74 on unseen drivers where the impostor wears the claimed face; dynamics_only 0.50,
chance.
"""

from ml_collections import ConfigDict

from fingerprint import options


def get_config(regime: str = "full") -> ConfigDict:
    """The quickstart on one regime of the simulator: `full`, or `dynamics_only`, where an order-blind model is at
    chance."""
    if regime not in ("full", "dynamics_only"):
        raise ValueError(f"unknown regime {regime!r}; known: full, dynamics_only")
    config = options.defaults()
    config.data.data_dir = "data"
    config.data.dataset = f"synthetic_drivers/{regime}_quickstart"
    config.data.build = True
    config.data.normalization = "deviation"
    # dynamics_only is exact for windows whose length and stride are multiples of its period of ten frames.
    config.data.window.stride = 20
    config.sampler.drivers_per_batch = 16
    config.sampler.windows_per_driver = 4
    config.model.input_scale = 5.0
    config.model.dropout = 0.1
    config.optimizer.learning_rate = 2e-3
    config.train.num_steps = 150
    config.train.eval_every = 50
    config.checkpoint.every = 50
    config.evaluate.title = f"Quickstart: simulated drivers, {regime}"
    return config
