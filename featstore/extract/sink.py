"""What extraction asks of the place where embeddings go; a store's writer is one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from numpy.typing import ArrayLike

__all__ = ["EmbeddingSink", "Known"]


class Known(Protocol):
    """What the sink knows of an image from earlier runs."""

    @property
    def identity(self) -> tuple[str, str]:
        """Digests of the image and its mask."""

    @property
    def split(self) -> str: ...  # noqa: D102

    @property
    def given(self) -> str: ...  # noqa: D102

    @property
    def artefact(self) -> str: ...  # noqa: D102

    @property
    def left_out(self) -> str: ...  # noqa: D102

    @property
    def blobs(self) -> int: ...  # noqa: D102

    @property
    def source(self) -> str: ...  # noqa: D102

    @property
    def reason(self) -> str: ...  # noqa: D102

    @property
    def note(self) -> str: ...  # noqa: D102

    @property
    def look(self) -> str: ...  # noqa: D102

    @property
    def mpp(self) -> str: ...  # noqa: D102


class EmbeddingSink(Protocol):
    """Takes embeddings, an image at a time, and makes them durable when told to."""

    how: dict[str, Any]

    @property
    def images(self) -> Mapping[str, Known]:
        """Images known so far."""

    def stored(self, image: str, identity: tuple[str, str]) -> set[tuple[int, int]]:
        """Tell the (blob, repeat) pairs there for an image of this content."""

    def own_blobs(self, images: Iterable[str]) -> int:
        """Count blobs of images that are used, and not their crops at other scales; of what was committed."""

    def register(self, image: str, **facts: Any) -> None:
        """Note what is known of an image."""

    def add(
        self,
        image: str,
        blobs: ArrayLike,
        repeats: ArrayLike,
        embeddings: ArrayLike,
        *,
        facts: Mapping[str, Any] | None = None,
        boxes: ArrayLike = (),
    ) -> None:
        """Add embeddings of an image, and what is known of it."""

    def commit(self) -> int:
        """Make durable what was added; return the version."""
