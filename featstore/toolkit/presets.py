"""The two models that need no fine-tuning, with settings for embeddings of some hundred to some thousand numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from sklearn.base import clone
from sklearn.pipeline import Pipeline

from featstore.canonical import different_wholes
from featstore.toolkit.ensemble import FoldEnsemble
from featstore.toolkit.fusion import LogitFusion
from featstore.toolkit.inputs import is_whole, require
from featstore.toolkit.logits import LogitClassifier
from featstore.toolkit.mlp import MLPHead
from featstore.toolkit.pooling import MeanPool, PooledHead
from featstore.toolkit.scales import OnScales, ScalePool, require_scales
from featstore.toolkit.temperature import TemperatureScaling
from featstore.toolkit.views import OnView

__all__ = ["FOLD_TEMPERATURES", "m4", "m5", "xgboost_for_embeddings"]

Head: TypeAlias = tuple[str, Any]

# A fold's validation part has some dozen images: when all of them are right, it asks for a temperature of 0.
FOLD_TEMPERATURES = (0.1, 10.0)


def m4(
    random_state: Any = None,
    n_splits: int = 10,
    n_jobs: int | None = None,
    *,
    n_views: int = 1,
    scales: Sequence[int] | None = None,
    how: str = "pool",
) -> FoldEnsemble:
    """Return M4: a calibrated `MLPHead` on image embeddings, ten folds.

    Parameters
    ----------
    random_state : int, RandomState or None
    n_splits : int, default=10
    n_jobs : int or None
    n_views : int, default=1
        Encoders: with more than one, for `JoinedBags`, a head on each is fitted and they are fused.
    scales : sequence of int, optional
    how : {"pool", "concatenate"}, default="pool"
        Which scales the heads use, and how; see `OnScales`. All crops alike by default.

    Returns
    -------
    FoldEnsemble
    """
    heads = _on_views(_on_scales([("mlp", MLPHead(level="image"))], scales, how), n_views)
    model = _calibrated(heads[0][1]) if len(heads) == 1 else _fused(heads)
    return FoldEnsemble(model, n_splits, n_jobs=n_jobs, random_state=random_state)


def m5(
    random_state: Any = None,
    n_splits: int = 10,
    n_jobs: int | None = None,
    *,
    heads: Sequence[Head] | None = None,
    n_views: int = 1,
    scales: Sequence[int] | None = None,
    how: str = "pool",
) -> FoldEnsemble:
    """Return M5: an `MLPHead` on blob embeddings and XGBoost on image embeddings, calibrated and fused, ten folds.

    Parameters
    ----------
    random_state : int, RandomState or None
    n_splits : int, default=10
    n_jobs : int or None
    heads : sequence of (str, classifier), optional
        Other heads than these two, one or more. Any classifier of scikit-learn's kind will do: one that takes arrays
        gets image embeddings (`PooledHead`), and each is calibrated (`TemperatureScaling`) unless it is already.
    n_views : int, default=1
        Encoders: with more than one, for `JoinedBags`, all heads are fitted on each and fused.
    scales : sequence of int, optional
    how : {"pool", "concatenate"}, default="pool"
        Which scales the heads use, and how; see `OnScales`. All crops alike by default.

    Returns
    -------
    FoldEnsemble
    """
    chosen = [("mlp", MLPHead(level="blob")), ("xgboost", xgboost_for_embeddings())] if heads is None else heads
    heads = _on_views(_on_scales(chosen, scales, how), n_views)
    return FoldEnsemble(_fused(heads), n_splits, n_jobs=n_jobs, random_state=random_state)


def _on_scales(heads: Sequence[Head], scales: Sequence[int] | None, how: str) -> list[Head]:
    """Give the heads the crops of some scales alone."""
    require_scales(scales, how, none=True)
    if scales is None:
        return list(heads)
    return [(name, OnScales(_for_bags(clone(head)), different_wholes(scales), how=how)) for name, head in heads]


def _on_views(heads: Sequence[Head], n_views: int) -> list[Head]:
    """Give every view a clone of each head, named by its position."""
    require(is_whole(n_views), f"n_views is {n_views!r}", "a whole number of encoders, 1 or more")
    if n_views == 1:
        return list(heads)
    return [
        (f"{name}_{view}", OnView(_for_bags(clone(head)), view, n_views))
        for view in range(n_views)
        for name, head in heads
    ]


def _fused(heads: Sequence[Head]) -> LogitFusion:
    return LogitFusion([(name, _calibrated(head)) for name, head in heads])


def _calibrated(head: Any) -> Any:
    return (
        head if isinstance(head, TemperatureScaling) else TemperatureScaling(_for_bags(head), bounds=FOLD_TEMPERATURES)
    )


def _for_bags(head: Any) -> Any:
    """Let a classifier that takes arrays take bags."""
    pools = isinstance(head, Pipeline) and isinstance(head.steps[0][1], MeanPool | ScalePool)
    return head if isinstance(head, LogitClassifier) or pools else PooledHead(head)


def xgboost_for_embeddings() -> Any:
    """Return an `xgboost.XGBClassifier` set up for many correlated columns and few images.

    Embeddings are dense and no single number of them matters: 32 bins instead of 256, a fifth of the columns a tree,
    half of the rows, shallow trees, some shrinkage, and early stopping at a fast learning rate. On simulated 1024-d
    embeddings this took a thirtieth of the time of 300 default trees of depth 4, and new images did not tell the two
    apart (``tests/benchmarks/boosting.py``). One thread: folds run side by side, and sums keep one order.

    Returns
    -------
    XGBClassifier
    """
    from xgboost import XGBClassifier

    return XGBClassifier(
        n_estimators=500,
        early_stopping_rounds=25,
        learning_rate=0.15,
        max_depth=3,
        max_bin=32,
        colsample_bytree=0.2,
        subsample=0.5,
        reg_lambda=5.0,
        tree_method="hist",
        device="cpu",
        n_jobs=1,
    )
