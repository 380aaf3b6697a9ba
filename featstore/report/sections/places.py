"""The map: image embeddings in two dimensions, coloured by class, by fold, or by error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.report.charts import scatter
from featstore.report.fitted import OutOfFold
from featstore.report.palette import BLUE, VERMILION, Mark, marks
from featstore.report.sections.neighbours import Embedded
from featstore.report.words import UNLABELLED, percent
from featstore.toolkit.predictions import Prediction

__all__ = ["MOST_POINTS", "PlacesSection", "places_section", "project"]

MOST_POINTS = 6000
_SMALL = 6
_UNLABELLED, _UNTRAINED = Mark(UNLABELLED, size=_SMALL), Mark("not in training", size=_SMALL)


@dataclass(frozen=True, eq=False)
class PlacesSection:
    """The map.

    Attributes
    ----------
    images : list of str
    places : ndarray of shape (n_images, 2)
    explained : tuple of 2 floats
        Share of the variance in each direction.
    looks : dict from name of a colouring to list of Mark
        How each image looks.
    legends : dict from name of a colouring to list of (Mark, int)
        Each mark and how many images have it.
    told : list of dict
        What is told of each image: ``label``, ``predicted``, ``confidence``, ``fold``, ``split``.
    beyond : int
        Images that are not drawn, since there are too many.
    static : str
        The same as a chart.
    """

    images: list[str]
    places: NDArray[np.float64]
    explained: tuple[float, float]
    looks: dict[str, list[Mark]]
    legends: dict[str, list[tuple[Mark, int]]]
    told: list[dict[str, Any]]
    beyond: int
    static: str

    @property
    def axes(self) -> tuple[str, str]:
        """What stands at the axes."""
        first, second = (
            f"{which} principal component ({percent(share)})"
            for which, share in zip(("first", "second"), self.explained, strict=True)
        )
        return first, second


def places_section(
    found: Embedded, oof: OutOfFold | None, predictions: Mapping[str, Prediction]
) -> PlacesSection | None:
    """Lay images out; None where there are fewer than three."""
    if len(found.images) < 3:
        return None
    everything, explained = project(found.means)
    chosen = np.unique(np.linspace(0, len(found.images) - 1, min(MOST_POINTS, len(found.images))).round().astype(int))
    known = {} if oof is None else {name: place for place, name in enumerate(oof.images.tolist())}
    names = [found.images[place] for place in chosen]
    told = []
    for place in chosen:
        row = found.rows[place]
        said = {"label": row.label, "split": row.split, "predicted": "", "confidence": None, "fold": None}
        at = known.get(row.image)
        if oof is not None and at is not None:
            said |= {"label": str(oof.classes[oof.codes[at]]), "predicted": str(oof.classes[oof.predicted[at]])}
            said |= {"confidence": float(oof.probabilities[at].max()), "fold": int(oof.folds[at])}
        elif (prediction := predictions.get(row.image)) is not None:
            said |= {"predicted": prediction.label, "confidence": float(prediction.probabilities.max())}
        told.append(said)
    looks = {"class": _by_class(told)} | ({"fold": _by_fold(told), "error": _by_error(told)} if known else {})
    legends = {how: _legend(each) for how, each in looks.items()}
    words = f"Map of {len(names)} images by their embeddings, coloured by class."
    section = PlacesSection(
        names, everything[chosen], explained, looks, legends, told, len(found.images) - len(names), ""
    )
    static = scatter(section.places, looks["class"], words, section.axes)
    return PlacesSection(**{**vars(section), "static": static})


def project(means: NDArray[np.float32]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Project image embeddings on their first two principal components, the same way each time.

    Returns
    -------
    places : ndarray of shape (n_images, 2)
    explained : tuple of 2 floats
        Share of the variance in each direction; 0 where there is none.
    """
    from sklearn.decomposition import PCA

    count, dim = means.shape
    solver = "covariance_eigh" if count >= dim else "full"
    some = min(2, dim, count)
    pca = PCA(some, svd_solver=solver)
    places = np.zeros((count, 2))
    shares = np.zeros(2)
    if np.ptp(means, axis=0).any():
        places[:, :some] = pca.fit_transform(means.astype(np.float64))
        shares[:some] = np.nan_to_num(pca.explained_variance_ratio_)
    scale = np.abs(places).max() or 1.0
    return np.round(places / scale, 6) * scale, (float(shares[0]), float(shares[1]))


def _by_class(told: Sequence[dict[str, Any]]) -> list[Mark]:
    looks = {mark.name: mark for mark in marks(sorted({row["label"] for row in told} - {""}))}
    return [looks.get(row["label"], _UNLABELLED) for row in told]


def _by_fold(told: Sequence[dict[str, Any]]) -> list[Mark]:
    folds = sorted({row["fold"] for row in told} - {None})
    looks = dict(zip(folds, marks([f"fold {fold}" for fold in folds]), strict=True))
    return [looks.get(row["fold"], _UNTRAINED) for row in told]


def _by_error(told: Sequence[dict[str, Any]]) -> list[Mark]:
    right, wrong = Mark("right out of fold", BLUE), Mark("wrong out of fold", VERMILION, "diamond", 12)
    return [_UNTRAINED if row["fold"] is None else right if row["predicted"] == row["label"] else wrong for row in told]


def _legend(look: Sequence[Mark]) -> list[tuple[Mark, int]]:
    counts: dict[Mark, int] = {}
    for mark in look:
        counts[mark] = counts.get(mark, 0) + 1
    return sorted(counts.items(), key=lambda item: (item[0] in (_UNLABELLED, _UNTRAINED), _natural(item[0].name)))


def _natural(name: str) -> tuple[int, str]:
    return len(name) if name.startswith("fold ") else 0, name
