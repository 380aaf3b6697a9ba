"""What is said of one image by one system, whatever kind of system it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError, SettingError

__all__ = ["BlobShare", "Explanation", "Heatmap", "position_of"]

Heatmap = NDArray[np.float32]
"""Of shape (height, width) of the image; 0 or more, 0 where nothing speaks for the class."""


@dataclass(frozen=True, eq=False)
class BlobShare:
    """What one blob did to the decision.

    Attributes
    ----------
    blob : int
        Its number; 0 is the largest.
    area_px : int
    box : tuple of 4 ints
        (x0, y0, x1, y1) in pixels of the image, half-open.
    contribution : float
        The class's log-odds with all blobs less those without this one.
    probability_without : float
        Of the class, without this blob.
    probability_alone : float
        Of the class, if this blob were all there is.
    outline : tuple of ndarray of shape (n, 2), int
        Closed curves, as (x, y) in pixels of the image.
    """

    blob: int
    area_px: int
    box: tuple[int, int, int, int]
    contribution: float
    probability_without: float
    probability_alone: float
    outline: tuple[NDArray[np.int32], ...] = ()


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why one system gives one class to one image: what a panel of a picture shows.

    Attributes
    ----------
    system : str
        What people call the model; the panel's title.
    label : str
        The class that is explained.
    probability : float
        Of this class.
    probabilities : mapping from str to float
        Of all classes.
    method : str
        How the heatmap was made; empty without one.
    heatmap : ndarray of shape (height, width), float32, or None
        In pixels of the image.
    blobs : tuple of BlobShare
        Empty for systems that see the image as a whole.
    notes : tuple of str
        What to know, a sentence each: why there is no heatmap, for instance.

    Raises
    ------
    DataError
        If the heatmap is not a plane of finite numbers, 0 or more.
    """

    system: str
    label: str
    probability: float
    probabilities: Mapping[str, float] = field(default_factory=dict)
    method: str = ""
    heatmap: Heatmap | None = None
    blobs: tuple[BlobShare, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        heat = self.heatmap
        if heat is not None and (heat.ndim != 2 or not np.isfinite(heat).all() or heat.min(initial=0) < 0):
            raise DataError(
                f"a heatmap of shape {heat.shape} from {self.system}",
                expected="a plane (height, width) of finite numbers, 0 or more",
            )

    @property
    def maximum(self) -> tuple[int, int] | None:
        """The (x, y) of the heatmap's largest value, the middle one of several; None where it is 0 throughout."""
        if self.heatmap is None or not self.heatmap.any():
            return None
        rows, columns = np.nonzero(self.heatmap == self.heatmap.max())
        middle = len(rows) // 2
        return int(columns[middle]), int(rows[middle])

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain types: no heatmap, no outlines."""
        shown = ("blob", "area_px", "box", "contribution", "probability_without", "probability_alone")
        return {
            "system": self.system,
            "label": self.label,
            "probability": self.probability,
            "probabilities": dict(self.probabilities),
            "blobs": [{name: getattr(each, name) for name in shown} for each in self.blobs],
            "method": self.method,
            "maximum": None if self.maximum is None else dict(zip("xy", self.maximum, strict=True)),
            "notes": list(self.notes),
        }


def position_of(label: str, classes: Sequence[str], system: str) -> int:
    """Return the position of a class among those that a system knows.

    Raises
    ------
    SettingError
        If it is not among them.
    """
    if label not in classes:
        raise SettingError(f"{system} knows no class {label!r}", expected=f"one of {', '.join(map(repr, classes))}")
    return list(classes).index(label)
