"""Label tables: ``sample_index,label`` and whatever else stands beside them. Needs neither OpenCV nor numpy."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from featstore.dataset.records import listing, plural
from featstore.dataset.tables import Row, read_table
from featstore.errors import LabelError

__all__ = ["LabelRow", "LabelTable", "clean_label", "clean_split", "join_spellings", "read_label_csv"]

KNOWN = ("sample_index", "image", "label", "split", "group")
_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}


@dataclass(frozen=True)
class LabelRow:
    """What a label table says of one image.

    Attributes
    ----------
    sample_index : str
        The image's name, as written.
    label, group : str
        Empty when the table doesn't say.
    split : str
        ``train``, ``test``, or empty.
    line : int
        Line of the file, from 1.
    conflict : str
        Empty, or in words how several rows of this image contradict each other; ``label`` is empty then.
    cells : mapping of str to str
        All columns of the row, under the names in `LabelTable.columns`.
    """

    sample_index: str
    label: str
    split: str
    group: str
    line: int
    conflict: str
    cells: Mapping[str, str]


@dataclass(frozen=True)
class LabelTable:
    """A label file: one row an image, in the order in which images first appear.

    Attributes
    ----------
    path : Path
        The file.
    columns : tuple of str
        Its columns; ``sample_index``, ``label``, ``split`` and ``group`` in this spelling, others in their own.
    rows : tuple of LabelRow
        A row for each image.
    warnings : tuple of str
        What was joined or repeated, a sentence each.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[LabelRow, ...]
    warnings: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that occur, sorted."""
        return tuple(sorted({row.label for row in self.rows if row.label}))


def clean_label(text: str) -> str:
    """Trim a label and bring it into Unicode's composed form, so that equal-looking labels are equal."""
    return unicodedata.normalize("NFC", text.replace("\ufeff", "")).strip()


def clean_split(text: str, where: str) -> str:
    """Return ``train``, ``test`` or, for an empty cell, an empty string.

    Raises
    ------
    LabelError
        If it is something else; ``where`` says where it stands.
    """
    word = text.strip().casefold()
    if word and word not in _SPLITS:
        raise LabelError(f"the split is {text!r} {where}", expected="train or test")
    return _SPLITS.get(word, "")


def join_spellings(labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """Give labels that differ only by case or spacing one spelling.

    Parameters
    ----------
    labels : sequence of str
        One a row; empty means none.

    Returns
    -------
    joined : list of str
        The labels in the same order; the most frequent spelling of each wins, among equals the first by alphabet.
    warnings : list of str
        A sentence for each label that had more than one spelling.
    """
    cleaned = [clean_label(label) for label in labels]
    spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for label in cleaned:
        spellings[_folded(label)][label] += 1
    winners = {key: min(counts, key=lambda word: (-counts[word], word)) for key, counts in spellings.items()}
    warnings = []
    for key in sorted(spellings):
        others = sorted(set(spellings[key]) - {winners[key]})
        if others:
            said = ", ".join(f"{word!r} ({spellings[key][word]})" for word in others)
            warnings.append(f"{said} read as {winners[key]!r}: they differ only by case or spacing")
    return [winners[_folded(label)] for label in cleaned], warnings


def read_label_csv(path: str | Path, contradicted: str = "not used in training") -> LabelTable:
    """Read a label file.

    Parameters
    ----------
    path : str or Path
        A CSV with ``sample_index`` (or ``image``) and ``label``, and optionally ``split``, ``group`` and others.
    contradicted : str
        What becomes of images with several labels, for the warning.

    Returns
    -------
    LabelTable

    Raises
    ------
    DataError
        If the file can't be read as such a table.
    LabelError
        If a row has no image name, or its split is neither train nor test.
    """
    table = read_table(Path(path), known=KNOWN, required=[("sample_index", "image"), ("label",)])
    name = "sample_index" if "sample_index" in table.columns else "image"
    labels, warnings = join_spellings([row.get("label") for row in table.rows])
    by_image: dict[str, list[tuple[Row, str]]] = {}
    for row, label in zip(table.rows, labels, strict=True):
        if not row.get(name):
            raise LabelError(f"line {row.line} of {path} has no {name}", expected="the name of an image")
        by_image.setdefault(unicodedata.normalize("NFC", row.get(name)), []).append((row, label))
    rows = tuple(_merge(name, found, table.path) for found in by_image.values())
    return LabelTable(table.path, table.columns, rows, (*warnings, *_repeated(by_image, table.path, contradicted)))


def _merge(name: str, found: Sequence[tuple[Row, str]], path: Path) -> LabelRow:
    """Make one row of an image's rows: the first that has a label speaks, unless they contradict each other."""
    said = {label: row.line for row, label in reversed(found) if label}
    row, label = next(((row, label) for row, label in found if label), found[0])
    conflict = ""
    if len(said) > 1:
        lines = sorted((line, word) for word, line in said.items())
        conflict = f"{path.name} says " + " and ".join(f"{word!r} (line {line})" for line, word in lines)
        label = ""
    split = clean_split(row.get("split"), f"on line {row.line} of {path}")
    return LabelRow(row.get(name), label, split, row.get("group"), row.line, conflict, row.cells)


def _repeated(by_image: Mapping[str, Sequence[tuple[Row, str]]], path: Path, contradicted: str) -> list[str]:
    same: list[str] = []
    different: list[str] = []
    for name, found in by_image.items():
        if len(found) > 1:
            said = {label for _, label in found if label}
            (different if len(said) > 1 else same).append(name)
    warnings = []
    if same:
        warnings.append(
            f"{path.name} lists {plural(len(same), 'image')} more than once, with one label: {listing(same)}"
        )
    if different:
        said_of = f"{plural(len(different), 'image')} more than one label: {listing(different)}"
        warnings.append(f"{path.name} gives {said_of}; {contradicted}")
    return warnings


def _folded(label: str) -> str:
    return "".join(label.split()).casefold()
