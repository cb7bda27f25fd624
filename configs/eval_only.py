"""Evaluate any released model (trained here or imported) on any data set.

Command: python -m fingerprint.main --mode=evaluate --config=configs/eval_only.py --workdir=runs/evaluation \\
             --config.evaluate.model=MODEL_OR_WORKDIR --config.data.dataset=NAME/CONFIG --config.data.data_dir=data
Landmark set, normalization and windows are the model's own. A model without thresholds (an imported one) takes them
from development
identities: --config.evaluate.development_split=validation.
Cost and result: those of the data set; 1,000 videos are embedded in seconds (benchmarks/README.md).
"""

from ml_collections import ConfigDict

from fingerprint import options


def get_config() -> ConfigDict:
    """Defaults; everything of interest is given on the command line."""
    config = options.defaults()
    config.data.data_dir = "data"
    config.evaluate.more_enrolment_clips = (3, 5, 10)
    return config
