"""The map as a plot of Bokeh's, with nothing in it that is drawn at random or has to be fetched."""

from __future__ import annotations

import json
import re
from typing import Any

from featstore.extras import require_extra
from featstore.report.palette import Mark
from featstore.report.sections.places import PlacesSection
from featstore.report.thumbnails import Thumbnails
from featstore.report.words import shown

__all__ = ["TARGET", "bokeh_script", "map_data", "plot_item"]

TARGET = "map-plot"
"""The id of the element that the plot goes into."""

_LINE = "#7a7a7a"
"""Told from white and from black alike; text needs more, and gets the page's own colour from its script."""

_ID = re.compile(r"p[0-9]+")


def bokeh_script() -> str:
    """Return BokehJS, for plots without widgets."""
    require_extra("bokeh", "report", "the map needs")
    from bokeh.resources import Resources

    (script,) = Resources(mode="inline", components=["bokeh"]).js_raw[:1]
    return str(script)


def map_data(places: PlacesSection, thumbnails: Thumbnails) -> dict[str, Any]:
    """Collect what the page's script needs: the plot, how images look in each colouring, and what to tell of them."""
    known: dict[Mark, int] = {}
    looks = {how: [known.setdefault(mark, len(known)) for mark in look] for how, look in places.looks.items()}
    told = [
        {"image": shown(image), "thumb": thumbnails.number(image), "words": shown(_words(said))}
        for image, said in zip(places.images, places.told, strict=True)
    ]
    marks = [[mark.colour, mark.shape, mark.size] for mark in known]
    return {"item": plot_item(places), "looks": looks, "marks": marks, "told": told}


def plot_item(section: PlacesSection) -> dict[str, Any]:
    """Return the plot as JSON that ``Bokeh.embed.embed_item`` takes; the same section makes the same.

    Columns ``colour``, ``shape`` and ``size`` are what is shown; the page's script fills them for other colourings.
    """
    require_extra("bokeh", "report", "the map needs")
    from bokeh.core.types import ID
    from bokeh.embed import json_item
    from bokeh.models import ColumnDataSource, HoverTool, TapTool
    from bokeh.plotting import figure

    look = section.looks["class"]
    columns = {
        "x": section.places[:, 0].tolist(),
        "y": section.places[:, 1].tolist(),
        "colour": [mark.colour for mark in look],
        "shape": [mark.shape for mark in look],
        "size": [mark.size for mark in look],
    }
    source = ColumnDataSource(columns, name="images")
    plot = figure(
        height=520,
        sizing_mode="stretch_width",
        tools="pan,box_zoom,wheel_zoom,reset",
        active_drag=None,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        x_axis_label=section.axes[0],
        y_axis_label=section.axes[1],
    )
    points = plot.scatter(
        "x",
        "y",
        source=source,
        size="size",
        marker="shape",
        fill_color="colour",
        line_color=_LINE,
        line_width=0.5,
        fill_alpha=0.9,
        nonselection_fill_alpha=0.5,
        nonselection_line_alpha=0.5,
    )
    plot.add_tools(HoverTool(renderers=[points], tooltips=None), TapTool(renderers=[points]))
    plot.toolbar.logo = None
    for axis, name in zip((plot.xaxis[0], plot.yaxis[0]), ("x-axis", "y-axis"), strict=True):
        axis.name = name
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = _LINE
    plot.grid.grid_line_color, plot.grid.grid_line_alpha = _LINE, 0.2
    item: dict[str, Any] = _renumbered(json.loads(json.dumps(json_item(plot, ID(TARGET)))), {})
    return item


def _renumbered(value: Any, known: dict[str, str]) -> Any:
    """Count ids anew: Bokeh counts them through all that a process makes."""
    if isinstance(value, list):
        return [_renumbered(each, known) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _number(each, known) if _is_id(name, each) else _renumbered(each, known) for name, each in value.items()
    }


def _is_id(name: str, value: Any) -> bool:
    return name in ("id", "root_id") and isinstance(value, str) and _ID.fullmatch(value) is not None


def _number(name: str, known: dict[str, str]) -> str:
    return known.setdefault(name, f"p{1001 + len(known)}")


def _words(said: dict[str, Any]) -> str:
    parts = [f"{said['split']}, label {said['label'] or 'unknown'}"]
    if said["predicted"]:
        how = "by the ensemble" if said["fold"] is None else f"out of fold {said['fold']}"
        parts.append(f"predicted {said['predicted']} with confidence {said['confidence']:.2f} {how}")
    return "; ".join(parts)
