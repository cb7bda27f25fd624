"""GCN + TAP on AVAPrintDB in its published setting (arXiv 2603.26934, benchmark/code/README.md), one corpus and one
generator.

Data:    python -m data_builders.build avaprintdb/cremad_gaga --source AVAPRINTDB --data_dir data
Command: python -m fingerprint.main --config=configs/avaprintdb_gcn.py:cremad_gaga --workdir=runs/cremad_gaga
Pairs:   … --config.evaluate.protocol=pairs_csv --config.evaluate.pairs_csv=evaluation_pairs_CREMA-D_GAGA.csv
Corpora: cremad, ravdess; generators: gaga, live, huny.

As published: 70 random consecutive frames, 512 windows a step, Adam with 1e-2 and L2 decay 1e-5, learning rate x 0.1
after 100 epochs, 300 epochs, patience 20, triplet margin 0.1 with one random triplet an anchor, dropout 0.3 on every
output.
Not as published, on purpose: the model is chosen on validation identities cut from DEV (published: on the training loss
over all of DEV), and a step holds equally many windows of each driver. Epochs are counted in steps of 512 windows: 15
for CREMA-D, 4 for RAVDESS.
Cost: 512 windows x 4,500 steps (CREMA-D); at the throughput in benchmarks/README.md, hours on 2 CPU cores and minutes
on one GPU.
Reaches: not measured here, the data set is not distributed with this repository. Published AUC of this network: CREMA-D
87.8 (GAGA), 90.8 (LIVE), 82.6 (HUNY); RAVDESS 75.7, 76.5, 72.3.
"""

from ml_collections import ConfigDict

from fingerprint import options

CORPORA = {"cremad": {"drivers": 32, "windows": 16, "epoch": 15}, "ravdess": {"drivers": 8, "windows": 64, "epoch": 4}}
GENERATORS = ("gaga", "live", "huny")


def get_config(name: str = "cremad_gaga") -> ConfigDict:
    """The published setting for `<corpus>_<generator>`."""
    corpus, _, generator = name.partition("_")
    if corpus not in CORPORA or generator not in GENERATORS:
        raise ValueError(
            f"unknown experiment {name!r}; wanted <corpus>_<generator> of {tuple(CORPORA)} and {GENERATORS}"
        )
    sizes = CORPORA[corpus]
    config = options.defaults()
    config.seed = 42
    config.data.dataset = f"avaprintdb/{name}"
    config.data.data_dir = "data"
    config.data.normalization = "published"
    config.sampler.drivers_per_batch = sizes["drivers"]
    config.sampler.windows_per_driver = sizes["windows"]
    config.model.last_dropout = "element"
    config.loss = ConfigDict({"name": "triplet", "margin": 0.1})
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-2
    config.optimizer.schedule = "step"
    config.optimizer.schedule_step = 100 * sizes["epoch"]
    config.optimizer.clip_norm = 0.0
    config.train.num_steps = 300 * sizes["epoch"]
    config.train.eval_every = sizes["epoch"]
    config.train.patience = 20
    config.train.select_by = "auc"
    config.checkpoint.every = 5 * sizes["epoch"]
    config.evaluate.more_enrolment_clips = (3, 5, 10)
    config.evaluate.title = f"GCN + TAP, AVAPrintDB {name}"
    return config
