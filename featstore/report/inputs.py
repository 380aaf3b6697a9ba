"""What a report takes if nothing else is named, and what it does without, with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from featstore.errors import DataError, EncoderError, FeatstoreError, MissingExtraError, ModelError, SettingError
from featstore.extras import require_extra
from featstore.recipe import Recipe
from featstore.report.fitted import out_of_fold, require_model_of
from featstore.report.thumbnails import Originals
from featstore.store import Store
from featstore.toolkit import load_model

if TYPE_CHECKING:
    from featstore.encoders import Encoder

__all__ = ["DEFAULT_DATA", "DEFAULT_MODEL", "find_encoder", "find_model", "find_originals"]

DEFAULT_DATA, DEFAULT_MODEL = Path("data"), Path("ensemble.model")

_LOOKED_AT = 5


def find_model(path: Path | None, store: Store) -> tuple[Any, str]:
    """Load a model of a store: the one that is named, else `DEFAULT_MODEL` if it was fitted on this store.

    Returns
    -------
    model : FoldEnsemble or None
    why_not : str
        Why there is none, a sentence.

    Raises
    ------
    ModelError
        If the one that is named is none of this store's recipe.
    """
    if path is not None:
        model = load_model(path)
        require_model_of(model, store)
        return model, ""
    if not DEFAULT_MODEL.is_file():
        return (
            None,
            f"Without a model: there is no {DEFAULT_MODEL}, and --model names none. Scores and errors need one.",
        )
    try:
        model = load_model(DEFAULT_MODEL)
        require_model_of(model, store)
        out_of_fold(model, store)
    except ModelError as error:
        return (
            None,
            f"Without a model: {DEFAULT_MODEL} was not fitted on this store ({error.found}). --model names one.",
        )
    return model, ""


def find_originals(path: Path | None, store: Store) -> tuple[Originals, str]:
    """Find the images that a store was extracted from: at the place that is named, else in `DEFAULT_DATA`.

    Returns
    -------
    originals : Originals
    why_not : str
        Why there are none, a sentence.

    Raises
    ------
    DataError
        If what is named is no dataset, or has no image of the store.
    """
    if path is not None:
        originals = Originals(path, store.images)
        if not any(name in store.images for name in originals.records):
            raise DataError(
                f"{path}: none of its images is in {store.path}", expected="the data that the store was extracted from"
            )
        return originals, ""
    why_not = "Without pictures: --data names the images that the store was extracted from."
    if not DEFAULT_DATA.exists():
        return Originals(None, store.images), why_not
    try:
        originals = Originals(DEFAULT_DATA, store.images)
    except FeatstoreError:
        return Originals(None, store.images), why_not
    some = [name for name in store.usable() if name in originals.records][:_LOOKED_AT]
    if any(originals.same(name) for name in some):
        return originals, ""
    return Originals(None, store.images), f"{why_not} Those in {DEFAULT_DATA} are others."


def find_encoder(store: Store, weights: Path | None, device: str) -> tuple[Encoder | None, str]:
    """Load the encoder of a store for heatmaps, if its weights are named or on this machine; nothing is downloaded.

    Returns
    -------
    encoder : Encoder or None
    why_not : str
        Why there is none, a sentence.

    Raises
    ------
    EncoderError
        If the weights that are named can't be used.
    """
    from featstore.explain import encoder_of

    try:
        recipe = Recipe.from_dict(store.recipe)
    except SettingError as error:
        return None, f"Without heatmaps: the store's crops can't be made again ({error})."
    wanted = recipe.encoder
    if not recipe.crops.of_one_scale:
        return None, "Without heatmaps: crops of several scales show the same tissue several times."
    if wanted.pooling == "descriptors":
        return None, f"Without heatmaps within blobs: {wanted.name} describes a crop as a whole."
    if wanted.name.startswith("timm:"):
        return None, f"Without heatmaps within blobs: of {wanted.name}, a network of timm's, no tokens are read."
    try:
        require_extra("captum", "explain", "heatmaps need")
        if weights is None and not _weights_are_here(wanted.name, wanted.revision):
            return (
                None,
                f"Without heatmaps: the weights of {wanted.name} are not on this machine. --weights names them.",
            )
        return encoder_of(store, weights, device), ""
    except (EncoderError, MissingExtraError, SettingError) as error:
        if weights is not None:
            raise
        return None, f"Without heatmaps: {error}"


def _weights_are_here(name: str, revision: str) -> bool:
    from featstore.encoders import weights_present

    try:
        return weights_present(name, revision or None)
    except SettingError:  # a name of the user's own, for a folder
        return False
