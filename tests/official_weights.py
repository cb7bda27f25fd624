"""Files as the publishers of networks store them, with weights drawn at random."""

import numpy as np
from torch_pickles import mapping, tensor, write


def drawn(shapes: dict[str, tuple[int, ...]], seed: int = 0, gain: float = 1.0) -> dict[str, np.ndarray]:
    """Weights under which values neither vanish nor explode, name by name."""
    rng = np.random.default_rng(seed)
    state = {}
    for name in sorted(shapes):
        shape = shapes[name]
        values = rng.normal(size=shape)
        if len(shape) == 4:
            values *= gain / np.sqrt(np.prod(shape[1:]))
        elif name.endswith((".weight", ".running_var")):
            values = 1 + 0.2 * np.tanh(values)
        else:
            values *= 0.1
        state[name] = values.astype(np.float32)
    return state


def stored(path, state: dict[str, np.ndarray], under: str | None = None):
    """A zip as `torch.save` writes it: the state, or a dict that holds it under a name."""
    arrays = {str(i): value for i, value in enumerate(state.values())}
    pickled = mapping({key: tensor(str(i), value) for i, (key, value) in enumerate(state.items())})
    return write(path, b"\x80\x02" + (mapping({under: pickled}) if under else pickled) + b".", arrays)
