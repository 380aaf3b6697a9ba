"""Bags of several stores side by side: the same images, embedded by several encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError
from featstore.store.bags import Bags

if TYPE_CHECKING:
    from featstore.store.reader import Store

__all__ = ["JoinedBags", "align_bags", "join_bags", "require_same_content"]


@dataclass(frozen=True, eq=False)
class JoinedBags:
    """A sequence of images, each with a bag of every encoder; build one with `join_bags`.

    Attributes
    ----------
    views : tuple of Bags
        One an encoder, of the same images in the same order.
    groups : ndarray of shape (n_images,), str
        Images that must stay together by any of the views.
    """

    views: tuple[Bags, ...]
    groups: NDArray[np.str_]

    @property
    def images(self) -> NDArray[np.str_]:
        """Names, of shape (n_images,)."""
        return self.views[0].images

    @cached_property
    def labels(self) -> NDArray[np.str_]:
        """Labels, of shape (n_images,): of the first view that has one."""
        labels = self.views[0].labels
        for view in self.views[1:]:
            labels = np.where(labels == "", view.labels, labels)
        return labels

    @property
    def provenance(self) -> dict[str, Any]:
        """``fingerprint``, those of all views with a plus between, and each one's ``version``; empty for arrays."""
        all_of = [view.provenance for view in self.views]
        if not all("fingerprint" in one for one in all_of):
            return {}
        return {
            "fingerprint": "+".join(one["fingerprint"] for one in all_of),
            "version": [one.get("version") for one in all_of],
        }

    def __len__(self) -> int:
        return len(self.views[0])

    @property
    def shape(self) -> tuple[int, int]:
        """(n_images, dim), as scikit-learn expects of X."""
        return len(self), self.dim

    @property
    def dim(self) -> int:
        """Length of all encoders' embeddings together."""
        return sum(view.dim for view in self.views)

    @property
    def repeats(self) -> list[int]:
        """The repeats present in every view, 0 (clean) among them."""
        return sorted(set.intersection(*(set(view.repeats) for view in self.views)))

    @property
    def lacking_repeats(self) -> int:
        """Number of images that lack a repeat which another image of the view has, in the view with most of them."""
        return max(view.lacking_repeats for view in self.views)

    def __repr__(self) -> str:
        return f"JoinedBags({len(self)} images, {' and '.join(map(repr, self.views))})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        raise TypeError("JoinedBags are not an array. Put featstore.toolkit.MeanPool() in front of the estimator.")

    def __getitem__(self, key: Any) -> Any:
        """Index by an integer (a tuple of `Bag`), or by a slice, integer array or boolean array (`JoinedBags`)."""
        if isinstance(key, tuple):  # scikit-learn indexes arrays as X[rows, ...]
            key = key[0]
        if isinstance(key, (int, np.integer)):
            return tuple(view[key] for view in self.views)
        some = tuple(view[key] for view in self.views)
        return JoinedBags(some, self.groups[np.asarray(key, dtype=np.intp) if _is_empty(key) else key])

    def means(self) -> NDArray[np.float32]:
        """Return the mean embeddings of each image, one encoder's after the other's: (n_images, dim)."""
        return np.concatenate([view.means() for view in self.views], axis=1)

    def at_repeat(self, repeat: int) -> JoinedBags:
        """Return the images that have this repeat in every view, as `Bags.at_repeat`."""
        return join_bags([view.at_repeat(repeat) for view in self.views])


def join_bags(views: Sequence[Bags]) -> JoinedBags:
    """Put the bags of several stores side by side; images that are not in all of them are left out.

    Parameters
    ----------
    views : sequence of Bags
        Two or more.

    Raises
    ------
    DataError
        If there is only one, or an image has different labels.
    """
    if len(views) < 2:
        raise DataError(f"{len(views)} bags to join", expected="two or more")
    names = set.intersection(*(set(view.images.tolist()) for view in views))
    first = [name for name in views[0].images.tolist() if name in names]
    same = tuple(_in_order(view, first) for view in views)
    for view in same[1:]:
        differ = (view.labels != same[0].labels) & (view.labels != "") & (same[0].labels != "")
        if differ.any():
            name = str(same[0].images[differ][0])
            raise DataError(
                f"different labels in two stores (images: {int(differ.sum())}), such as for {name!r}",
                expected="one label an image",
                remedy="Give both the same labels: featstore store label CSV STORE.",
            )
    return JoinedBags(same, _together([view.groups for view in same]))


def align_bags(bags: Sequence[Bags | JoinedBags]) -> list[Bags | JoinedBags]:
    """Keep the images that all of several bags have, in one order, with one partition into groups.

    What is compared image by image needs the same images on the same side of every split.

    Raises
    ------
    DataError
        If an image has different labels.
    """
    parts = [each.views if isinstance(each, JoinedBags) else (each,) for each in bags]
    flat = [view for part in parts for view in part]
    if len(bags) < 2:
        return list(bags)
    joined = join_bags(flat)
    views = iter(joined.views)
    aligned: list[Bags | JoinedBags] = []
    for each, part in zip(bags, parts, strict=True):
        mine = tuple(replace(next(views), groups=joined.groups) for _ in part)
        aligned.append(JoinedBags(mine, joined.groups) if isinstance(each, JoinedBags) else mine[0])
    return aligned


def require_same_content(stores: Sequence[Store]) -> None:
    """Refuse stores in which images of one name are different files.

    Raises
    ------
    DataError
    """
    first = stores[0].images
    for store in stores[1:]:
        there = [(name, first[name].sha256, row.sha256) for name, row in store.images.items() if name in first]
        if other := [name for name, one, two in there if one and two and one != two]:
            raise DataError(
                f"{len(other)} images of {store.path} are other files than those of the same name in "
                f"{stores[0].path}, such as {other[0]!r}",
                expected="stores of the same images",
                remedy="Extract both from the same data.",
            )


def _in_order(view: Bags, names: Sequence[str]) -> Bags:
    place = {name: index for index, name in enumerate(view.images.tolist())}
    ordered: Bags = view[np.array([place[name] for name in names], dtype=np.intp)]
    return ordered


def _together(groups: Sequence[NDArray[np.str_]]) -> NDArray[np.str_]:
    """Merge groups: images that any of the columns keeps together, and those that these keep together, and so on."""
    from scipy.sparse import coo_array  # here, because it takes longer to load than most stores to open
    from scipy.sparse.csgraph import connected_components

    count = len(groups[0])
    if not count:
        return groups[0]
    images, columns, start = np.arange(count), [], count
    for column in groups:
        _, member = np.unique(column, return_inverse=True)
        columns.append(member + start)
        start += int(member.max()) + 1
    rows, places = np.tile(images, len(groups)), np.concatenate(columns)
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, places)), shape=(start, start))
    part = connected_components(graph, directed=False)[1][:count]
    _, first, member = np.unique(part, return_index=True, return_inverse=True)
    return groups[0][first][member]


def _is_empty(key: Any) -> bool:
    return not isinstance(key, slice) and np.asarray(key).size == 0 and np.asarray(key).dtype != np.bool_
