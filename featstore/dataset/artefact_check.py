"""What may be wrong with an image, measured: foreign colours, pen ink, a replaced texture, focus, stain, emptiness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.dataset.absorbance import Absorbance, absorbance_of, opened
from featstore.dataset.artefacts import (
    ColourLimits,
    ColourShares,
    colour_pixels,
    colour_shares,
    contamination,
    contamination_note,
)
from featstore.dataset.ink import INKS, Ink, InkLimits, find_ink
from featstore.dataset.opencv import opencv
from featstore.dataset.quality import (
    BlankLimits,
    BlurLimits,
    StainLimits,
    TextureLimits,
    foreign_texture,
    sharpness,
    stain_angle,
    tissue_density,
    tissue_share,
)
from featstore.dataset.reasons import Reason

__all__ = ["KINDS", "Artefact", "ArtefactLimits", "SubtractLimits", "artefacts_note", "contaminant", "find_artefacts"]

Mask = NDArray[np.bool_]

COLOURS = ("green", "brown", "yellow")
RIM_PX = 3
"""Around ink its colour fades; in pixels of the coarse size."""

# what is measured, and how measure and limit read
_WORDS = {
    **{colour: ("{:.1%} of the tissue is " + colour, "at most {:.0%} may be") for colour in COLOURS},
    **{f"ink_{ink}": (ink + " ink covers {:.2%} of the image in one piece", "at most {:.2%} may be") for ink in INKS},
    "texture": ("{:.0%} of the tissue absorbs light as neither stain does: its texture was replaced", "at most {:.0%}"),
    "blur": ("out of focus: a sharpness of {:.3f}", "{:.3f} or more is expected"),
    "blank": ("blank: {:.2%} of the image is tissue", "{:.2%} or more is expected"),
    "stain": ("a stain {:.0f} degrees from haematoxylin and eosin", "at most {:.0f} are expected"),
    "faint": ("a faint stain: a mean absorbance of {:.2f}", "{:.2f} or more is expected"),
    "dark": ("dark tissue: a mean absorbance of {:.2f}", "at most {:.2f} is expected"),
}
KINDS = tuple(_WORDS)
_AT_LEAST = frozenset({"blur", "blank", "faint"})


@dataclass(frozen=True)
class SubtractLimits:
    """What is left of the tissue without its artefacts, and whether that is enough.

    Attributes
    ----------
    grow_px : int
        Artefacts are subtracted with a rim of this width, in pixels of an image of 1024 x 1200, in proportion in
        others: their edges are mixed with tissue.
    min_kept : float
        Least share of the tissue that must remain.
    min_kept_px : int
        Least tissue that must remain, in pixels.
    """

    grow_px: int = 4
    min_kept: float = 0.25
    min_kept_px: int = 2500


@dataclass(frozen=True)
class ArtefactLimits:
    """Every threshold of the search for artefacts.

    Attributes
    ----------
    colour, ink, texture, blur, blank, stain
        Those of each kind.
    subtract : SubtractLimits
        Of taking away what was found.
    """

    colour: ColourLimits = field(default_factory=ColourLimits)
    ink: InkLimits = field(default_factory=InkLimits)
    texture: TextureLimits = field(default_factory=TextureLimits)
    blur: BlurLimits = field(default_factory=BlurLimits)
    blank: BlankLimits = field(default_factory=BlankLimits)
    stain: StainLimits = field(default_factory=StainLimits)
    subtract: SubtractLimits = field(default_factory=SubtractLimits)


@dataclass(frozen=True, eq=False)
class Artefact:
    """One thing that was measured.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    measure, limit : float
        What was measured, and from where on it is too much; of blur, blank and faint, below what it is too little.
    pixels : ndarray of shape (height, width), bool, or None
        Where it was found; None where nothing was, or where it is a matter of the whole image.
    """

    kind: str
    measure: float
    limit: float
    pixels: Mask | None = None

    @property
    def over(self) -> bool:
        """Whether the measure is on the wrong side of its limit."""
        return self.measure < self.limit if self.kind in _AT_LEAST else self.measure > self.limit

    @property
    def note(self) -> str:
        """Measure and limit in words."""
        measured, allowed = _WORDS[self.kind]
        return f"{measured.format(self.measure)}, {allowed.format(self.limit)}"


def artefacts_note(artefacts: tuple[Artefact, ...]) -> str:
    """Say which artefacts are over their limits and by how much; empty when none is."""
    return "; ".join(artefact.note for artefact in artefacts if artefact.over)


def contaminant(
    artefacts: Sequence[Artefact], tissue: NDArray[Any] | None, limits: ArtefactLimits | None = None
) -> tuple[Reason | None, str]:
    """Tell what contaminates the tissue in use, so that an image is better not trained on; and that in words.

    Of `find_artefacts` that is a foreign colour, a replaced texture, or ink that covers the tissue itself. Focus and
    stain say nothing of what was painted or pasted.

    Parameters
    ----------
    artefacts : sequence of Artefact
    tissue : ndarray of shape (height, width), bool or uint8, or None
        Above 0 where there is tissue.
    limits : ArtefactLimits, optional
    """
    limits = limits or ArtefactLimits()
    shares = ColourShares(**{found.kind: found.measure for found in artefacts if found.kind in COLOURS})
    if colour := contamination(shares, limits.colour):
        return colour, contamination_note(shares, limits.colour)
    for found in artefacts:
        if found.kind == "texture" and found.over:
            return Reason.CONTAMINATED_TEXTURE, found.note
        if found.kind.startswith("ink_") and found.over and found.pixels is not None and tissue is not None:
            covered = float(np.mean(found.pixels[tissue > 0])) if np.any(tissue) else 0.0
            if covered > limits.ink.tissue:
                ink = found.kind.removeprefix("ink_")
                note = f"{covered:.1%} of the tissue is under {ink} ink, at most {limits.ink.tissue:.0%} may be"
                return Reason.CONTAMINATED_INK, note
    return None, ""


def find_artefacts(
    image: NDArray[np.uint8], tissue: NDArray[Any] | None = None, limits: ArtefactLimits | None = None
) -> tuple[Artefact, ...]:
    """Measure what may be wrong with an image.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8
        RGB.
    tissue : ndarray of shape (height, width), bool or uint8, optional
        Above 0 where there is tissue: the mask in use. The shares of colours are those of it, as `colour_shares`
        tells them; all else is looked for on the whole image.
    limits : ArtefactLimits, optional

    Returns
    -------
    tuple of Artefact
        In the order of `KINDS`, over their limits or not; without what can't be measured: of an image that shows no
        tissue neither its focus nor its stain is known.
    """
    limits = limits or ArtefactLimits()
    seen = absorbance_of(image)
    inks = find_ink(seen, limits.ink)
    found = [*_colours(image, tissue, seen, limits.colour), *_inks(inks, seen, limits.ink)]
    clear = _off_ink(seen, inks)
    blank = Artefact("blank", tissue_share(seen, clear, limits.blank), limits.blank.tissue)
    return (*found, blank) if blank.over else (*found, *_whole(image, seen, clear, blank, limits))


def _colours(
    image: NDArray[np.uint8], tissue: NDArray[Any] | None, seen: Absorbance, limits: ColourLimits
) -> Iterator[Artefact]:
    shares = colour_shares(image, tissue, limits)
    classes = None
    for number, colour in enumerate(COLOURS, 1):
        artefact = Artefact(colour, getattr(shares, colour), getattr(limits, colour))
        if artefact.over:
            classes = colour_pixels(seen.levels, limits) if classes is None else classes
            pixels = _whole_patches(np.asarray(classes == number))
            if tissue is not None:
                pixels &= seen.reduced(tissue)
            artefact = Artefact(colour, artefact.measure, artefact.limit, seen.enlarged(pixels))
        yield artefact


def _whole_patches(mask: Mask) -> Mask:
    """Join what lies close, drop specks, fill holes: gloss on a pasted blob is white."""
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes(opened(opened(mask, 7, close=True), 5)), np.bool_)


def _inks(inks: dict[str, Ink], seen: Absorbance, limits: InkLimits) -> Iterator[Artefact]:
    for name, ink in inks.items():
        pixels = seen.enlarged(ink.pixels) if ink.largest > 0 else None
        yield Artefact(f"ink_{name}", ink.largest, limits.share, pixels)


def _off_ink(seen: Absorbance, inks: dict[str, Ink]) -> Mask:
    """Leave ink and its rim out of the tissue, at the coarse size: they say nothing of focus, stain and texture."""
    clear = seen.silhouette.copy()
    for ink in inks.values():
        if ink.largest > 0:
            cv2 = opencv()
            small = cv2.resize(ink.pixels.view(np.uint8), clear.shape[::-1], interpolation=cv2.INTER_NEAREST)
            clear &= cv2.dilate(small, np.ones((2 * RIM_PX + 1,) * 2, np.uint8)) == 0
    return clear


def _whole(
    image: NDArray[np.uint8], seen: Absorbance, tissue: Mask, blank: Artefact, limits: ArtefactLimits
) -> Iterator[Artefact]:
    foreign, share = foreign_texture(seen, tissue, limits.texture)
    yield Artefact("texture", share, limits.texture.share, seen.enlarged(foreign) if foreign.any() else None)
    focus = sharpness(image, tissue)
    if focus is not None:
        yield Artefact("blur", focus, limits.blur.sharpness)
    yield blank
    density = tissue_density(seen, tissue)
    yield Artefact("stain", stain_angle(density), limits.stain.angle)
    yield Artefact("faint", float(density.sum()), limits.stain.faint)
    yield Artefact("dark", float(density.sum()), limits.stain.dark)
