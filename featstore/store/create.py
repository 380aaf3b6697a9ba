"""Making a store, or opening it for appending."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featstore.errors import SettingError, StoreNotFoundError
from featstore.recipe import canonical_json
from featstore.store.disk.commits import nothing_yet
from featstore.store.disk.versions import Version, read_version, require_recipe
from featstore.store.subsets import is_whole
from featstore.store.writer import StoreWriter

__all__ = ["create_store"]

_LARGEST_DIM, _LARGEST_RECIPE = 2**20, 2**20


def create_store(
    path: str | Path, recipe: Mapping[str, Any], dim: int, *, dtype: str = "float32", operation: str = "add"
) -> StoreWriter:
    """Make a store, or open it for appending when its recipe is the same.

    Parameters
    ----------
    path : str or Path
        Folder of the store; ``NAME.store`` by custom.
    recipe : mapping
        What the embeddings are: anything that JSON can hold.
    dim : int
        Length of an embedding.
    dtype : {"float32", "float16"}
        How embeddings are stored.
    operation : str
        A word for the log.

    Returns
    -------
    StoreWriter
        A context manager: what was added is committed at the end of the ``with``, nothing of it if the block raises.

    Raises
    ------
    RecipeMismatchError
        If the store there has another recipe, dimension or type; the message names the fields.
    StoreWriteError
        If it can't be made.
    """
    folder, plain = Path(path), _as_read_back(recipe)
    canonical_json({"operation": operation})
    dim = _checked_dim(dim)
    if dtype not in {"float32", "float16"}:
        raise SettingError(f"dtype is {dtype!r}", expected="float32 or float16")
    try:
        base = read_version(folder)
        require_recipe(base, Version(folder, 0, plain, dim, dtype))
    except StoreNotFoundError:
        base = nothing_yet(folder, plain, dim, dtype)
    return StoreWriter(base, operation)


def _as_read_back(recipe: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(recipe, Mapping):
        raise SettingError(f"recipe is {recipe!r}", expected="a mapping, such as {'encoder': 'mine'}")
    text = canonical_json(dict(recipe))
    if len(text) > _LARGEST_RECIPE:
        raise SettingError(f"a recipe of {len(text)} letters", expected=f"at most {_LARGEST_RECIPE}, written as JSON")
    plain: dict[str, Any] = json.loads(text)
    return plain


def _checked_dim(dim: int) -> int:
    if is_whole(dim) and 1 <= dim <= _LARGEST_DIM:
        return int(dim)
    raise SettingError(f"dim is {dim!r}", expected=f"a whole number from 1 to {_LARGEST_DIM}")
