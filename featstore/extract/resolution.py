"""How large pixels are, for tiles of a given resolution: it must be known, and stay what it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from featstore.dataset import ImageRecord
from featstore.dataset.records import listing
from featstore.errors import DataError
from featstore.extract.sink import Known
from featstore.recipe import CropSettings

__all__ = ["require_resolutions", "resolution_of"]


def resolution_of(record: ImageRecord, crops: CropSettings) -> str:
    """Tell the resolution that an image's tiles are cut by, for the store; empty where it makes no difference."""
    return repr(record.mpp) if crops.mpp and record.mpp else ""


def require_resolutions(records: Iterable[ImageRecord], crops: CropSettings, images: Mapping[str, Known]) -> None:
    """Refuse, before any work, images of unknown resolution, and of another than they were extracted with.

    Nothing is refused where the recipe has no resolution, or of an image that can't be read anyway.

    Raises
    ------
    DataError
    """
    if not crops.mpp:
        return
    used = [record for record in records if record.path.exists()]
    if unknown := [record.image for record in used if record.mpp is None]:
        raise DataError(
            f"{_counted(unknown, used)} of unknown resolution, and tiles are to have {crops.mpp} µm a pixel: "
            f"{listing(unknown)}",
            expected="micrometres a pixel of every image",
            remedy="List the images in a CSV with a column mpp, or leave --mpp out: tiles then are as many pixels of "
            "the image.",
        )
    changed = [record.image for record in used if _changed(record, images.get(record.image))]
    if changed:
        raise DataError(
            f"{_counted(changed, used)} of another resolution than they were extracted with: {listing(changed)}",
            expected="the same mpp as before: embeddings of another don't replace those that are there",
            remedy="Put the column mpp right, or name another store with --store.",
        )


def _changed(record: ImageRecord, known: Known | None) -> bool:
    return known is not None and bool(known.mpp) and known.mpp != repr(record.mpp)


def _counted(some: Sequence[str], of: Sequence[ImageRecord]) -> str:
    return f"{len(some)} of {len(of)} images"
