"""All five systems on one dataset: the same images, the same outer folds, the same seeds; a unit of work a row.

Each row is kept as a file as soon as it is known, under a name that tells what it was made of: a comparison that was
stopped goes on, one of other data or settings starts anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import f1_score

from featstore.cnn.images import predict_records
from featstore.cnn.presets import PRESETS
from featstore.dataset.records import ImageRecord
from featstore.errors import DataError
from featstore.evaluate import Candidate, cross_validate_nested
from featstore.evaluate.estimate import without_nan
from featstore.recipe import canonical_json
from featstore.store import Store
from featstore.store.disk.files import make_folder, write_atomically
from featstore.toolkit.predictions import Prediction, predict_images
from featstore.toolkit.presets import m4, m5

__all__ = ["PUBLISHED", "PUBLISHED_REPEATS", "SYSTEMS", "Comparison", "Protocol", "Row"]

Row = dict[str, Any]

SYSTEMS = {
    "m1": "InceptionV3, mask as 4th channel, one hold-out",
    "m2": "EfficientNet-B0, stronger augmentation, folds",
    "m3": "EfficientNet-B1, schedule, balanced, calibrated",
    "m4": "frozen encoder, MLP on image embeddings",
    "m5": "frozen encoder, MLP on blobs and XGBoost, fused",
}

PUBLISHED = {
    "m1": (0.3504, 0.3273, 0.3188),
    "m2": (0.4138, 0.3549, 0.3358),
    "m3": (0.4483, 0.4348, 0.3529),
    "m4": (None, 0.4235, 0.3725),
    "m5": (None, 0.4975, 0.4221),
}
"""The authors' validation accuracy, validation macro-F1 (both of the best fold) and test macro-F1, on the challenge."""

PUBLISHED_REPEATS = {1: 0.3725, 3: 0.4048, 4: 0.4221}
"""The authors' test macro-F1 of M5 by repeats."""


@dataclass(frozen=True)
class Protocol:
    """How all systems are judged.

    Attributes
    ----------
    outer_folds : int
        Of the nested cross-validation: each image is predicted once a seed, by a system that has not seen it.
    seeds : int
        Repetitions of it with other folds.
    seed : int
    inner_folds : int
        Members of M4 and M5.
    repeats : tuple of int
        For the table of repeats; the five systems have the most of them.
    networks : mapping
        Settings of M1 to M3 other than their presets'.
    by_network : mapping of str to mapping
        The same of one of them.
    n_jobs : int
        Outer folds at a time; it changes no figure.
    """

    outer_folds: int = 5
    seeds: int = 1
    seed: int = 0
    inner_folds: int = 10
    repeats: tuple[int, ...] = (0, 1, 3, 4)
    networks: Mapping[str, Any] = field(default_factory=dict)
    by_network: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    n_jobs: int = 1


class Comparison:
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
    folder : Path
        For rows, checkpoints and predictions.
    test_labels : mapping of str to str
        By ``sample_index``; empty where test labels are not known.

    Raises
    ------
    DataError
        If the store has images that the dataset has not.
    """

    def __init__(
        self,
        store: Store,
        records: Sequence[ImageRecord],
        unusable: Mapping[str, str],
        protocol: Protocol,
        folder: Path,
        test_labels: Mapping[str, str],
    ) -> None:
        self.store, self.unusable, self.protocol, self.folder = store, dict(unusable), protocol, folder
        self.test_labels = dict(test_labels)
        by_name = {record.image: record for record in records}
        bags = store.bags("train", repeats=max(protocol.repeats))
        names = [name for name in sorted(bags.images.tolist()) if name not in self.unusable]
        if lacking := [name for name in names if name not in by_name]:
            raise DataError(
                f"{len(lacking)} images of {store.path} are not in the data, the first {lacking[0]}",
                expected="the data that the store was extracted from",
            )
        self.names, self.training = names, [by_name[name] for name in names]
        self.test = [record for record in records if record.split == "test"]
        place = {name: index for index, name in enumerate(bags.images.tolist())}
        self.order = np.array([place[name] for name in names])
        self.labels, self.groups = bags.labels[self.order], bags.groups[self.order]

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
        path = self.folder / "rows" / f"{system}-{repeats}-{self._key(system, repeats)}.json"
        if path.is_file():
            kept: Row = json.loads(path.read_bytes())
            return kept
        started = time.perf_counter()
        row = self._network(system) if system in PRESETS else self._heads(system, repeats)
        row = {"system": system, "repeats": None if system in PRESETS else repeats, **row}
        row |= {"images": len(self.names), "seconds": round(time.perf_counter() - started, 1)}
        make_folder(path.parent)
        finite: Row = without_nan(row)
        write_atomically(path, json.dumps(finite, indent=2).encode())
        shutil.rmtree(self._checkpoints(system), ignore_errors=True)
        return finite

    def _checkpoints(self, system: str) -> Path:
        return self.folder / "checkpoints" / system

    def _key(self, system: str, repeats: int) -> str:
        """Hash what a row is made of."""
        protocol = {name: value for name, value in asdict(self.protocol).items() if name not in ("n_jobs", "repeats")}
        parts = [system, repeats, protocol, self.store.fingerprint, self.store.version, self.names]
        parts += [self.labels.tolist(), self.groups.tolist(), sorted(self.test_labels.items())]
        return hashlib.sha256(
            canonical_json({"parts": json.loads(json.dumps(parts, default=str))}).encode()
        ).hexdigest()[:12]

    def _network(self, system: str) -> Row:
        model = self._make_network(system)
        fitted = self._make_network(system).set_params(random_state=self.protocol.seed)
        fitted.fit(self.training, self.labels, groups=self.groups)
        predictions = predict_records(fitted, self.test, self.unusable)
        honest = self._nested(model, self.training)
        return {**self._best(fitted), "macro_f1": honest, **self._test(predictions)}

    def _make_network(self, system: str) -> Any:
        settings = {**self.protocol.networks, **self.protocol.by_network.get(system, {})}
        return PRESETS[system](checkpoints=self._checkpoints(system), **settings)

    def _heads(self, system: str, repeats: int) -> Row:
        preset, n_splits = {"m4": m4, "m5": m5}[system], self.protocol.inner_folds
        bags = self.store.bags("train", repeats=repeats)
        place = {name: index for index, name in enumerate(bags.images.tolist())}
        bags = bags[np.array([place[name] for name in self.names])]
        fitted = preset(self.protocol.seed, n_splits, n_jobs=self.protocol.n_jobs).fit(bags, bags.labels)
        predictions = predict_images(fitted, self.store) if self.test else []
        honest = self._nested(preset(None, n_splits), bags)
        return {**self._best(fitted), "macro_f1": honest, **self._test(predictions)}

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
        pairs = [
            (self.test_labels[p.row.sample_index], p.label)
            for p in predictions
            if p.row.sample_index in self.test_labels
        ]
        if not pairs:
            return {"test_macro_f1": None, "test_images": 0}
        truth, said = zip(*pairs, strict=True)
        score = f1_score(truth, said, average="macro", labels=sorted(set(truth)), zero_division=0.0)
        return {"test_macro_f1": float(score), "test_images": len(pairs)}
