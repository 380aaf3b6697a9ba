"""From a path to the images it means."""

from __future__ import annotations

from pathlib import Path

from featstore.dataset.challenge import is_challenge, read_challenge
from featstore.dataset.files import is_folder, is_image_name, problem_with
from featstore.dataset.folder import read_folder
from featstore.dataset.listed import read_listed
from featstore.dataset.records import Dataset
from featstore.errors import DataError

__all__ = ["find_dataset"]

_EXPECTED = "a folder with train_data/ and test_data/, a CSV that lists images, or a folder of images"


def find_dataset(path: str | Path) -> Dataset:
    """Find images, masks, labels, splits and groups, without reading a pixel.

    Parameters
    ----------
    path : str or Path
        One of three: a folder in the challenge layout (``train_data/`` and ``test_data/``, or one of them, and
        ``train_labels.csv``); a CSV with the column ``image`` and optionally ``mask``, ``label``, ``split``, ``group``
        and ``mpp``; a folder of images.

    Returns
    -------
    Dataset
        Its rows also hold the images that can't be used; its ``warnings`` say what the user should know.

    Raises
    ------
    DataError
        If there is nothing that can be read as a dataset.
    LabelError
        If labels or splits can't be used.
    """
    path = Path(path)
    if is_folder(path):
        return read_challenge(path) if is_challenge(path) else read_folder(path)
    if problem := problem_with(path):
        raise DataError(f"{path} {problem}", expected=_EXPECTED)
    if is_image_name(path.name):
        raise DataError(f"{path} is one image", expected=_EXPECTED, remedy=f"Give its folder: {path.parent}.")
    return read_listed(path)
