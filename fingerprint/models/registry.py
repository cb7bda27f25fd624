"""Networks by name, built from a configuration."""

from __future__ import annotations

import flax.linen as nn
import jax
from ml_collections import ConfigDict

from fingerprint.errors import ConfigError, UnknownName
from fingerprint.models.gcn_tap import GCNTAP
from fingerprint.models.st_gcn import STGCN
from fingerprint.models.temporal_cnn import TemporalCNN

_TABLE = {"gcn_tap": GCNTAP, "temporal_cnn": TemporalCNN, "st_gcn": STGCN}

# Frames worked on at a time: on a CPU 140 frames of 109 x 64 activations stay in the second-level cache.
_CHUNK = {"cpu": 140}


def names() -> tuple[str, ...]:
    """Names of the known networks, sorted."""
    return tuple(sorted(_TABLE))


def takes(name: str, option: str) -> bool:
    """Whether the network of that name has the option.

    Raises:
        UnknownName: no network of that name.
    """
    if name not in _TABLE:
        raise UnknownName("model", name, _TABLE)
    return option in _TABLE[name].__dataclass_fields__


def build(config: ConfigDict | dict, platform: str | None = None) -> nn.Module:
    """The network that `config` describes: `name` and the module's own attributes.

    `form="auto"` is the dense form, which a CPU runs several times faster than message passing; `chunk=-1` is what was
    measured to be fastest on a CPU, and elsewhere the whole batch at once. `platform`: default JAX's.

    Raises:
        UnknownName: no network of that name.
        ConfigError: an attribute the network does not have, or channels that it does not read.
    """
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in dict(config).items()}
    name = options.pop("name")
    if name not in _TABLE:
        raise UnknownName("model", name, _TABLE)
    module = _TABLE[name]
    known = {field for field in module.__dataclass_fields__ if field not in ("parent", "name")}
    if "extra_channels" not in known and (channels := options.pop("extra_channels", ())):
        able = [other for other in names() if "extra_channels" in _TABLE[other].__dataclass_fields__]
        raise ConfigError(
            f"model {name!r} reads landmarks and no channels; data.channels asks for {', '.join(channels)}: take "
            f"{' or '.join(able)}, or leave data.channels empty"
        )
    if unknown := sorted(set(options) - known):
        raise ConfigError(f"model {name!r} has no option {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    if options.get("form") == "auto":
        options["form"] = "dense"
    if options.get("chunk") == -1:
        options["chunk"] = _CHUNK.get(platform or jax.default_backend(), 0)
    return module(**options)
