"""What classifiers that wrap others leave to them: to validate arrays and data frames."""

from __future__ import annotations

from typing import Any

from sklearn.utils import get_tags

__all__ = ["Delegating"]

_FEATURES = ("n_features_in_", "feature_names_in_")


class Delegating:
    """Mixin: what is no bags reaches the wrapped classifiers as it is, with column names, types and missing values.

    So a pipeline inside may choose columns by name, and a classifier inside may take what others don't.
    """

    def _wrapped(self) -> list[Any]:
        """Return the classifiers inside, before they are fitted."""
        raise NotImplementedError

    def _adopt_features(self, fitted: Any) -> None:
        """Take ``n_features_in_`` and ``feature_names_in_`` from a fitted classifier inside, as far as it has them."""
        for name in _FEATURES:
            if hasattr(fitted, name):
                setattr(self, name, getattr(fitted, name))
            elif name in vars(self):
                delattr(self, name)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        inside = [get_tags(each).input_tags for each in self._wrapped() if hasattr(each, "__sklearn_tags__")]
        tags.input_tags.sparse = bool(inside) and all(each.sparse for each in inside)
        tags.input_tags.allow_nan = bool(inside) and all(each.allow_nan for each in inside)
        return tags
