"""Contributions of blobs from the embeddings in a store: no encoder is needed for these, and there is no heatmap."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.crops import find_blobs
from featstore.errors import DataError
from featstore.explain.contributions import blob_contributions
from featstore.explain.explanation import Explanation, position_of
from featstore.explain.picture import Picture
from featstore.explain.store_models import require_same_recipe, shares_of
from featstore.recipe import Recipe
from featstore.store import Store

__all__ = ["explain_stored"]


def explain_stored(
    model: Any, store: Store, image: str, picture: Picture, label: str | None = None, name: str = "model"
) -> Explanation:
    """Explain an image of a store by its stored embeddings; a blob goes with its crops of all scales.

    Parameters
    ----------
    model : FoldEnsemble
        Fitted on embeddings of the store's recipe.
    store : Store
    image : str
        Its key.
    picture : Picture
        The same image, for the outlines of its blobs.
    label : str, optional
        Class to explain; by default the one that the model predicts.
    name : str
        What people call the model.

    Raises
    ------
    DataError
        If the store has no embeddings of the image, or of other blobs than those that are found in the picture.
    FingerprintMismatchError, ModelError
        If the model is none of this store's.
    SettingError
        If the recipe is not that of an extraction, or the model does not know the class.
    """
    require_same_recipe(model, store)
    crops = Recipe.from_dict(store.recipe).crops
    blobs = find_blobs(picture.pixels, picture.mask, crops)
    embeddings = store.embeddings(repeats=[0], images=[image])
    scale, parent = (None, None) if crops.of_one_scale else _scales_of(store, image)
    stored = len(embeddings) if parent is None else len(np.unique(parent))
    if not stored == len(blobs.blobs) > 0:
        raise DataError(
            f"{image}: {len(blobs.blobs)} blobs in the picture, {stored} in {store.path}",
            expected="the image and the mask that the store was extracted from",
        )
    found = blob_contributions(model, embeddings, store.fingerprint, scale=scale, parent=parent)
    classes = [str(each) for each in model.classes_]
    position = int(found.probabilities.argmax()) if label is None else position_of(label, classes, name)
    return Explanation(
        system=name,
        label=classes[position],
        probability=float(found.probabilities[position]),
        probabilities=dict(zip(classes, found.probabilities.tolist(), strict=True)),
        blobs=shares_of(blobs, found, position),
    )


def _scales_of(store: Store, image: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Tell the scale and the blob of each of an image's crops."""
    table = store.blobs
    rows = table[table["image"] == image]
    return rows["scale"].astype(np.int32), rows["parent"].astype(np.int32)
