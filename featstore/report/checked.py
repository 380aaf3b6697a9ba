"""What other commands found, held against the store and the model that a report is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from featstore.errors import DataError
from featstore.evaluate import data_digest
from featstore.report.words import plural
from featstore.store import Store
from featstore.store.scales import TILES

__all__ = ["check_evaluation", "check_reproduction", "check_sweep", "doubts_of", "preset_of"]

Values = Mapping[str, Any]

_ANEW = {
    "an estimate": "Estimate anew: featstore evaluate {} --json > evaluation.json.",
    "a sweep": "Sweep anew: featstore sweep {} --out DIR.",
    "a comparison": "Compare anew: featstore reproduce DATA --store {}.",
}
_EARLIER = (
    "It does not say of which images, labels and groups it is, so that can't be checked: an earlier featstore made it."
)


def check_evaluation(content: Values, store: Store, path: object) -> None:
    """Refuse an estimate of another store, or of other images, labels or groups than this version of it has.

    Raises
    ------
    DataError
    """
    if content.get("fingerprint") != store.fingerprint:
        raise _of_another_store("an estimate", path, content.get("fingerprint"), store)
    versions = content.get("versions") or [None]
    _require_same_data("an estimate", {**content, "version": versions[0]}, store, path)
    labels = {row.label for row in store.usable().values() if row.label}
    if strange := sorted(set(content["per_class"]) - labels):
        raise DataError(
            f"{path}: an estimate with the class {strange[0]!r}, which no image of {store.path} has",
            expected="an estimate on this store",
            remedy=_ANEW["an estimate"].format(store.path),
        )


def check_sweep(rows: Sequence[Values], store: Store, path: object) -> None:
    """Refuse a sweep without a row of this store, or on other images, labels or groups; others may be there too.

    Raises
    ------
    DataError
    """
    named = [row.get("fingerprint") for row in rows]
    if all(named) and store.fingerprint not in named:
        raise _of_another_store("a sweep", path, named[0], store)
    for row in rows:
        if row.get("fingerprint") == store.fingerprint:
            _require_same_data("a sweep", row, store, path)


def check_reproduction(content: Values, store: Store, path: object) -> None:
    """Refuse a comparison whose heads were fitted on another store, or on other images, labels or groups.

    Raises
    ------
    DataError
    """
    if content.get("fingerprint") not in (None, store.fingerprint):
        raise _of_another_store("a comparison", path, content["fingerprint"], store)
    _require_same_data("a comparison", content, store, path)


def doubts_of(content: Values, store: Store, model: Any = None) -> list[str]:
    """Tell what a reader should know of figures beside these: what can't be checked, or is of other settings."""
    doubts = [] if content.get("data_digest") else [_EARLIER]
    here = sum(bool(row.label) for row in store.usable("train").values())
    if (there := content.get("images")) and here != there:
        doubts.append(f"It is of {plural(there, 'image')}; this store has {plural(here, 'labelled training image')}.")
    named = content.get("preset")
    if model is not None and named:
        preset, scales = preset_of(model)
        asked = (content.get("scales") or "").replace(" ", "")
        if (named, asked) != (preset, scales):
            ours = _settings(preset or "another", scales)
            doubts.append(f"It is of {_settings(named, asked)}; the model on this page is {ours}.")
    return doubts


def preset_of(model: Any) -> tuple[str, str]:
    """Tell an ensemble's preset, empty for none of them, and its scales as ``--scales`` takes them, empty for all."""
    told = model.estimator.get_params(deep=True)
    kinds = {type(value).__name__ for value in [model.estimator, *told.values()]}
    levels = {value for name, value in told.items() if name.split("__")[-1] == "level"}
    found = {("image",): "m4", ("blob",): "m5" if "XGBClassifier" in kinds else ""}.get(tuple(levels), "")
    ways = {(tuple(each.scales), each.how) for each in told.values() if type(each).__name__ == "OnScales"}
    if len(ways) != 1:
        return found if not ways else "", ""
    ((scales, how),) = ways
    sign = ":" if how == "concatenate" else "+"
    return found, sign.join("tiles" if scale == TILES else str(scale) for scale in scales)


def _settings(preset: str, scales: str) -> str:
    named = f"the preset {preset}" if preset in ("m4", "m5") else f"{preset} preset"
    return f"{named} on scales {scales}" if scales else f"{named} on all crops"


def _of_another_store(what: str, path: object, named: object, store: Store) -> DataError:
    return DataError(
        f"{path}: {what} on embeddings of fingerprint {named or 'unknown'}",
        expected=f"{store.fingerprint}, that of {store.path}",
        remedy=_ANEW[what].format(store.path),
    )


def _require_same_data(what: str, content: Values, store: Store, path: object) -> None:
    """Refuse what was found on other images, labels or groups; what does not say on which is let through."""
    named = content.get("data_digest")
    if named is None:
        return
    bags = store.bags("train", repeats=0)
    if named == data_digest(bags.images, bags.labels, bags.groups):
        return
    version = content.get("version")
    if version == store.version and not content.get("labels") and (content.get("images") or 0) < len(bags):
        return  # of those that all compared stores have; how many is told beside it
    source = f", with labels of {content['labels']}" if content.get("labels") else ""
    remedy = _ANEW[what].format(store.path)
    if version not in (None, store.version):
        remedy += f" Or report on that version: --store-version {version}."
    raise DataError(
        f"{path}: {what} on version {version or 'unknown'} of the store{source}, whose training images, labels or "
        f"groups are not those of version {store.version} of {store.path}",
        expected="the same images, labels and groups",
        remedy=remedy,
    )
