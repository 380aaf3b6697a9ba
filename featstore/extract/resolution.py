"""How large pixels are, for tiles of a given resolution: it must be known, and stay what it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from featstore.dataset import ImageRecord
from featstore.dataset.records import listing
from featstore.errors import DataError
from featstore.extract.plan import ExtractionPlan, Repeats, plan_extraction
from featstore.extract.sink import EmbeddingSink
from featstore.recipe import CropSettings

__all__ = ["plan_at_resolutions", "require_resolutions", "require_same_resolutions", "resolution_of"]


def resolution_of(record: ImageRecord, crops: CropSettings) -> str:
    """Tell the resolution that an image's tiles are cut by, for the store; empty where it makes no difference."""
    return repr(record.mpp) if crops.mpp and record.mpp else ""


def plan_at_resolutions(
    records: Sequence[ImageRecord],
    crops: CropSettings,
    sink: EmbeddingSink,
    repeats: Repeats,
    check: Callable[[], None] = lambda: None,
) -> ExtractionPlan:
    """Do what `plan_extraction` does, with images whose resolution is known and what it was.

    Raises
    ------
    DataError
    """
    require_resolutions(records, crops)
    plan = plan_extraction(records, sink, repeats, check)
    require_same_resolutions(records, crops, _kept(plan, sink), "name another store with --store")
    return plan


def require_resolutions(records: Iterable[ImageRecord], crops: CropSettings) -> None:
    """Refuse, before any work, images of unknown resolution.

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


def require_same_resolutions(
    records: Iterable[ImageRecord], crops: CropSettings, kept: Mapping[str, str], remedy: str
) -> None:
    """Refuse images of another resolution than that of embeddings which are to stay.

    Raises
    ------
    DataError
    """
    known = [record for record in records if crops.mpp and kept.get(record.image)]
    if changed := [record.image for record in known if kept[record.image] != resolution_of(record, crops)]:
        raise DataError(
            f"{_counted(changed, known)} of another resolution than they were extracted with: {listing(changed)}",
            expected="the mpp that embeddings which are there were cut by",
            remedy=f"Put the column mpp right, or {remedy}.",
        )


def _kept(plan: ExtractionPlan, sink: EmbeddingSink) -> dict[str, str]:
    """Tell by which resolution the embeddings were cut that are to stay; those of a file that was replaced don't.

    An image that could not be read last time keeps the resolution: once it can be, its embeddings are there again.
    """
    contents = {job.record.image: (job.sha256, job.mask_sha256) for job in plan.jobs}
    contents |= {record.image: (facts["sha256"], facts["mask_sha256"]) for record, facts in plan.settled}
    known = {image: sink.images[image] for image in contents if image in sink.images}
    return {
        image: row.mpp
        for image, row in known.items()
        if row.mpp and (row.reason or sink.stored(image, contents[image]))
    }


def _counted(some: Sequence[str], of: Sequence[ImageRecord]) -> str:
    return f"{len(some)} of {len(of)} images"
