"""joblib on a Dask cluster: the folds of an ensemble, scikit-learn's searches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from featstore.cluster.connect import CONNECT_S, WORKERS_S, connect

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["spread_over"]

NUMERICS = ("joblib", "numpy", "scikit-learn", "scipy", "torch", "xgboost")
"""What has a say in the bytes of a model, or in how it is sent."""


@contextmanager
def spread_over(
    address: str, *, share: Sequence[Any] = (), connect_s: float = CONNECT_S, workers_s: float = WORKERS_S
) -> Iterator[Client]:
    """Run what joblib runs (the folds of an ensemble, scikit-learn's searches) on a Dask cluster.

    Parameters
    ----------
    address : str
        As `connect` takes it.
    share : sequence, optional
        What many tasks are given, such as the bags: sent once instead of with each task, and again if all workers that
        had it are gone. A task must be given the very object, not a part of it. Big arrays are shared without being
        named here.
    connect_s, workers_s : float
        As in `connect`.

    Yields
    ------
    distributed.Client

    Raises
    ------
    FeatstoreError
        As in `connect`; also if workers have another NumPy, SciPy, scikit-learn, joblib, torch or XGBoost than this
        process: folds of one model are to be fitted by the same.
    """
    from joblib import parallel_config

    with connect(address, same=NUMERICS, connect_s=connect_s, workers_s=workers_s) as client:
        from featstore.cluster.backend import DaskBackend

        with parallel_config(backend=DaskBackend(client, share=share, same=NUMERICS, workers_s=workers_s)):
            yield client
