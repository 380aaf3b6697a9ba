"""XGBoost classifiers as bytes in XGBoost's own format, checked before they predict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from featstore.errors import ModelFormatError

__all__ = ["booster_to_bytes", "check_parameters", "restore_booster"]

_EXPECTED = "an XGBoost classifier of plain trees (gbtree, one value a leaf, numeric splits)"


def booster_to_bytes(classifier: Any) -> bytes:
    """Return a fitted `XGBClassifier`'s trees as UBJSON."""
    booster = classifier.get_booster()
    _check(booster)
    return bytes(booster.save_raw("ubj"))


def restore_booster(classifier: Any, data: bytes) -> None:
    """Load trees into an `XGBClassifier` that was made with its parameters.

    XGBoost trusts the numbers in its files: a child or a column that is not there would be looked up in memory all
    the same. So the trees are checked before anything predicts with them.

    Raises
    ------
    ModelFormatError
        If the bytes are not a model, or one that could reach beyond its own arrays.
    """
    if not data.startswith(b"{L"):
        raise ModelFormatError("trees that are not in XGBoost's format", expected=_EXPECTED)
    given = classifier.get_params()
    try:
        classifier.load_model(bytearray(data))
        # Loading also writes what training made of these over the parameters.
        classifier.base_score, classifier.booster = given["base_score"], given["booster"]
        _check(classifier.get_booster())
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelFormatError(f"damaged trees ({lines[0][:200]})", expected=_EXPECTED) from error


def check_parameters(classifier: Any) -> None:
    """Refuse parameters of a kind that XGBoost meets with only when it predicts.

    Raises
    ------
    ModelFormatError
    """
    missing, verbosity, booster = classifier.missing, classifier.verbosity, classifier.booster
    known = {
        "missing": isinstance(missing, float) or (type(missing) is int and abs(missing) < 2**53),
        "verbosity": verbosity is None or (type(verbosity) is int and 0 <= verbosity <= 3),
        "booster": booster is None or isinstance(booster, str),
    }
    for name, ok in known.items():
        if not ok:
            found = repr(getattr(classifier, name))[:80]
            raise ModelFormatError(f"XGBClassifier with {name}={found}", expected="what XGBoost takes for it")


def _check(booster: Any) -> None:
    learner = json.loads(bytes(booster.save_raw("json")), parse_constant=_refuse)["learner"]
    ensemble, shape = learner["gradient_booster"], learner["learner_model_param"]
    if ensemble["name"] != "gbtree" or int(shape["num_target"]) != 1:
        raise ModelFormatError(f"a booster of type {ensemble['name']!r}", expected=_EXPECTED)
    outputs = max(1, int(shape["num_class"]))
    model = ensemble["model"]
    trees, ends = model["trees"], model["iteration_indptr"]
    iterations = len(ends) - 1
    best = int(learner["attributes"].get("best_iteration", iterations - 1))
    # Written as one number by XGBoost before 3.1, as a list since.
    base_score = json.loads(shape["base_score"])
    ok = iterations >= 1 and ends[0] == 0 and ends[-1] == len(trees) and ends == sorted(ends)
    ok = ok and 0 <= best < iterations and int(model["gbtree_model_param"]["num_trees"]) == len(trees)
    ok = ok and len(model["tree_info"]) == len(trees) and all(0 <= out < outputs for out in model["tree_info"])
    ok = ok and (not isinstance(base_score, list) or len(base_score) in (1, outputs))
    if not ok or not _sound(trees, int(shape["num_feature"])):
        raise ModelFormatError("trees that contradict themselves", expected=_EXPECTED)


def _sound(trees: Sequence[Mapping[str, Any]], n_features: int) -> bool:
    """Tell whether every path from a root stays inside its tree and its columns, and ends.

    Children lie inside the tree, the root is no child and no node is a child twice: so there is no way round.
    """
    sizes = np.array([len(tree["left_children"]) for tree in trees])
    one_value = all(int(tree["tree_param"]["size_leaf_vector"]) <= 1 for tree in trees)
    if not one_value or not sizes.all():
        return False
    left, right, column, kind = (
        np.fromiter(chain.from_iterable(tree[name] for tree in trees), dtype=np.int64)
        for name in ("left_children", "right_children", "split_indices", "split_type")
    )
    if not len(left) == len(right) == len(column) == len(kind) == sizes.sum():
        return False
    size, start = np.repeat(sizes, sizes), np.repeat(np.cumsum(sizes) - sizes, sizes)
    inner = left != -1
    children = np.concatenate([left[inner], right[inner]])
    inside = (children > 0) & (children < np.concatenate([size[inner], size[inner]]))
    places = children + np.concatenate([start[inner], start[inner]])
    return bool(
        ((right != -1) == inner).all()
        and inside.all()
        and len(np.unique(places)) == len(places)
        and ((column[inner] >= 0) & (column[inner] < n_features)).all()
        and not kind.any()
    )


def _refuse(constant: str) -> Any:
    raise ModelFormatError(f"trees that hold {constant}", expected="finite numbers")
