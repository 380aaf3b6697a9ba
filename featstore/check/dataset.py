"""All images of a dataset, examined side by side, and what only their comparison shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from joblib import Parallel, cpu_count, delayed

from featstore.check.findings import Findings, Twins
from featstore.check.image import Examined, examine
from featstore.dataset import Dataset, Limits, MaskLimits
from featstore.recipe import CropSettings
from featstore.store.images import SAY_NOTHING
from featstore.store.looks import near_pairs

__all__ = ["check_dataset"]

FOLLOWING = 0.8
"""Where this share of a dataset's masks fits well, its masks follow what is seen."""


def check_dataset(
    dataset: Dataset,
    settings: CropSettings | None = None,
    *,
    jobs: int | None = None,
    progress: Callable[[int, int], object] = lambda _done, _of: None,
) -> Findings:
    """Open and measure every image and mask of a dataset, and compare them.

    Parameters
    ----------
    dataset : Dataset
    settings : CropSettings, optional
        How an extraction would find blobs, and what masks and artefacts are measured by.
    jobs : int, optional
        Processes; as many as there are cores by default. What is found does not depend on it.
    progress : callable, optional
        Called with how many images are done, and of how many.

    Returns
    -------
    Findings
    """
    settings, records = settings or CropSettings(), dataset.records
    limits = Limits.of(settings.limits)
    work = Parallel(n_jobs=jobs or cpu_count(), return_as="generator", batch_size=4)
    found = []
    for examined in work(delayed(examine)(record, settings) for record in records):
        found.append(examined)
        progress(len(found), len(records))
    return Findings(dataset, tuple(found), tuple(find_twins(found)), unrelated_masks(found, limits.masks), settings)


def find_twins(images: Sequence[Examined]) -> list[Twins]:
    """Put images together that share a file, a look or a mask; what the file explains is not told again.

    A group, such as a patient, is no finding unless some of its images are trained on and others tested.
    """
    files, masks, patients = defaultdict(list), defaultdict(list), defaultdict(list)
    for place, found in enumerate(images):
        if found.sha256:
            files[found.sha256].append(place)
        if found.record.group:
            patients[found.record.group].append(place)
        if found.mask_sha256 and found.mask_says not in ("", *SAY_NOTHING):
            masks[found.mask_sha256].append(place)
    groups = [("file", group) for group in files.values()]
    looks = _joined(near_pairs([found.look for found in images]), len(images))
    groups += [("look", group) for group in looks if len({images[place].sha256 for place in group}) > 1]
    groups += [("mask", group) for group in masks.values() if len({images[place].sha256 for place in group}) > 1]
    groups += [
        ("group", group) for group in patients.values() if len({images[place].record.split for place in group}) > 1
    ]
    return [_twins(by, [images[place] for place in group]) for by, group in groups if len(group) > 1]


def _twins(by: str, group: Sequence[Examined]) -> Twins:
    records = [found.record for found in group]
    labels = sorted({record.label for record in records if record.label})
    splits = sorted({record.split for record in records})
    name = records[0].group if by == "group" else ""
    return Twins(by, tuple(record.image for record in records), tuple(labels), tuple(splits), name)


def _joined(pairs: Iterable[tuple[int, int]], count: int) -> list[list[int]]:
    """Return the connected groups of two or more."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.array(list(pairs), dtype=np.intp).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    groups = defaultdict(list)
    for place, group in enumerate(connected_components(graph, directed=False)[1] if count else []):
        groups[group].append(place)
    return [group for group in groups.values() if len(group) > 1]


def unrelated_masks(images: Sequence[Examined], limits: MaskLimits) -> dict[str, float]:
    """Name the masks that fit far worse than those of the dataset do; none where masks follow nothing on the image.

    Outlined regions of tissue don't: some fit well, and some not at all.
    """
    fits = {found.record.image: found.mask.fit for found in images if found.mask is not None and not found.mask.reasons}
    least = least_fit(list(fits.values()), limits)
    return {image: fit for image, fit in fits.items() if fit < least}


def least_fit(fits: Sequence[float], limits: MaskLimits) -> float:
    """Tell how well a mask of a dataset fits its image at least; -1 where masks need not fit."""
    if not fits or np.quantile(fits, 1 - FOLLOWING) < limits.usual_fit:
        return -1.0
    return limits.unrelated * float(np.median(fits))
