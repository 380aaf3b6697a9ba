"""scikit-learn's own checks, with no expected failure."""

from __future__ import annotations

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks
from xgboost import XGBClassifier

from featstore.toolkit import FoldEnsemble, LogitFusion, MeanPool, MLPHead, PooledHead, TemperatureScaling

quick = {"hidden": (16,), "lr": 0.01, "max_epochs": 20}


# scikit-learn itself casts the NaN among labels that one of its checks hands over.
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
@parametrize_with_checks(
    [
        MeanPool(),
        MLPHead(**quick),
        TemperatureScaling(LogisticRegression()),
        TemperatureScaling(MLPHead(**quick, random_state=0)),
        LogitFusion([("plain", LogisticRegression()), ("strong", LogisticRegression(C=0.1))]),
        FoldEnsemble(LogisticRegression(), n_splits=2),
        PooledHead(LogisticRegression()),
        PooledHead(XGBClassifier(n_estimators=10, max_depth=2, n_jobs=1)),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
