"""Seeds for the random parts inside an estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone

__all__ = ["seeded"]


def seeded(estimator: Any, random_state: np.random.RandomState) -> Any:
    """Return a clone in which every ``random_state`` has a seed of its own."""
    copy = clone(estimator)
    names = [name for name in sorted(copy.get_params()) if name.rpartition("__")[2] == "random_state"]
    if names:  # a frozen estimator has none, and its set_params returns nothing
        copy.set_params(**{name: int(random_state.randint(np.iinfo(np.int32).max)) for name in names})
    return copy
