"""Colours and shapes that tell classes and folds apart, for people who see colours differently as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["BLUE", "GREEN", "GREY", "INK", "ORANGE", "PURPLE", "SHAPES", "VERMILION", "Mark", "marks"]

BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW = COLOURS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#f0e442",
)
"""Okabe and Ito's, without their black."""

GREY = "#949494"
"""What is neither: no label, no prediction."""

INK = "#0b0c0d"
"""Text and axes of a chart; on the page it becomes the colour of the text, light or dark."""

SHAPES = {
    "circle": ("o", "M5 0A5 5 0 1 1-5 0A5 5 0 1 1 5 0Z"),
    "square": ("s", "M-4.4-4.4H4.4V4.4H-4.4Z"),
    "triangle": ("^", "M0-5.4L5.2 4H-5.2Z"),
    "diamond": ("D", "M0-6L5 0L0 6L-5 0Z"),
    "inverted_triangle": ("v", "M0 5.4L5.2-4H-5.2Z"),
    "hex": ("H", "M5.2 0L2.6 4.6H-2.6L-5.2 0L-2.6-4.6H2.6Z"),
    "star": ("*", "M0-6L1.5-2.1L5.7-1.9L2.4.8L3.5 4.9L0 2.5L-3.5 4.9L-2.4.8L-5.7-1.9L-1.5-2.1Z"),
}
"""Bokeh's name of a shape; matplotlib's; and its outline in a square from -6 to 6, for legends."""


@dataclass(frozen=True)
class Mark:
    """How something looks on the map: a colour and a shape."""

    name: str
    colour: str = GREY
    shape: str = "circle"
    size: int = 9

    @property
    def outline(self) -> str:
        """The shape as the path of an SVG."""
        return SHAPES[self.shape][1]


def marks(names: Sequence[str]) -> list[Mark]:
    """Give each of several names a mark of its own: up to 49 pairs of colour and shape, then grey circles."""
    shapes, count = list(SHAPES), len(COLOURS)
    found = [
        Mark(name, COLOURS[place % count], shapes[(place + place // count) % len(shapes)])
        for place, name in enumerate(names[: count * len(shapes)])
    ]
    return found + [Mark(name) for name in names[len(found) :]]
