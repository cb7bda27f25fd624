"""Run-time checks of the house's annotations, for pytest's `--jaxtyping-packages=…,shape_checks.check`.

NumPy scalars count as numbers; everything else is checked as it is written.
"""

import numpy as np
from beartype import BeartypeConf, BeartypeHintOverrides, beartype

_NUMBERS = {int: int | np.integer, float: float | int | np.floating | np.integer}
check = beartype(conf=BeartypeConf(hint_overrides=BeartypeHintOverrides(_NUMBERS)))
