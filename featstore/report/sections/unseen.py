"""Test images: what the ensemble says of them, and its score on those that have nothing to do with its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.evaluate import Scored, interval, resampled_weights
from featstore.report.fitted import OutOfFold
from featstore.report.sections.scores import FIGURES
from featstore.store import Store
from featstore.store.images import twin_groups
from featstore.toolkit.predictions import Prediction

__all__ = ["test_section"]

Values = dict[str, Any]


def test_section(model: Any, store: Store, predictions: Sequence[Prediction], found: OutOfFold | None) -> Values | None:
    """Tell what the ensemble says of the test images, and its score on those whose label is known.

    Splits belong to a version of the store and can change after the model was fitted. So an image that the model was
    fitted on, or one of the same group, is not scored, whatever its split is now; and where it is not known what the
    model was fitted on, there is no score.
    """
    if not predictions:
        return None
    classes = [str(name) for name in model.classes_]
    said = {name: sum(prediction.label == name for prediction in predictions) for name in classes}
    known = [prediction for prediction in predictions if prediction.row.label in classes]
    shares = dict(zip(classes, model.class_prior_.tolist(), strict=True))
    groups, seen = _groups(store, found)
    scored = [prediction for prediction in known if groups[prediction.row.image] not in seen]
    several = found is not None and len({prediction.row.label for prediction in scored}) > 1
    return {
        "images": len(predictions),
        "labels": [(name, said[name], shares[name]) for name in classes],
        "prior_only": sum(prediction.note.startswith("class prior") for prediction in predictions),
        "known": len(known),
        "tied": found is not None,
        "dropped": len(known) - len(scored),
        "figures": _figures(scored, groups, classes) if several else None,
    }


def _groups(store: Store, found: OutOfFold | None) -> tuple[dict[str, str], set[str]]:
    """Name the group of each image, and the groups that the model has seen: under a name now, or as files then were."""
    fitted = {} if found is None else found.rows
    then = {name: f"{name}\0then" for name in fitted}
    groups = twin_groups([*store.images.values(), *(replace(row, image=then[name]) for name, row in fitted.items())])
    trained = [] if found is None else found.images.tolist()
    return groups, {groups[key] for name in trained for key in (name, then[name]) if key in groups}


def _figures(
    scored: Sequence[Prediction], group_of: Mapping[str, str], classes: list[str]
) -> list[tuple[str, float, tuple[float, float]]]:
    probabilities = np.array([prediction.probabilities for prediction in scored], dtype=np.float64)
    known = Scored(probabilities, np.array([classes.index(prediction.row.label) for prediction in scored]))
    groups = np.array([group_of[prediction.row.image] for prediction in scored])
    once: Mapping[str, NDArray[np.float64]] = known.figures(np.ones((1, len(scored))))
    resamples = [known.figures(weights) for weights in resampled_weights(groups)]
    return [
        (FIGURES[name], float(once[name][0]), interval(np.concatenate([some[name] for some in resamples])))
        for name in ("macro_f1", "accuracy")
    ]
