"""Every error that featstore raises on purpose.

::

    FeatstoreError
    ├── DataError (ValueError)          what was given to read: folders, images, masks, CSV files, arrays
    │   ├── ImageError                  one image or mask that can't be used; carries a reason code
    │   └── LabelError                  labels, splits or groups that can't be used
    ├── SettingError (ValueError)       an option or parameter outside what it may be
    ├── EncoderError
    │   └── WeightsNotFoundError        the encoder's weights are neither here nor to be had
    ├── MissingExtraError (ImportError) an optional package is not installed; names the extra
    ├── StoreError
    │   ├── StoreNotFoundError          nothing there
    │   ├── StoreFormatError            there, but not (or no longer) what the format says
    │   ├── RecipeMismatchError         made by another recipe; names the fields that differ
    │   └── StoreWriteError             a write failed: no space, no permission, no link to the disk
    └── ModelError
        ├── ModelFormatError            a file that is no model, or one that can't be saved as one
        ├── TrainingError               a network can't be trained on: its loss is no number, or memory is short
        └── FingerprintMismatchError    the model was fitted on embeddings of another recipe

Each message says what was found and where, what was expected, and what to do next.
"""

from __future__ import annotations

__all__ = [
    "DataError",
    "EncoderError",
    "FeatstoreError",
    "FingerprintMismatchError",
    "ImageError",
    "LabelError",
    "MissingExtraError",
    "ModelError",
    "ModelFormatError",
    "RecipeMismatchError",
    "SettingError",
    "StoreError",
    "StoreFormatError",
    "StoreNotFoundError",
    "StoreWriteError",
    "TrainingError",
    "WeightsNotFoundError",
    "portable",
]


class FeatstoreError(Exception):
    """Root of the tree.

    Parameters
    ----------
    found : str
        What was found, and where; a sentence without its full stop.
    expected : str, optional
        What was expected instead.
    remedy : str, optional
        What to do next.
    """

    def __init__(self, found: str, *, expected: str = "", remedy: str = "") -> None:
        self.found, self.expected, self.remedy = found, expected, remedy
        parts = [found, f"expected {expected}" if expected else ""]
        text = "; ".join(part for part in parts if part)
        super().__init__(f"{text}. {remedy}" if remedy else text)


class DataError(FeatstoreError, ValueError):
    """What was given to read can't be used."""


class ImageError(DataError):
    """One image or mask can't be used; ``reason`` is its short code."""

    def __init__(self, found: str, *, reason: str, expected: str = "", remedy: str = "") -> None:
        super().__init__(found, expected=expected, remedy=remedy)
        self.reason = reason


class LabelError(DataError):
    """Labels, splits or groups can't be used."""


class SettingError(FeatstoreError, ValueError):
    """An option or parameter is outside what it may be."""


class EncoderError(FeatstoreError):
    """The encoder can't do what was asked."""


class WeightsNotFoundError(EncoderError):
    """The encoder's weights are neither here nor to be had."""


class MissingExtraError(FeatstoreError, ImportError):
    """An optional package is not installed."""


class StoreError(FeatstoreError):
    """Root of what concerns stores."""


class StoreNotFoundError(StoreError):
    """There is no store at the path, or no such version in it."""


class StoreFormatError(StoreError):
    """A file of the store is not what the format says."""


class RecipeMismatchError(StoreError):
    """Embeddings of different recipes never mix."""


class StoreWriteError(StoreError):
    """Writing failed; what had been committed before stands."""


class ModelError(FeatstoreError):
    """Root of what concerns fitted models."""


class ModelFormatError(ModelError):
    """A file that is no model, or an estimator that can't be saved as one."""


class TrainingError(ModelError):
    """A network can't be trained on."""


class FingerprintMismatchError(ModelError):
    """The model was fitted on embeddings of another recipe."""


def portable(error: Exception) -> Exception:
    """Make of any error one that another process can be sent.

    Frames and causes are left behind: of very deep ones, and of errors that can't be built again from their arguments,
    the other side would hear nothing at all.
    """
    import pickle
    from copy import deepcopy

    bare = error.with_traceback(None)
    bare.__cause__ = bare.__context__ = None
    try:
        deepcopy(bare)  # builds it again, as the other side will
        pickle.dumps(bare)
    except Exception:  # noqa: BLE001 - whatever its class does
        return RuntimeError(f"{type(error).__name__}: {error}")
    return bare
