"""Estimators on bags of embeddings, as scikit-learn has them; importing them loads no torch."""

from featstore.toolkit.ensemble import FoldEnsemble
from featstore.toolkit.fusion import LogitFusion
from featstore.toolkit.logits import logits_of
from featstore.toolkit.mlp import MLPHead
from featstore.toolkit.persistence import load_model, save_model
from featstore.toolkit.pooling import MeanPool, PooledHead
from featstore.toolkit.presets import m4, m5
from featstore.toolkit.scales import OnScales, ScalePool
from featstore.toolkit.temperature import TemperatureScaling
from featstore.toolkit.views import OnView

__all__ = [
    "FoldEnsemble",
    "LogitFusion",
    "MLPHead",
    "MeanPool",
    "OnScales",
    "OnView",
    "PooledHead",
    "ScalePool",
    "TemperatureScaling",
    "load_model",
    "logits_of",
    "m4",
    "m5",
    "save_model",
]
