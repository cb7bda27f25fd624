"""JSON that every parser reads: no NaN, no infinity, no NumPy types."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """The value as dicts, lists, strings, finite numbers, booleans, None; anything else becomes its text."""
    if value is None or (isinstance(value, (bool, str, int)) and not isinstance(value, np.generic)):
        return value
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist()) if value.dtype.kind in "biufUO" else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value)


def dumps(value: Any, indent: int | None = None) -> str:
    """Strict JSON; NaN and infinity become null."""
    return json.dumps(plain(value), indent=indent, allow_nan=False, ensure_ascii=False) + "\n"
