"""Which images, labels and groups a figure is of, as a digest: labels change while embeddings stay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

__all__ = ["data_digest"]


def data_digest(images: Iterable[Any], labels: Iterable[Any], groups: Iterable[Any]) -> str:
    """Hash images with their labels, and which of them belong together; in whatever order they come.

    A group counts as the images in it: what it is called makes no difference.

    Parameters
    ----------
    images, labels, groups : iterable of str
        One of each an image.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.
    """
    rows = sorted(
        (str(image), str(label), str(group)) for image, label, group in zip(images, labels, groups, strict=True)
    )
    first: dict[str, str] = {}
    told = [[image, label, first.setdefault(group, image)] for image, label, group in rows]
    return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode(errors="surrogatepass")).hexdigest()
