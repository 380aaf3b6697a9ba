"""The encoder that made a store's embeddings, for gradients through it."""

from __future__ import annotations

from pathlib import Path

from featstore.encoders import Encoder, load_encoder
from featstore.errors import SettingError, WeightsNotFoundError
from featstore.recipe import Recipe
from featstore.store import Store

__all__ = ["encoder_of"]


def encoder_of(store: Store, weights: Path | None = None, device: str = "auto") -> Encoder:
    """Load the encoder that made a store's embeddings, in float32: gradients want all digits, whatever the device.

    Parameters
    ----------
    store : Store
    weights : Path, optional
        The folder that they were in, if they came from one.
    device : str
        As `featstore.encoders.load_encoder` takes it.

    Raises
    ------
    WeightsNotFoundError
        If they are neither here nor to be had.
    SettingError
        If the recipe is not that of an extraction.
    """
    wanted = Recipe.from_dict(store.recipe).encoder
    revision = wanted.revision or None if weights is None else None
    try:
        return load_encoder(wanted.name, weights=weights, revision=revision, device=device, precision="float32")
    except (WeightsNotFoundError, SettingError) as error:
        # Without a revision weights came from a folder; then a name may be any, and is known to no hub and no library.
        if weights is not None or wanted.revision or wanted.weights_digest == "none":
            raise
        raise WeightsNotFoundError(
            f"{store.path} was made with weights of {wanted.name} from a folder, and they are not in the hub's cache",
            remedy="Name that folder with --weights, or with --compare-weights for a second model.",
        ) from error
