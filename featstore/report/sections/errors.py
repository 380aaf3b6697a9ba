"""The most confident errors, each explained by the one member of the ensemble that was not trained on the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from featstore.errors import FeatstoreError
from featstore.report.fitted import OutOfFold, member_of
from featstore.report.thumbnails import Originals, Pixels, encode_within, shrunk
from featstore.report.words import plural
from featstore.store import Store
from featstore.store.bags import Bag
from featstore.store.scales import TILES

if TYPE_CHECKING:
    from featstore.encoders import Encoder
    from featstore.explain import Explanation, Picture

__all__ = ["ConfidentError", "confident_errors"]

_WIDTH_PX, _QUALITY = 860, 74
BUDGET_BYTES = 2_500_000
"""Of all pictures of errors; with the thumbnails of some thousand images the page stays under 15 MB."""

BlobRow = tuple[int, str, float, float, float]


@dataclass(frozen=True, eq=False)
class ConfidentError:
    """One image that is predicted wrongly out of fold.

    Attributes
    ----------
    image, label, predicted : str
    confidence, probability_of_label : float
    fold : int
        Whose member says so.
    blobs : list of tuple of (int, str, float, float, float)
        Number, its crops, contribution to the log-odds of the predicted class, its probability without the blob and by
        the blob alone. Empty where the model can't be asked.
    picture : bytes
        WebP; empty without one.
    size : tuple of 2 ints
        Width and height of the picture in pixels.
    notes : tuple of str
        Why there is no picture, or no heatmap.
    """

    image: str
    label: str
    predicted: str
    confidence: float
    probability_of_label: float
    fold: int
    blobs: Sequence[BlobRow]
    picture: bytes
    size: tuple[int, int]
    notes: tuple[str, ...]


def confident_errors(
    model: Any,
    store: Store,
    found: OutOfFold,
    originals: Originals,
    most: int,
    encoder: Encoder | None = None,
    callback: Callable[[int, int], object] = lambda *_: None,
) -> list[ConfidentError]:
    """Explain the errors that the model is most sure of; of equal ones the first by name.

    Parameters
    ----------
    model : FoldEnsemble
    store : Store
    found : OutOfFold
    originals : Originals
    most : int
    encoder : Encoder, optional
        For heatmaps; without one there are contributions of blobs alone.
    callback : callable
        Called with how many are done, and of how many.
    """
    sure = found.probabilities.max(axis=1)
    order = [place for place in np.lexsort((found.images, -sure)) if found.wrong[place]][:most]
    explained, drawn = [], {}
    for number, place in enumerate(order):
        error, pixels = _explained(model, store, found, originals, int(place), encoder)
        explained.append(error)
        if pixels is not None:
            drawn[error.image] = pixels
        callback(number + 1, len(order))
    pictures = encode_within(drawn, BUDGET_BYTES, _QUALITY)
    return [replace(error, picture=pictures.get(error.image, b"")) for error in explained]


def _explained(
    model: Any, store: Store, found: OutOfFold, originals: Originals, place: int, encoder: Encoder | None
) -> tuple[ConfidentError, Pixels | None]:
    image, fold = str(found.images[place]), int(found.folds[place])
    predicted = str(found.classes[found.predicted[place]])
    member = member_of(model, fold)
    drawn: Pixels | None = None
    blobs, notes = _stored_blobs(member, found.bags[place], predicted)
    try:
        opened, why = _open(originals, image)
        if opened is None:
            notes.append(why)
        elif blobs:
            said = _explain(member, store, image, opened, predicted, encoder)
            drawn = _drawn(opened.pixels, said)
            notes.extend(said.notes)
    except FeatstoreError as failure:
        notes.append(f"no picture: {failure}")
    error = ConfidentError(
        image=image,
        label=str(found.classes[found.codes[place]]),
        predicted=predicted,
        confidence=float(found.probabilities[place].max()),
        probability_of_label=float(found.probabilities[place, found.codes[place]]),
        fold=fold,
        blobs=blobs,
        picture=b"",
        size=(0, 0) if drawn is None else (drawn.shape[1], drawn.shape[0]),
        notes=tuple(notes),
    )
    return error, drawn


def _open(originals: Originals, image: str) -> tuple[Picture | None, str]:
    """Open an image with its mask, or say why not."""
    from featstore.dataset import read_image, read_mask
    from featstore.explain import Picture

    record = originals.record(image)
    if record is None:
        return None, "the image is not at hand"
    if not originals.same(image):
        return None, "the image or its mask is not the file that was extracted"
    pixels = read_image(record.path)
    mask = read_mask(record.mask_path, shape=pixels.shape[:2]) if record.mask_path else None
    return Picture(record.path, pixels, mask), ""


def _explain(
    member: Any, store: Store, image: str, opened: Picture, label: str, encoder: Encoder | None
) -> Explanation:
    """Explain by the encoder where it brings a heatmap, else by what is stored."""
    from featstore.explain import StoreExplainer, explain_stored

    name = "the member that was not trained on it"
    if encoder is not None:
        explainer = StoreExplainer(member, store, encoder, name)
        if not explainer.why_no_map("grad-cam"):
            return explainer.explain(opened, label)[0]
    return explain_stored(member, store, image, opened, label, name)


def _drawn(pixels: Pixels, said: Explanation) -> Pixels:
    """Draw an explanation; its notes stand beside the picture, as text."""
    from featstore.dataset.pixels import decode_image
    from featstore.explain import explanations_png

    whole = decode_image(explanations_png(pixels, [replace(said, notes=())]), "a drawing")
    return shrunk(whole, _WIDTH_PX)


def _stored_blobs(member: Any, bag: Bag, label: str) -> tuple[list[BlobRow], list[str]]:
    """Tell what each stored blob did to the decision, or why that can't be told; no image is needed for that."""
    from featstore.explain import blob_contributions

    fingerprint = str(member.provenance_["fingerprint"])
    try:
        found = blob_contributions(member, bag.embeddings, fingerprint, scale=bag.scale, parent=bag.parent)
    except FeatstoreError as error:
        several = "several scales: " if len(np.unique(bag.scale)) > 1 else ""
        return [], [f"{several}no contributions of blobs ({error.found})"]
    position = [str(name) for name in member.classes_].index(label)
    blobs = np.unique(bag.parent)
    rows = zip(blobs, found.of(position), found.without[:, position], found.alone[:, position], strict=True)
    return [(int(blob), _crops(bag, blob), float(c), float(w), float(a)) for blob, c, w, a in rows], []


def _crops(bag: Bag, blob: int) -> str:
    """Name the crops of a blob: ``scales 1, 2; 3 tiles``."""
    scales = np.sort(bag.scale[bag.parent == blob])
    tiles = int((scales == TILES).sum())
    wider = scales[scales != TILES]
    named = f"{'scale' if len(wider) == 1 else 'scales'} {', '.join(map(str, wider))}" if len(wider) else ""
    return "; ".join(filter(None, [named, plural(tiles, "tile") if tiles else ""]))
