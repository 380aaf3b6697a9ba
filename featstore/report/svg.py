"""Charts as SVG inside of a page: the same bytes for the same chart, in the page's own colour of text."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from featstore.report.curves import quiet, require_matplotlib
from featstore.report.palette import INK

__all__ = ["chart", "inline_svg"]

_SETTINGS: Any = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.family": "sans-serif",
    "font.size": 10.0,
    "legend.frameon": False,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and copied
    "svg.hashsalt": "featstore",
    "text.color": INK,
    "text.parse_math": False,  # a label with $ is no formula
    "xtick.color": INK,
    "ytick.color": INK,
}


@contextmanager
def chart(width_in: float, height_in: float) -> Iterator[Any]:
    """Yield an empty figure of matplotlib; all that is drawn in it, and `inline_svg` of it, belongs inside."""
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with quiet(), rc_context(_SETTINGS):
        yield Figure(figsize=(width_in, height_in), layout="constrained")


def inline_svg(figure: Any, told: str, name: str) -> str:
    """Return a figure as an ``<svg>`` element.

    Parameters
    ----------
    figure : Figure
    told : str
        What it shows, for those who can't see it.
    name : str
        What its ids begin with, since those of all charts on a page must differ.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    file = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(file, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    drawing = text[text.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", drawing)
    drawing = drawing.replace(INK, "currentColor")
    head, rest = drawing.split(">", 1)
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head).replace("\n", " ")
    width_px = round(96 * float(figure.get_figwidth()))
    named = f'{head} role="img" aria-label="{html.escape(told)}" style="max-width:{width_px}px">'
    return named + rest.strip()
