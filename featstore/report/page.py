"""The page: all sections in one file that asks nothing of any network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from featstore import __version__
from featstore.errors import ModelError
from featstore.report.bokeh_map import map_data
from featstore.report.checked import doubts_of
from featstore.report.fitted import OutOfFold, out_of_fold
from featstore.report.rendering import rendered
from featstore.report.sections.data import data_section, left_out
from featstore.report.sections.errors import ConfidentError, confident_errors
from featstore.report.sections.neighbours import embedded, neighbours_section
from featstore.report.sections.places import PlacesSection, places_section
from featstore.report.sections.scores import (
    FIGURES,
    folds_section,
    reproduction_section,
    selection_section,
    sweep_section,
)
from featstore.report.sections.unseen import test_section
from featstore.report.thumbnails import Originals, Thumbnails
from featstore.report.words import plural
from featstore.store import Store
from featstore.toolkit.predictions import Prediction, predict_images

if TYPE_CHECKING:
    from featstore.encoders import Encoder

__all__ = ["Page", "Subject", "make_page"]

Values = dict[str, Any]

_TITLES = {
    "data": "Data",
    "scores": "Folds and scores",
    "map": "Map of the embeddings",
    "errors": "The most confident errors",
    "neighbours": "Nearest neighbours",
}


@dataclass(frozen=True, eq=False)
class Subject:
    """What a report is about.

    Attributes
    ----------
    store : Store
    originals : Originals
        The images that the store was extracted from, as far as they are at hand.
    model : FoldEnsemble or None
        Fitted on this store.
    model_name : str
    evaluation, reproduction : dict or None
        As `featstore.report.given` reads them.
    sweep : list of dict or None
    encoder : Encoder or None
        For heatmaps.
    why_no_heatmaps : str
    n_errors : int
        Most of the errors that are shown.
    notes : tuple of str
        What the reader should know, a sentence each.
    """

    store: Store
    originals: Originals
    model: Any = None
    model_name: str = ""
    evaluation: Values | None = None
    sweep: list[Values] | None = None
    reproduction: Values | None = None
    encoder: Encoder | None = None
    why_no_heatmaps: str = ""
    n_errors: int = 12
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """A page, and what is in it.

    Attributes
    ----------
    html : bytes
    sections : list of str
    images : int
        With embeddings.
    thumbnails : int
    notes : list of str
        What the page says at its top.
    """

    html: bytes
    sections: list[str]
    images: int
    thumbnails: int
    notes: list[str] = field(default_factory=list)


def make_page(subject: Subject, callback: Callable[[str, int, int], object] = lambda *_: None) -> Page:
    """Make the page; the same subject makes the same bytes.

    Parameters
    ----------
    subject : Subject
    callback : callable
        Called with what is being made, how many are done, and of how many.

    Raises
    ------
    MissingExtraError
        If matplotlib, Bokeh or Jinja2 is not installed.
    """
    store, model = subject.store, subject.model
    found, why_not = _out_of_fold(model, store)
    predictions = _predictions(model, store)
    by_image = {prediction.row.image: prediction for prediction in predictions}
    images = embedded(store)
    places = places_section(images, found, by_image)
    errors = None
    if found is not None:
        errors = confident_errors(
            model,
            store,
            found,
            subject.originals,
            subject.n_errors,
            subject.encoder,
            lambda done, of: callback("errors", done, of),
        )
    neighbours = neighbours_section(images, by_image)
    values: Values = {
        "data": data_section(store),
        "folds": None if found is None else folds_section(model, found),
        "selection": None if found is None else selection_section(found),
        "why_no_selection": why_not,
        "test": test_section(model, store, predictions, found),
        "places": places,
        "errors": errors,
        "several_scales": found is not None and len(found.bags.scales) > 1,
        "neighbours": neighbours,
    }
    thumbnails = Thumbnails.make(
        subject.originals,
        _wanted(store, errors or [], images.images, neighbours),
        lambda done, of: callback("images", done, of),
    )
    return _written(subject, values, thumbnails, found, places)


def _written(
    subject: Subject, values: Values, thumbnails: Thumbnails, found: OutOfFold | None, places: PlacesSection | None
) -> Page:
    has = {"data": True, "scores": True, "map": places, "errors": values["errors"] is not None}
    has |= {"neighbours": values["neighbours"]}
    sections = [(name, words) for name, words in _TITLES.items() if has[name]]
    notes = [*subject.notes, *_notes(thumbnails, found, subject)]
    encoder = subject.store.recipe.get("encoder")
    values |= {
        "title": subject.store.path.name,
        "software": __version__,
        "encoder": encoder.get("name", "unknown") if isinstance(encoder, Mapping) else encoder or "unknown",
        "classes": sum(map(bool, values["data"]["classes"])),
        "sections": sections,
        "notes": notes,
        "model_name": subject.model_name if subject.model is not None else "",
        "thumbnails": thumbnails,
        "has_pictures": bool(thumbnails.files),
        "why_no_heatmaps": subject.why_no_heatmaps,
        "figure_names": FIGURES,
        "evaluation": subject.evaluation,
        "sweep": None if subject.sweep is None else sweep_section(subject.sweep),
        "reproduction": None if subject.reproduction is None else reproduction_section(subject.reproduction),
        "doubts": _doubts(subject),
        "item": None if places is None else map_data(places, thumbnails),
    }
    html = rendered(values).encode()
    return Page(html, [name for name, _ in sections], values["data"]["info"]["images"], len(thumbnails.files), notes)


def _out_of_fold(model: Any, store: Store) -> tuple[OutOfFold | None, str]:
    if model is None:
        return None, ""
    try:
        return out_of_fold(model, store), ""
    except ModelError as error:
        return None, f"Nothing out of fold: {error}"


def _predictions(model: Any, store: Store) -> list[Prediction]:
    if model is None or not any(row.split == "test" for row in store.images.values()):
        return []
    return predict_images(model, store)


def _wanted(store: Store, errors: list[ConfidentError], images: list[str], neighbours: Values | None) -> list[str]:
    """List the images to make thumbnails of, those first that a page can least do without."""
    near: list[str] = []
    for row in (neighbours or {"rows": []})["rows"]:
        near += [row["image"], *(image for image, _, _ in row["nearest"])]
    return [*left_out(store), *(error.image for error in errors), *near, *images]


def _notes(thumbnails: Thumbnails, found: OutOfFold | None, subject: Subject) -> list[str]:
    notes = []
    if subject.originals.records and thumbnails.lacking:
        usable = subject.store.usable()
        changed = sum(name in usable for name in thumbnails.lacking)
        if changed:
            notes.append(
                f"{plural(changed, 'image')} without a picture: the file is gone, or is not what was extracted."
            )
    if thumbnails.beyond:
        notes.append(f"{plural(thumbnails.beyond, 'image')} without a picture: a page of more would be too large.")
    if found is not None and found.version != subject.store.version:
        notes.append(
            f"The model was fitted on version {found.version} of the store, whose labels are those of its figures; "
            f"the rest is of version {subject.store.version}."
        )
    return notes


def _doubts(subject: Subject) -> dict[str, list[str]]:
    """Tell what is doubtful about each of what other commands found."""
    of_sweep = {"data_digest": all(row.get("data_digest") for row in subject.sweep or ())}
    found = {"evaluation": subject.evaluation, "reproduction": subject.reproduction}
    found["sweep"] = of_sweep if subject.sweep is not None else None
    model = subject.model
    return {
        name: [] if content is None else doubts_of(content, subject.store, model) for name, content in found.items()
    }
