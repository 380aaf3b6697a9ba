"""Keys as users see them: structured arrays of image, blob and repeat, in key order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featstore.store.runs import run_numbers, run_starts

__all__ = ["named_table", "number_images"]

_CHUNK_ROWS = 2**16


def named_table(names: Sequence[str], image: NDArray[np.int32], **columns: NDArray[np.int32]) -> NDArray[np.void]:
    """Put names and columns of whole numbers into one structured array; ``image`` counts within ``names``."""
    texts = np.array(names, dtype=np.str_)
    kind = [("image", texts.dtype if len(texts) else np.dtype("U1")), *((name, np.int32) for name in columns)]
    table = np.zeros(len(image), dtype=kind)
    for start in range(0, len(image), _CHUNK_ROWS):  # names are long: a second copy of them all is not needed
        part = slice(start, start + _CHUNK_ROWS)
        table["image"][part] = texts[image[part]]
    for name, values in columns.items():
        table[name] = values
    return table


def number_images(keys: NDArray[np.void]) -> tuple[NDArray[np.str_], NDArray[np.intp]]:
    """Tell the images of keys in key order, and for each key the number of its image."""
    starts = run_starts(keys["image"])
    return keys["image"][starts], run_numbers(starts, len(keys))
