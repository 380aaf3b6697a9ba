"""The MLP heads of a fitted model as one function that has a gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator

from featstore.errors import ModelError
from featstore.explain.contributions import bags_of
from featstore.extras import require_extra
from featstore.toolkit import FoldEnsemble, LogitFusion, MLPHead, TemperatureScaling, logits_of

__all__ = ["head_logits", "mlp_heads", "score_and_gradient"]

WeightedHead = tuple[float, MLPHead]


def mlp_heads(model: Any) -> list[list[WeightedHead]]:
    """List each fold's MLP heads, each with the factor of its logits in the fold's.

    That factor is its weight in the fusion over its temperature; heads of weight 0 are left out.
    """
    folds = model.estimators_ if isinstance(model, FoldEnsemble) else [model]
    return [[pair for pair in _inside(fold, 1.0) if pair[0] != 0] for fold in folds]


def _inside(estimator: Any, factor: float) -> Iterator[WeightedHead]:
    if isinstance(estimator, MLPHead):
        yield factor, estimator
    elif isinstance(estimator, TemperatureScaling):
        yield from _inside(estimator.estimator_, factor / estimator.temperature_)
    elif isinstance(estimator, FrozenEstimator):
        yield from _inside(estimator.estimator, factor)
    elif isinstance(estimator, LogitFusion):
        for weight, inner in zip(estimator.weights_.values(), estimator.estimators_, strict=True):
            yield from _inside(inner, factor * weight)


def head_logits(head: MLPHead, embeddings: Any) -> Any:
    """Compute what `MLPHead.logits` does, in torch: embeddings (n_blobs, dim) of one image to logits (n_classes,).

    A head on blobs means their logits, one on images takes the mean embedding.
    """
    torch = require_extra("torch", "explain", "heatmaps need")
    rows = embeddings.mean(dim=0, keepdim=True) if head.level == "image" else embeddings
    last = len(head.coefs_) - 1
    for number, (coefs, intercepts) in enumerate(zip(head.coefs_, head.intercepts_, strict=True)):
        rows = rows @ torch.from_numpy(coefs) + torch.from_numpy(intercepts)
        rows = rows if number == last else rows.relu()
    return rows.mean(dim=0)


def score_and_gradient(
    model: Any, embeddings: NDArray[np.float32], position: int, fingerprint: str = ""
) -> tuple[float, NDArray[np.float64]]:
    """Return a class's log-odds by the whole ensemble, and their gradient through the MLP heads of all folds.

    The log-odds are those that `Contributions.of` compares. What has no gradient (trees) is held at what it says of
    the image, so the gradient is that of the ensemble as far as its MLP heads decide.

    Parameters
    ----------
    model : FoldEnsemble
    embeddings : ndarray of shape (n_blobs, dim), float32
        Clean ones of one image.
    position : int
        Of the class.
    fingerprint : str

    Returns
    -------
    log_odds : float
    gradient : ndarray of shape (n_blobs, dim), float64
        In the order of the blobs.

    Raises
    ------
    ModelError
        If no MLP head has a weight.
    """
    heads = mlp_heads(model)
    if not any(heads):
        raise ModelError("the model has no MLP head with a weight", expected="one: only these have a gradient")
    torch = require_extra("torch", "explain", "heatmaps need")
    bag = bags_of([embeddings], fingerprint)
    folds = model.estimators_ if isinstance(model, FoldEnsemble) else [model]
    x = torch.from_numpy(embeddings.astype(np.float64)).requires_grad_()
    said = []
    with torch.enable_grad():
        for fold, inside in zip(folds, heads, strict=True):
            ours = sum(factor * head.logits(bag)[0] for factor, head in inside)
            logits = torch.from_numpy(np.asarray(logits_of(fold, bag)[0] - ours))
            for factor, head in inside:
                logits = logits + factor * head_logits(head, x)
            said.append(torch.log_softmax(logits, dim=0))
        logs = torch.stack(said)
        others = torch.arange(logs.shape[1]) != position
        score = torch.logsumexp(logs[:, position], dim=0) - torch.logsumexp(logs[:, others].flatten(), dim=0)
        (gradient,) = torch.autograd.grad(score, x)
    return float(score.detach()), gradient.numpy()
