"""Estimators to plain JSON and arrays, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from featstore.errors import ModelFormatError
from featstore.toolkit.archive import array_from_bytes, array_to_bytes
from featstore.toolkit.boosters import booster_to_bytes, check_parameters, restore_booster
from featstore.toolkit.registry import REGISTRY, saved_class

__all__ = ["Decoder", "Encoder"]

_INPUT = ("feature_names_in_", "n_features_in_")
_REMEDY = (
    "A model file holds the toolkit's estimators, XGBClassifier, LogisticRegression, StandardScaler and pipelines "
    "of these, with plain numbers, strings and lists as parameters."
)
_CONSTANTS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Encoder:
    """Turn estimators into JSON values; arrays and boosters go to ``members``, by name.

    ``version`` is that of the format which has all their classes.
    """

    def __init__(self) -> None:
        self.members: dict[str, bytes] = {}
        self.version = 1

    def estimator(self, estimator: Any) -> dict[str, Any]:
        """Return class, parameters and fitted state; the state of one that is not fitted is empty."""
        name = type(estimator).__name__
        known: Any = saved_class(name) if name in REGISTRY else None
        if type(estimator) is not known:
            raise ModelFormatError(f"an estimator of class {name} can't be saved", remedy=_REMEDY)
        self.version = max(self.version, REGISTRY[name].since)
        given = sorted(estimator.get_params(deep=False).items())
        params = {key: value for key, value in given if value is not None and key not in REGISTRY[name].how}
        return {
            "class": name,
            "params": {key: self.value(value, f"{name}.{key}") for key, value in params.items()},
            "state": self._state(estimator, name),
        }

    def value(self, value: Any, where: str) -> Any:
        """Encode what parameters and fitted attributes hold; ``where`` names it in the error."""
        if isinstance(value, str):
            return _text(value, where)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (np.bool_, np.integer, np.floating)):
            return self.value(value.item(), where)
        if isinstance(value, int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"$float": str(value)}
        if isinstance(value, np.ndarray):
            return self._array(value, where)
        if isinstance(value, (list, tuple)):
            items = [self.value(item, where) for item in value]
            return items if isinstance(value, list) else {"$tuple": items}
        if isinstance(value, Mapping):
            return {"$dict": [[self.value(key, where), self.value(item, where)] for key, item in value.items()]}
        if isinstance(value, BaseEstimator):
            return {"$estimator": self.estimator(value)}
        raise ModelFormatError(f"{where} is a {type(value).__name__} and can't be saved", remedy=_REMEDY)

    def _state(self, estimator: Any, name: str) -> dict[str, Any]:
        if name == "XGBClassifier":
            if not estimator.__sklearn_is_fitted__():
                return {}
            return {"$booster": self._member("xgboost", "ubj", booster_to_bytes(estimator))}
        held = vars(estimator)
        if any(key not in held for key in REGISTRY[name].state):
            return {}
        keys = [key for key in (*_INPUT, *REGISTRY[name].state) if key in held]
        return {key: self.value(held[key], f"{name}.{key}") for key in keys}

    def _array(self, array: np.ndarray[Any, Any], where: str) -> dict[str, Any]:
        if array.dtype.kind == "O" and array.ndim == 1 and all(isinstance(item, str) for item in array):
            return {"$strings": [_text(item, where) for item in array.tolist()]}
        _check_text(array, where)
        try:
            return {"$array": self._member("arrays", "npy", array_to_bytes(array))}
        except ModelFormatError as error:
            raise ModelFormatError(f"{where} is {error.found} and can't be saved", expected=error.expected) from error

    def _member(self, folder: str, suffix: str, data: bytes) -> str:
        number = sum(name.startswith(folder) for name in self.members)
        name = f"{folder}/{number:04d}.{suffix}"
        self.members[name] = data
        return name


class Decoder:
    """Turn JSON values back into estimators, taking arrays and boosters out of ``members``."""

    def __init__(self, members: Mapping[str, bytes]) -> None:
        self.members = dict(members)
        self.version = 1

    def estimator(self, node: Any) -> Any:
        """Return the estimator, after checking that it is one that could have been saved."""
        if not isinstance(node, dict) or node.keys() != {"class", "params", "state"}:
            raise ModelFormatError(f"an estimator described by {_brief(node)}", expected="class, params and state")
        name, params, state = node["class"], node["params"], node["state"]
        cls = saved_class(name)
        self.version = max(self.version, REGISTRY[name].since)
        if not isinstance(params, dict) or not isinstance(state, dict):
            raise ModelFormatError(f"{name} with params or state that are not by name")
        estimator = _make(cls, {key: self.value(value) for key, value in params.items()})
        self._restore(estimator, name, state)
        return estimator

    def value(self, value: Any) -> Any:
        """Decode what `Encoder.value` encoded."""
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, str):
            return _text(value, "a value")
        if not isinstance(value, dict):
            return value
        if len(value) != 1:
            raise ModelFormatError(f"a value described by {_brief(value)}")
        ((tag, held),) = value.items()
        return self._tagged(tag, held)

    def _tagged(self, tag: str, held: Any) -> Any:
        if tag == "$estimator":
            return self.estimator(held)
        if tag == "$array":
            array = array_from_bytes(self._take(held))
            _check_text(array, "an array")
            return array
        if tag == "$tuple" and isinstance(held, list):
            return tuple(self.value(item) for item in held)
        if tag == "$strings" and isinstance(held, list) and all(isinstance(item, str) for item in held):
            return np.array([_text(item, "a value") for item in held], dtype=object)
        if tag == "$dict" and isinstance(held, list) and all(isinstance(p, list) and len(p) == 2 for p in held):
            return {self.value(key): self.value(item) for key, item in held}
        if tag == "$float" and held in _CONSTANTS:
            return _CONSTANTS[held]
        raise ModelFormatError(f"a value described by {_brief({tag: held})}")

    def _restore(self, estimator: Any, name: str, state: dict[str, Any]) -> None:
        if name == "XGBClassifier":
            if state:
                restore_booster(estimator, self._take(state.get("$booster")))
            return
        wanted = REGISTRY[name].state
        if not state and wanted:
            return
        if not set(wanted) <= state.keys() <= {*wanted, *_INPUT}:
            raise ModelFormatError(f"{name} with {', '.join(sorted(state))}", expected=", ".join(wanted))
        for key, value in state.items():
            setattr(estimator, key, self.value(value))
        width = getattr(estimator, "n_features_in_", 1)
        ok = isinstance(width, int) and width >= 1
        if not ok or not REGISTRY[name].check(estimator):
            raise ModelFormatError(f"{name} whose parts don't fit together")

    def _take(self, name: Any) -> bytes:
        if not isinstance(name, str) or name not in self.members or name == "model.json":
            raise ModelFormatError(f"no member {_brief(name)}, or it is used twice")
        return self.members.pop(name)


def _make(cls: Any, params: dict[str, Any]) -> Any:
    known = cls().get_params(deep=False).keys() if cls.__name__ == "XGBClassifier" else cls._get_param_names()
    strange = sorted(params.keys() - set(known))
    if strange:
        raise ModelFormatError(f"{cls.__name__} with parameter {strange[0][:80]!r}", expected="only those it has")
    estimator = cls(**params)
    if cls.__name__ == "XGBClassifier":
        check_parameters(estimator)
    return estimator


def _check_text(array: np.ndarray[Any, Any], where: str) -> None:
    if array.dtype.kind == "U":
        _text("".join(array.ravel().tolist()), where)


def _text(text: str, where: str) -> str:
    """Return a text unless it is one that no file or terminal could be told."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ModelFormatError(f"{where} holds {_brief(text)}, which is no text", expected="Unicode text") from error
    return text


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
