"""What a run tells: while it goes on, and at its end."""

from __future__ import annotations

from dataclasses import dataclass, field

from featstore.crops import STAINS_KEPT
from featstore.dataset import Dataset, ImageRecord
from featstore.extract.sink import EmbeddingSink
from featstore.extract.stages import STAGES, Bottleneck

__all__ = ["Extraction", "Progress", "summarise"]


@dataclass(frozen=True)
class Progress:
    """How far a run is: images done of those to do, and embeddings computed so far."""

    images: int
    of: int
    embeddings: int


@dataclass
class Extraction:
    """What a run did.

    Attributes
    ----------
    version : int
    images : int
        Images of the data that have embeddings.
    rejected : list of dict
        ``image``, ``reason`` and ``note`` of every image that has none.
    fallbacks : list of dict
        ``image``, ``source`` and ``note`` where blobs did not come from the mask.
    unnormalised : list of dict
        ``image``, ``reason`` and ``note`` of images whose stains stayed as they were, where they were to be normalised.
    incomplete : list of dict
        ``image``, ``reason`` and ``note`` of images that have embeddings, and of which others failed in this run.
    absent : list of str
        Images in the store that the data no longer hold; they stay.
    replaced : int
        Images whose content had changed.
    blobs, crops : int
        Of the run's images; a blob has a crop at each scale, and tiles.
    computed : int
        Embeddings computed by this run.
    seconds : float
    stages : dict
        Seconds by stage, summed over processes: decode, segment, augment, transfer, encode, write.
    bottleneck : Bottleneck or None
        The stage that the others waited for; None where nothing was computed.
    how : dict
        Device, precision and versions that this run computed with.
    """

    version: int = 0
    images: int = 0
    rejected: list[dict[str, str]] = field(default_factory=list)
    fallbacks: list[dict[str, str]] = field(default_factory=list)
    unnormalised: list[dict[str, str]] = field(default_factory=list)
    incomplete: list[dict[str, str]] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    replaced: int = 0
    blobs: int = 0
    crops: int = 0
    computed: int = 0
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    bottleneck: Bottleneck | None = None
    how: dict[str, str] = field(default_factory=dict)


def summarise(
    result: Extraction, dataset: Dataset, records: tuple[ImageRecord, ...], sink: EmbeddingSink, *, of_one_scale: bool
) -> None:
    """Count images and blobs of a run's own records, and list those without embeddings.

    Parameters
    ----------
    result : Extraction
        Filled in.
    dataset : Dataset
    records : tuple of ImageRecord
        Those of the run: all, or a shard.
    sink : EmbeddingSink
        With what was found committed.
    of_one_scale : bool
        Whether each blob has one crop.
    """
    images, used = sink.images, []
    for record in records:
        known = images[record.image]
        if known.left_out:
            result.rejected.append({"image": record.image, "reason": known.left_out, "note": known.note})
            continue
        used.append(record.image)
        result.crops += known.blobs
        if known.source != "mask" and record.mask_path:
            result.fallbacks.append({"image": record.image, "source": known.source, "note": known.note})
        if STAINS_KEPT in known.note:
            result.unnormalised.append({"image": record.image, "reason": "stains_kept", "note": known.note})
    result.images = len(used)
    result.blobs = result.crops if of_one_scale else sink.own_blobs(used)
    result.absent = sorted(images.keys() - {record.image for record in dataset.records})
