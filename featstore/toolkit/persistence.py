"""Save and load models: one file, the same bytes for the same model, and nothing in it that runs.

A model file is a zip archive whose members are stored, not compressed, in the order of their names, and all dated
1980-01-01:

``model.json``
    ``format`` ("featstore-model"), ``format_version`` (an integer), and ``model``: an estimator as
    ``{"class", "params", "state"}``. Values are JSON, or an object with one key: ``$estimator``, ``$array`` (a member),
    ``$strings``, ``$tuple``, ``$dict`` (pairs), ``$float`` (nan, inf, -inf). A booster's state is ``$booster``
    (a member).
``arrays/NNNN.npy``
    NumPy arrays of numbers, booleans or strings, without pickles.
``xgboost/NNNN.ubj``
    Trees in XGBoost's own UBJSON.

Loading makes only estimators of a fixed list of classes (`featstore.toolkit.registry`), sets only their known
parameters and fitted attributes, and checks that these fit together.

To change the format: raise ``FORMAT_VERSION``, say in ``docs/format.md`` what differs, keep reading the older ones, and
add a file of the new version to the tests. A reader refuses versions that it does not know. A class that came with a
version makes files of that version; others are written as before.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from featstore.errors import ModelFormatError
from featstore.toolkit.archive import read_archive, write_archive
from featstore.toolkit.codec import Decoder, Encoder

__all__ = ["FORMAT_VERSION", "load_model", "save_model"]

FORMAT_VERSION = 2
_FORMAT = "featstore-model"
_REMEDY = "Use a file written by featstore fit or save_model, or fit the model again."


def save_model(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted model to one file, whole or not at all.

    Parameters
    ----------
    model : estimator
        One of the toolkit's, or `XGBClassifier`, `LogisticRegression`, `StandardScaler` or a `Pipeline`; inside it
        only these.
    path : path-like
        An existing file is replaced.

    Raises
    ------
    ModelFormatError
        If the model is not fitted, or holds something that can't be saved.
    StoreWriteError
        If the file can't be written; what was there stands.
    """
    try:
        check_is_fitted(model)
    except (NotFittedError, TypeError) as error:
        raise ModelFormatError(
            f"{type(model).__name__} is not a fitted model", remedy="Call its fit before saving it."
        ) from error
    encoder = Encoder()
    plain = encoder.estimator(model)
    document = {"format": _FORMAT, "format_version": encoder.version, "model": plain}
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=True)
    write_archive(Path(path), {"model.json": text.encode(), **encoder.members})


def load_model(path: str | os.PathLike[str]) -> Any:
    """Read a model; it predicts bit for bit what the saved one did. No code in the file runs, and torch stays away.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    estimator

    Raises
    ------
    ModelFormatError
        If the file is not a model, is damaged, or has a format version that this featstore does not know.
    ModelError
        If there is no file, or it can't be read.
    """
    try:
        members = read_archive(Path(path))
        decoder = Decoder(members)
        document = _document(decoder.members.pop("model.json"))
        model = decoder.estimator(document["model"])
        _require_version(document["format_version"], decoder.version)
        if decoder.members:
            raise ModelFormatError(f"members that nothing refers to ({min(decoder.members)})")
    except ModelFormatError as error:
        raise ModelFormatError(
            f"{path}: {error.found}", expected=error.expected, remedy=error.remedy or _REMEDY
        ) from error
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise ModelFormatError(f"{path}: a damaged model ({error})", remedy=_REMEDY) from error
    return model


def _document(data: bytes) -> dict[str, Any]:
    document = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise ModelFormatError("a model.json that is not featstore's", expected=f"format {_FORMAT!r}")
    version = document.get("format_version")
    _require_version(version, 1 if version == 1 else FORMAT_VERSION)
    if document.keys() != {"format", "format_version", "model"}:
        raise ModelFormatError(f"a model.json with {', '.join(sorted(document))}", expected="only a model")
    return document


def _require_version(version: Any, needed: int) -> None:
    if type(version) is not int or version != needed:
        raise ModelFormatError(
            f"a model of format version {version!r}",
            expected=f"{needed}",
            remedy="Update featstore, or fit the model again with this one.",
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ModelFormatError("a model.json that gives a name twice")
    return dict(pairs)


def _refuse(constant: str) -> Any:
    raise ModelFormatError(f"a model.json that holds {constant}", expected="finite numbers")
