"""scikit-learn's own checks, with no expected failure."""

from __future__ import annotations

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks
from xgboost import XGBClassifier

from featstore.toolkit import FoldEnsemble, LogitFusion, MeanPool, MLPHead, PooledHead, TemperatureScaling

small = MLPHead(hidden=(16,), random_state=0)


# The checks fit on integers in data frames, on one column, and so on, and some warn of it.
@pytest.mark.filterwarnings("default")
@parametrize_with_checks(
    [
        MeanPool(),
        MLPHead(hidden=(16,)),
        TemperatureScaling(LogisticRegression()),
        TemperatureScaling(small),
        LogitFusion([("plain", LogisticRegression()), ("strong", LogisticRegression(C=0.1))]),
        FoldEnsemble(LogisticRegression(), n_splits=2),
        PooledHead(LogisticRegression()),
        PooledHead(XGBClassifier(n_estimators=10, max_depth=2, n_jobs=1)),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
