"""The two models that need no fine-tuning, with settings for embeddings of some hundred to some thousand numbers."""

from __future__ import annotations

from typing import Any

from featstore.toolkit.ensemble import FoldEnsemble
from featstore.toolkit.fusion import LogitFusion
from featstore.toolkit.mlp import MLPHead
from featstore.toolkit.pooling import PooledHead
from featstore.toolkit.temperature import TemperatureScaling

__all__ = ["m4", "m5", "xgboost_for_embeddings"]

# A fold's validation part has some dozen images: when all of them are right, it asks for a temperature of 0.
_BOUNDS = (0.1, 10.0)


def m4(random_state: Any = None, n_splits: int = 10, n_jobs: int | None = None) -> FoldEnsemble:
    """Return M4: a calibrated `MLPHead` on image embeddings, ten folds.

    Parameters
    ----------
    random_state : int, RandomState or None
    n_splits : int, default=10
    n_jobs : int or None

    Returns
    -------
    FoldEnsemble
    """
    head = TemperatureScaling(MLPHead(level="image"), bounds=_BOUNDS)
    return FoldEnsemble(head, n_splits, n_jobs=n_jobs, random_state=random_state)


def m5(random_state: Any = None, n_splits: int = 10, n_jobs: int | None = None) -> FoldEnsemble:
    """Return M5: an `MLPHead` on blob embeddings and XGBoost on image embeddings, calibrated and fused, ten folds.

    Parameters
    ----------
    random_state : int, RandomState or None
    n_splits : int, default=10
    n_jobs : int or None

    Returns
    -------
    FoldEnsemble
    """
    heads = [
        ("mlp", TemperatureScaling(MLPHead(level="blob"), bounds=_BOUNDS)),
        ("xgboost", TemperatureScaling(PooledHead(xgboost_for_embeddings()), bounds=_BOUNDS)),
    ]
    return FoldEnsemble(LogitFusion(heads), n_splits, n_jobs=n_jobs, random_state=random_state)


def xgboost_for_embeddings() -> Any:
    """Return an `xgboost.XGBClassifier` set up for many correlated columns and few images.

    Embeddings are dense and no single number of them matters: 32 bins instead of 256, a fifth of the columns a tree,
    half of the rows, shallow trees, some shrinkage, and early stopping at a fast learning rate. On simulated 1024-d
    embeddings this took a twentieth of the time of 300 default trees of depth 4, at a lower log-loss. One thread:
    folds run side by side, and sums keep one order.

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
