"""To which colours images are brought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from featstore.canonical import require

__all__ = ["STAIN_REFERENCES", "StainSettings"]

STAIN_REFERENCES: dict[str, tuple[float, ...]] = {
    "macenko": (0.5626, 0.7201, 0.4062, 0.2159, 0.8012, 0.5581, 1.9705, 1.0308),
    "reinhard": (51.6, 43.3, -9.7, 11.4, 8.1, 4.5),
}
"""Macenko's is that of the method's first implementation, which others took over; Reinhard's the median of twelve
fields of two slides, one of them of the TCGA."""


@dataclass(frozen=True)
class StainSettings:
    """To which colours an image is brought before it is cropped.

    Attributes
    ----------
    method : {"none", "macenko", "reinhard"}
    reference : tuple of float
        What images are brought to. For Macenko the optical densities (red, green, blue) of haematoxylin and of eosin,
        and the 99th percentile of the concentration of each; for Reinhard the means of L, a and b of stained pixels,
        and their standard deviations. Usually one of `STAIN_REFERENCES`.
    version : int
        Rises when the same settings would give other pixels.
    """

    method: str = "none"
    reference: tuple[float, ...] = ()
    version: int = 1

    def __post_init__(self) -> None:
        known = {"none": (), **STAIN_REFERENCES}
        require(self.method in known, f"stain method is {self.method!r}", f"one of {', '.join(known)}")
        wanted = len(known[self.method])
        ok = len(self.reference) == wanted and all(abs(value) < 1000 for value in self.reference)
        require(ok, f"the reference of {self.method} is {self.reference}", f"{wanted} numbers")

    @classmethod
    def to(cls, method: str) -> Self:
        """Return a method with the reference that it comes with."""
        return cls(method, STAIN_REFERENCES.get(method, ()))
