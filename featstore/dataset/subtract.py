"""Tissue without what was pasted or drawn on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.dataset.artefact_check import COLOURS, Artefact, ArtefactLimits
from featstore.dataset.ink import INKS
from featstore.dataset.opencv import opencv

__all__ = ["enough_remains", "subtract_artefacts"]

Mask = NDArray[np.bool_]

LOCAL = frozenset({*COLOURS, *(f"ink_{ink}" for ink in INKS)})
"""Kinds that lie somewhere on the image; a texture that was replaced leaves nothing, focus and stain are everywhere."""

USUAL_PX = 1024 * 1200


def subtract_artefacts(
    tissue: NDArray[Any], artefacts: Sequence[Artefact], limits: ArtefactLimits | None = None
) -> Mask:
    """Take pasted blobs and ink off the tissue.

    Parameters
    ----------
    tissue : ndarray of shape (height, width), bool or uint8
        Above 0 where there is tissue.
    artefacts : sequence of Artefact
        Of the same image; those within their limits, and those of the whole image, change nothing.
    limits : ArtefactLimits, optional

    Returns
    -------
    ndarray of shape (height, width), bool
    """
    limits = limits or ArtefactLimits()
    taken = np.zeros(tissue.shape, np.bool_)
    for artefact in artefacts:
        if artefact.over and artefact.kind in LOCAL and artefact.pixels is not None:
            taken |= artefact.pixels
    if taken.any():
        cv2 = opencv()
        grow_px = round(limits.subtract.grow_px * (tissue.size / USUAL_PX) ** 0.5)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow_px + 1,) * 2)
        taken = cv2.dilate(taken.view(np.uint8), disc).view(np.bool_)
    return np.asarray((tissue > 0) & ~taken)


def enough_remains(before: NDArray[Any], after: NDArray[Any], limits: ArtefactLimits | None = None) -> bool:
    """Tell whether tissue without its artefacts is still worth cropping: a share of it and a number of pixels.

    Parameters
    ----------
    before, after : ndarray of shape (height, width), bool or uint8
        Tissue with and without the artefacts. A small mask that lost nothing is enough as it is.
    limits : ArtefactLimits, optional
    """
    kept = (limits or ArtefactLimits()).subtract
    had, has = int(np.count_nonzero(before)), int(np.count_nonzero(after))
    return has == had > 0 or has >= max(kept.min_kept * had, kept.min_kept_px)
