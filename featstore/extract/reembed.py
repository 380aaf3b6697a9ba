"""Some embeddings once more: cut, augmented and embedded as the extraction did it, to compare with what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.dataset import Dataset, ImageRecord, file_digest
from featstore.encoders import Encoder
from featstore.errors import DataError, ImageError, RecipeMismatchError
from featstore.extract.loader import Loaded, Loader
from featstore.extract.plan import ImageJob
from featstore.extract.resolution import require_resolutions, require_same_resolutions
from featstore.recipe import EncoderSettings, Recipe, differences

__all__ = ["reembed", "require_encoder"]

Key = tuple[str, int, int]


def reembed(
    dataset: Dataset,
    encoder: Encoder,
    recipe: Mapping[str, Any],
    keys: Iterable[Key],
    identities: Mapping[str, tuple[str, str]],
    *,
    resolutions: Mapping[str, str] | None = None,
    batch_size: int = 32,
) -> NDArray[np.float32]:
    """Compute embeddings of some keys again, in this process.

    Parameters
    ----------
    dataset : Dataset
        Where the images are.
    encoder : Encoder
        The recipe's own. Its revision may have another name as long as the weights are the same.
    recipe : mapping
        A store's recipe.
    keys : iterable of (image, blob, repeat)
    identities : mapping from str to (str, str)
        For each image the digests of the file and the mask that were embedded, as a store keeps them.
    resolutions : mapping from str to str, optional
        For images with tiles of a resolution the ``mpp`` that they were cut by, as a store keeps it; not compared by
        default.
    batch_size : int
        Crops that go through the encoder together.

    Returns
    -------
    ndarray of shape (n, dim), float32
        In the order of ``keys``.

    Raises
    ------
    SettingError
        If the recipe is not that of an extraction.
    RecipeMismatchError
        If the encoder is another than the recipe's; the message names the fields.
    DataError
        If images are no longer in the data or have changed, their resolution too, all of which are named, or if the
        recipe does not lead to a key.
    """
    settings, wanted = Recipe.from_dict(recipe), list(keys)
    require_encoder(encoder.settings, settings.encoder)
    by_image: dict[str, set[tuple[int, int]]] = {}
    for image, blob, repeat in wanted:
        by_image.setdefault(str(image), set()).add((int(blob), int(repeat)))
    records = _unchanged(dataset, {image: identities[image] for image in by_image})
    require_resolutions(records.values(), settings.crops)
    require_same_resolutions(records.values(), settings.crops, resolutions or {}, "name the data that were extracted")
    loader = Loader(settings, encoder)
    found: dict[Key, NDArray[np.float32]] = {}
    for image, pairs in by_image.items():
        loaded = Loaded(_job(records[image], identities[image], pairs))
        made = list(loader.load(loaded))
        _require_keys(loaded, pairs)
        rows = made if encoder.in_worker else _encoded(made, encoder, batch_size)
        found.update(zip(((image, *pair) for pair in loaded.keys), rows, strict=True))
    asked = [found[str(image), int(blob), int(repeat)] for image, blob, repeat in wanted]
    return np.stack(asked) if asked else np.zeros((0, settings.encoder.dim), dtype=np.float32)


class _AllBut(frozenset[tuple[int, int]]):
    """Every pair but a few: what a loader is told is stored, so that it makes those few alone."""

    def __contains__(self, pair: object) -> bool:
        return not super().__contains__(pair)


def _job(record: ImageRecord, identity: tuple[str, str], pairs: set[tuple[int, int]]) -> ImageJob:
    """Ask for a few pairs; the split changes no crop, and a test image is cropped whatever its colours."""
    repeats = sorted({repeat for _, repeat in pairs})
    return ImageJob(record, "test", *identity, tuple(repeats), _AllBut(pairs))


def _encoded(prepared: list[NDArray[Any]], encoder: Encoder, batch_size: int) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(prepared), batch_size):
        yield from encoder.encode(prepared[start : start + batch_size])


def _unchanged(dataset: Dataset, identities: Mapping[str, tuple[str, str]]) -> dict[str, ImageRecord]:
    """Find the images, and refuse them all where one is not what was embedded."""
    records = {record.image: record for record in dataset.records if record.image in identities}
    odd = [
        f"{image} ({what})"
        for image, identity in identities.items()
        if (what := _what_changed(records.get(image), identity))
    ]
    if odd:
        names = ", ".join(odd[:5]) + (f" and {len(odd) - 5} more" if len(odd) > 5 else "")
        raise DataError(
            f"{dataset.root}: {len(odd)} of {len(identities)} images are not what was embedded: {names}",
            expected="the same files",
            remedy="Run the extraction again to embed images that have changed, or name the data that were extracted.",
        )
    return records


def _what_changed(record: ImageRecord | None, identity: tuple[str, str]) -> str:
    if record is None:
        return "no longer in the data"
    if not identity[0]:
        return "the store does not say which file it was"
    try:
        if file_digest(record.path) != identity[0]:
            return "the image has changed"
        mask = file_digest(record.mask_path) if record.mask_path else ""
    except ImageError as error:
        return error.found
    return "" if mask == identity[1] else "the mask has changed"


def require_encoder(ours: EncoderSettings, wanted: EncoderSettings) -> None:
    """Compare the settings; where there are weights their digest tells which, not the name of the revision.

    Raises
    ------
    RecipeMismatchError
        If they differ; the message names the fields.
    """
    fields = differences(asdict(ours), asdict(wanted))
    if ours.weights_digest != "none":
        fields = [row for row in fields if row[0] != "revision"]
    if fields:
        words = "; ".join(f"{name} is {a!r}, in the recipe {b!r}" for name, a, b in fields)
        raise RecipeMismatchError(
            f"the encoder is another than the recipe's: {words}",
            expected="the one that made the embeddings",
            remedy="Name its weights with --weights.",
        )


def _require_keys(loaded: Loaded, pairs: set[tuple[int, int]]) -> None:
    missing = sorted(pairs - set(loaded.keys))
    if missing:
        why = loaded.note if loaded.reason else f"{len(loaded.boxes)} blobs are found now"
        blob, repeat = missing[0]
        raise DataError(
            f"{loaded.job.record.image}: the recipe does not lead to blob {blob}, repeat {repeat} ({why})",
            expected="the blobs that were embedded",
            remedy="The recipe was altered, or this version of featstore finds other blobs than the one that made the "
            "store.",
        )
