"""All five systems on one dataset: the same images, the same outer folds, the same seeds; a unit of work a row.

Each row is kept as a file as soon as it is known, under a name that tells what it was made of, the content of images
included: a comparison that was stopped goes on, one of other data or settings starts anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.metrics import f1_score

from featstore.cnn.images import predict_records
from featstore.cnn.presets import PRESETS
from featstore.cnn.protocol import Protocol, network_of
from featstore.cnn.published import SYSTEMS, Row
from featstore.dataset import file_digest, join_spellings
from featstore.dataset.records import ImageRecord
from featstore.errors import DataError
from featstore.evaluate import Candidate, cross_validate_nested, data_digest
from featstore.evaluate.estimate import without_nan
from featstore.recipe import canonical_json
from featstore.store import Bags, Store
from featstore.store.disk.files import make_folder, write_atomically
from featstore.toolkit.predictions import Prediction, predict_images
from featstore.toolkit.presets import m4, m5

__all__ = ["Reproduction", "spelled_as_trained"]


class Reproduction:
    """The work of `featstore reproduce`.

    Parameters
    ----------
    store : Store
        With as many repeats as the protocol asks for.
    records : sequence of ImageRecord
        The images of the dataset that the store was extracted from.
    unusable : mapping of str to str
        Why images can't be used by the networks.
    protocol : Protocol
    weights : mapping of str to str
        Of `weight_digests`.
    folder : Path
        For rows, checkpoints and predictions.
    test_labels : mapping of str to str
        Of test images, by their key; empty where they are not known.

    Raises
    ------
    DataError
        If the store has images that the dataset has not, or not with this content.
    """

    def __init__(
        self,
        store: Store,
        records: Sequence[ImageRecord],
        unusable: Mapping[str, str],
        protocol: Protocol,
        weights: Mapping[str, str],
        folder: Path,
        test_labels: Mapping[str, str],
    ) -> None:
        self.store, self.unusable, self.protocol, self.folder = store, dict(unusable), protocol, folder
        self.weights, self.test_labels = dict(weights), dict(test_labels)
        by_name = {record.image: record for record in records}
        bags = store.bags("train", repeats=max(protocol.repeats))
        self.data_digest = data_digest(bags.images, bags.labels, bags.groups)
        names = [name for name in sorted(bags.images.tolist()) if name not in self.unusable]
        if lacking := [name for name in names if name not in by_name]:
            raise DataError(
                f"{len(lacking)} images of {store.path} are not in the data, the first {lacking[0]}",
                expected="the data that the store was extracted from",
            )
        self.names, self.training = names, [by_name[name] for name in names]
        self.test = [record for record in records if record.split == "test"]
        self._require_same_content([*self.training, *self.test])
        bags = self._in_order(bags)
        self.labels, self.groups = bags.labels, bags.groups

    def rows(self, callback: Callable[[str, int, int], object] = lambda *_: None) -> tuple[list[Row], list[Row]]:
        """Work out every row that is not there yet.

        Parameters
        ----------
        callback : callable
            Called with the name of a row, its number and how many there are, before it is worked out.

        Returns
        -------
        systems, repeats : list of dict
            ``system``, ``repeats``, ``val_accuracy`` and ``val_macro_f1`` of the best fold, ``macro_f1`` with ``mean``,
            ``std``, ``ci_low`` and ``ci_high`` by nested cross-validation, ``test_macro_f1``, ``test_images``,
            ``images``, ``seconds``.
        """
        most = max(self.protocol.repeats)
        wanted = [(system, most) for system in SYSTEMS]
        wanted += [("m5", repeats) for repeats in self.protocol.repeats if repeats != most]
        found = {}
        for number, (system, repeats) in enumerate(wanted):
            callback(f"{system}, {repeats} repeats" if system in ("m4", "m5") else system, number, len(wanted))
            found[system, repeats] = self._row(system, repeats)
        by_repeats = [found["m5", repeats] for repeats in sorted(self.protocol.repeats)]
        return [found[system, most] for system in SYSTEMS], by_repeats

    def _row(self, system: str, repeats: int) -> Row:
        key = self._key(system, repeats)
        path = self.folder / "rows" / f"{system}-{repeats}-{key}.json"
        if path.is_file():
            kept: Row = json.loads(path.read_bytes())
            return kept
        started, checkpoints = time.perf_counter(), self.folder / "checkpoints" / f"{system}-{key}"
        row = self._network(system, checkpoints) if system in PRESETS else self._heads(system, repeats)
        row = {"system": system, "repeats": None if system in PRESETS else repeats, **row}
        row |= {"images": len(self.names), "seconds": round(time.perf_counter() - started, 1)}
        make_folder(path.parent)
        finite: Row = without_nan(row)
        write_atomically(path, json.dumps(finite, indent=2).encode())
        shutil.rmtree(checkpoints, ignore_errors=True)
        return finite

    def _require_same_content(self, records: Sequence[ImageRecord]) -> None:
        """Make sure that networks read what the store was extracted from."""
        known = self.store.images
        changed = [
            record.image
            for record in records
            if record.image not in self.unusable
            and (row := known.get(record.image)) is not None
            and row.identity != (file_digest(record.path), file_digest(record.mask_path) if record.mask_path else "")
        ]
        if changed:
            raise DataError(
                f"{len(changed)} images or their masks changed since they were extracted into {self.store.path}, "
                f"the first {changed[0]}",
                expected="the data that the store was extracted from",
                remedy="Extract again: the same command as before renews what has changed.",
            )

    def _key(self, system: str, repeats: int) -> str:
        """Hash what a row is made of."""
        protocol = self.protocol
        how: dict[str, Any] = {"outer": protocol.outer_folds, "seeds": protocol.seeds, "seed": protocol.seed}
        if system in PRESETS:
            network = network_of(system, self.protocol, None).get_params()
            how |= {name: value for name, value in network.items() if name not in ("weights", "device", "n_jobs")}
            how |= {"digest": self.weights[system]}
        else:
            how |= {"repeats": repeats, "inner": protocol.inner_folds}
        images = sorted((row.image, *row.identity, row.split) for row in self.store.images.values())
        parts = [system, how, self.store.fingerprint, images, self.names, self.labels.tolist(), self.groups.tolist()]
        parts += [sorted(self.test_labels.items()), sorted(self.unusable)]
        return hashlib.sha256(canonical_json({"parts": json.loads(json.dumps(parts))}).encode()).hexdigest()[:12]

    def _network(self, system: str, checkpoints: Path) -> Row:
        model = network_of(system, self.protocol, checkpoints)
        fitted = clone(model).set_params(random_state=self.protocol.seed)
        fitted.fit(self.training, self.labels, groups=self.groups)
        predictions = predict_records(fitted, self.test, self.unusable)
        honest = self._nested(model, self.training)
        return {**self._best(fitted), "macro_f1": honest, **self._test(predictions)}

    def _heads(self, system: str, repeats: int) -> Row:
        preset, n_splits = {"m4": m4, "m5": m5}[system], self.protocol.inner_folds
        bags = self._in_order(self.store.bags("train", repeats=repeats))
        fitted = preset(self.protocol.seed, n_splits, n_jobs=self.protocol.n_jobs).fit(bags, bags.labels)
        stored = any(row.split == "test" for row in self.store.images.values())
        predictions = predict_images(fitted, self.store) if stored else []
        honest = self._nested(preset(None, n_splits), bags)
        return {**self._best(fitted), "macro_f1": honest, **self._test(predictions)}

    def _in_order(self, bags: Bags) -> Bags:
        """Take the images that are compared, by name."""
        place = {name: index for index, name in enumerate(bags.images.tolist())}
        ordered: Bags = bags[np.array([place[name] for name in self.names])]
        return ordered

    def _nested(self, model: Any, X: Any) -> dict[str, float]:
        protocol = self.protocol
        (found,) = cross_validate_nested(
            [Candidate("", model, X, self.labels, self.groups)],
            n_splits=protocol.outer_folds,
            n_seeds=protocol.seeds,
            random_state=protocol.seed,
            n_jobs=protocol.n_jobs,
        )
        return found.figures()["macro_f1"]

    def _best(self, fitted: Any) -> Row:
        best = max(fitted.fold_scores_, key=lambda score: score["val_macro_f1"])
        return {"val_accuracy": best["val_accuracy"], "val_macro_f1": best["val_macro_f1"]}

    def _test(self, predictions: Sequence[Prediction]) -> Row:
        """Score predictions of the test images whose labels are known."""
        pairs = [(self.test_labels[p.row.image], p.label) for p in predictions if p.row.image in self.test_labels]
        if not pairs:
            return {"test_macro_f1": None, "test_images": 0}
        truth, said = zip(*pairs, strict=True)
        score = f1_score(truth, said, average="macro", labels=sorted(set(truth)), zero_division=0.0)
        return {"test_macro_f1": float(score), "test_images": len(pairs)}


def spelled_as_trained(labels: Mapping[str, str], records: Sequence[ImageRecord]) -> tuple[dict[str, str], list[str]]:
    """Give test images' labels the spelling of the training images'.

    Returns
    -------
    labels : dict of str to str
    strange : list of str
        Classes among them that no training image has.
    """
    training = [record.label for record in records if record.split == "train" and record.label]
    joined, _ = join_spellings([*training, *labels.values()])
    spelled = dict(zip(labels, joined[len(training) :], strict=True))
    return spelled, sorted(set(spelled.values()) - set(joined[: len(training)]))
