"""Which images validate: folds and hold-outs, stratified by class, groups kept together."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from featstore.errors import LabelError

__all__ = ["assign_folds", "hold_out"]

# The grouped splitter is greedy: a shuffle may leave a fold without a class although another would not.
_ATTEMPTS = 20
# Holding out a quarter of a class is the most that training can spare.
_FEWEST_TO_HOLD_OUT = 4
# A hold-out is some of so many folds at most.
_MOST_PARTS = 100


def assign_folds(
    y: NDArray[Any], groups: NDArray[Any], n_splits: int, random_state: np.random.RandomState
) -> NDArray[np.intp]:
    """Return the fold of each image: stratified by class, a group in one fold, every class in every fold.

    Parameters
    ----------
    y : ndarray of shape (n_images,)
    groups : ndarray of shape (n_images,)
    n_splits : int
        2 or more.
    random_state : RandomState
        Decides the shuffle.

    Raises
    ------
    LabelError
        If a class has fewer groups than there are folds, or no shuffle puts every class into every fold.
    """
    classes, codes = np.unique(y, return_inverse=True)
    counts = _groups_a_class(codes, groups)
    rarest = int(np.argmin(counts))
    if counts[rarest] < n_splits:
        _raise_too_few(classes[rarest], int(counts[rarest]), n_splits, grouped=not _all_alone(groups))
    for _ in range(_ATTEMPTS):
        folds = _shuffled_folds(codes, groups, n_splits, int(random_state.randint(np.iinfo(np.int32).max)))
        table = np.zeros((n_splits, len(classes)), dtype=np.intp)
        np.add.at(table, (folds, codes), 1)
        if table.all():
            return folds
    fold, lacking = np.argwhere(table == 0)[0]
    raise LabelError(
        f"fold {fold} of {n_splits} has no image of class {str(classes[lacking])!r}, whose images share few groups",
        expected="every class in every fold",
        remedy=f"Use fewer folds: --folds {max(2, n_splits // 2)}.",
    )


def hold_out(
    y: NDArray[Any], groups: NDArray[Any], fraction: float, random_state: np.random.RandomState
) -> NDArray[np.bool_] | None:
    """Return a mask of ``fraction`` of the images, as nearly as classes and groups allow; every class is on both sides.

    None where a class has fewer than four groups: one image of a class says next to nothing about it, and training
    needs the rest. With few groups a class, up to a quarter is held out so that each class has one.
    """
    _, codes = np.unique(y, return_inverse=True)
    fewest = int(_groups_a_class(codes, groups).min())
    if fewest < _FEWEST_TO_HOLD_OUT:
        return None
    share = Fraction(fraction).limit_denominator(min(fewest, _MOST_PARTS))
    if not 0 < share < 1:
        share = Fraction(1, fewest) if share == 0 else Fraction(fewest - 1, fewest)
    try:
        held: NDArray[np.bool_] = assign_folds(y, groups, share.denominator, random_state) < share.numerator
    except LabelError:
        return None
    return held


def _shuffled_folds(codes: NDArray[np.intp], groups: NDArray[Any], n_splits: int, seed: int) -> NDArray[np.intp]:
    # Plain stratification is exact, and quick for many images; the greedy grouped one is neither.
    alone = _all_alone(groups)
    splitter = (StratifiedKFold if alone else StratifiedGroupKFold)(n_splits, shuffle=True, random_state=seed)
    folds = np.empty(len(codes), dtype=np.intp)
    parts = splitter.split(np.zeros(len(codes)), codes, None if alone else groups)
    for fold, (_, validation) in enumerate(parts):
        folds[validation] = fold
    return folds


def _groups_a_class(codes: NDArray[np.intp], groups: NDArray[Any]) -> NDArray[np.intp]:
    _, group = np.unique(groups, return_inverse=True)
    pairs = np.unique(np.stack([codes, group]), axis=1)
    return np.bincount(pairs[0])


def _all_alone(groups: NDArray[Any]) -> bool:
    return len(np.unique(groups)) == len(groups)


def _raise_too_few(label: Any, count: int, n_splits: int, *, grouped: bool) -> None:
    one, many = ("group of images", "groups of images") if grouped else ("image", "images")
    remedy = f"Use fewer folds (--folds {count})" if count >= 2 else "Label more images of it"
    raise LabelError(
        f"class {str(label)!r} has {count} {one if count == 1 else many}",
        expected=f"at least {n_splits}, one for each fold",
        remedy=f"{remedy}, or leave the class out.",
    )
