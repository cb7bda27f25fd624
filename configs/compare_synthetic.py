"""The three networks on simulated drivers, as their quickstarts configure them: one table.

Command: python -m fingerprint.main --mode=compare --config=configs/compare_synthetic.py:full
             --workdir=runs/compare_full
Control: python -m fingerprint.main --mode=compare --config=configs/compare_synthetic.py:dynamics_only
             --workdir=runs/compare_dynamics_only
The temporal CNN reads 126 points and the others 109 of the same simulated videos: the trials are the same.
Change an entry: --config.compare.entries.gcn_tap.train.num_steps=300. Fewer seeds: --config.compare.seeds="(0,)".
In dynamics_only a network that is blind to order has an expected AUC of exactly 0.5 (fingerprint/data/simulator.py).
"""

import pathlib

from ml_collections import ConfigDict

from fingerprint import options

HERE = pathlib.Path(__file__).parent
REGIMES = ("full", "dynamics_only")


def get_config(regime: str = "full") -> ConfigDict:
    """Three entries, three seeds."""
    if regime not in REGIMES:
        raise ValueError(f"unknown regime {regime!r}; known: {', '.join(REGIMES)}")
    variant = "quickstart" if regime == "full" else regime
    config = options.comparison()
    config.data.build = True
    config.compare.title = f"Three networks on simulated drivers, {regime}"
    config.compare.entries.gcn_tap = options.load(HERE / "quickstart.py", regime)
    config.compare.entries.temporal_cnn = options.load(HERE / "nvfair_tcn.py", variant)
    config.compare.entries.st_gcn = options.load(HERE / "amber_stgcn.py", variant)
    config.compare.reference = "gcn_tap"
    return config
