"""Which blob moved the decision: the model's answer with and without each, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError, ModelError
from featstore.store import Bags

__all__ = ["Contributions", "bags_of", "blob_contributions", "log_odds"]

Probabilities = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Contributions:
    """What a model says of an image with all its blobs, and without each of them.

    Attributes
    ----------
    probabilities : ndarray of shape (n_classes,)
        With all blobs.
    without : ndarray of shape (n_blobs, n_classes)
        Without each; for the only blob of an image the class prior, which is what is left.
    alone : ndarray of shape (n_blobs, n_classes)
        Of each as if it were all there is.
    """

    probabilities: Probabilities
    without: Probabilities
    alone: Probabilities

    def of(self, position: int) -> Probabilities:
        """Return each blob's contribution to a class, (n_blobs,): log-odds with it less log-odds without.

        Adding the blob multiplied the odds of the class by ``exp`` of it. Contributions of several blobs don't add up
        to that of all of them: each is measured beside all the others.
        """
        changes: Probabilities = log_odds(self.probabilities, position) - log_odds(self.without, position)
        return changes


def log_odds(probabilities: Probabilities, position: int) -> Probabilities:
    """Return ``log(p / (1 - p))`` of one class from probabilities (..., n_classes): its logit.

    ``1 - p`` is the sum of the other classes, which keeps its digits where p is nearly 1. Probabilities below 1e-300
    count as that.
    """
    others = np.delete(probabilities, position, axis=-1).sum(axis=-1)
    odds: Probabilities = np.log(np.maximum(probabilities[..., position], 1e-300)) - np.log(np.maximum(others, 1e-300))
    return odds


def blob_contributions(
    model: Any,
    embeddings: NDArray[np.float32],
    fingerprint: str = "",
    *,
    scale: NDArray[np.int32] | None = None,
    parent: NDArray[np.int32] | None = None,
) -> Contributions:
    """Ask a model about an image with all its blobs, without each and with each alone, in one go.

    That needs no more than ``predict_proba``: any head will do. The probabilities are those of the ensemble, the mean
    over its folds.

    Parameters
    ----------
    model : FoldEnsemble
    embeddings : ndarray of shape (n_crops, dim), float32
        Clean ones of one image; a crop a blob, unless told otherwise.
    fingerprint : str
        Of the recipe that they were made by; the model refuses another than its own.
    scale, parent : ndarray of shape (n_crops,), int32, optional
        At which scale each crop is, and of which blob. A blob goes with all its crops, those of other scales and tiles;
        blobs are in the order of their numbers.

    Raises
    ------
    DataError, SettingError
        If the model can't do without some of the scales.
    ModelError
        If the model has no class prior, which is what is left of an image without its only blob.
    FingerprintMismatchError
    """
    if not hasattr(model, "class_prior_"):
        raise ModelError(
            f"a {type(model).__name__} has no class prior to compare an image's only blob with",
            expected="a FoldEnsemble, such as featstore fit writes",
        )
    of_blob = np.arange(len(embeddings)) if parent is None else parent
    blobs = np.unique(of_blob)
    rests = [np.flatnonzero(of_blob != blob) for blob in blobs] if len(blobs) > 1 else []
    asked = [np.arange(len(of_blob)), *(np.flatnonzero(of_blob == blob) for blob in blobs), *rests]
    said = np.asarray(model.predict_proba(_parts(embeddings, asked, fingerprint, scale, parent)), dtype=np.float64)
    without = said[1 + len(blobs) :] if rests else np.asarray(model.class_prior_, dtype=np.float64)[None]
    return Contributions(said[0], without, said[1 : 1 + len(blobs)])


def bags_of(images: Sequence[NDArray[np.float32]], fingerprint: str = "") -> Bags:
    """Return bags of images in their order, each given by the embeddings (n_blobs, dim) of its blobs.

    Raises
    ------
    DataError
        If an image has no blob.
    """
    ends = np.cumsum([len(embeddings) for embeddings in images])
    parts = [np.arange(end - len(embeddings), end) for end, embeddings in zip(ends, images, strict=True)]
    return _parts(np.concatenate(images), parts, fingerprint)


def _parts(
    embeddings: NDArray[np.float32],
    parts: Sequence[NDArray[np.intp]],
    fingerprint: str,
    scale: NDArray[np.int32] | None = None,
    parent: NDArray[np.int32] | None = None,
) -> Bags:
    """Return bags of images, each of some of the rows."""
    if not all(map(len, parts)):
        raise DataError("an image without a blob", expected="one embedding or more")
    rows = np.concatenate(parts)
    counts = np.array([len(part) for part in parts])
    return Bags.from_sorted(
        embeddings[rows],
        np.concatenate([np.arange(count) for count in counts]).astype(np.int32),
        np.zeros(len(rows), dtype=np.int32),
        [f"{number:08d}" for number in range(len(parts))],
        np.cumsum(counts) - counts,
        provenance={"fingerprint": fingerprint} if fingerprint else None,
        scale=None if scale is None else scale[rows],
        parent=None if parent is None else parent[rows],
    )
