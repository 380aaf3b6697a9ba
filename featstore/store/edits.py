"""What a writer says of images until it commits: rows as they are to be, and the edits that make them so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from featstore.store.disk.commits import Edit
from featstore.store.disk.versions import Version
from featstore.store.images import ImageRow, check_row, merged

__all__ = ["Edits", "become", "become_unless_replaced", "say"]


class Edits:
    """Edits of image rows upon a version.

    Parameters
    ----------
    base : Version
        Read when an image is first asked for.
    """

    def __init__(self, base: Version) -> None:
        self._base = base
        self._steps: dict[str, list[Edit]] = {}
        self.rows: dict[str, ImageRow] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def current(self, image: str) -> ImageRow | None:
        """Return an image's row as it is to be, None where there is none."""
        return self.rows.get(image) or self._base.image(image)

    def edit(self, image: str, edit: Edit) -> None:
        """Change an image's row, here and again in the version that is built upon when this is committed.

        What changes nothing is not noted, but after other edits, which may come to something else by then.
        """
        old = self.current(image)
        new = check_row(edit(old))
        if new != old or image in self.rows:
            self.rows[image] = new
            self._steps.setdefault(image, []).append(edit)

    def combined(self) -> dict[str, Edit]:
        """Return one edit an image, which carries out all of them."""
        return {image: partial(_in_turn, steps) for image, steps in self._steps.items()}


def become(row: ImageRow) -> Edit:
    """Make the edit that gives an image this row, but keeps what the store was told of it: see `merged`."""
    return lambda old: merged(old, row) if old else row


def become_unless_replaced(row: ImageRow, known: ImageRow | None) -> Edit:
    """Make the same edit, which yields where another writer gave the image other content than was known."""
    contents = {row.identity, *([known.identity] if known else [])}
    return lambda old: old if old and old.identity not in contents else become(row)(old)


def say(image: str, said: Mapping[str, str | None], blobs: int, new: Mapping[str, Any]) -> Edit:
    """Make the edit of what a user says of an image; what is not said stays, or is ``new`` where there was nothing."""
    given: dict[str, Any] = {name: value for name, value in said.items() if value is not None}

    def edit(old: ImageRow | None) -> ImageRow:
        if old is None:
            return ImageRow(image, **{"sample_index": image, "blobs": blobs, **new, **given})
        return replace(old, blobs=max(old.blobs, blobs), **given)

    return edit


def _in_turn(steps: list[Edit], row: ImageRow | None) -> ImageRow:
    """Carry out the edits of one image, the first first."""
    first, *others = steps
    edited = first(row)
    for step in others:
        edited = step(edited)
    return edited
