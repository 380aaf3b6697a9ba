"""How the five systems are compared: folds, seeds, networks, and the store that M4 and M5 are fitted on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joblib import cpu_count

from featstore.cnn.classifier import ImageClassifier
from featstore.cnn.presets import PRESETS
from featstore.dataset.records import Dataset
from featstore.encoders import Encoder
from featstore.encoders.device import require_known, resolve_device
from featstore.extract import Repeats, extract, on_this_machine
from featstore.recipe import Recipe
from featstore.store import Store, create_store, open_store

__all__ = ["Protocol", "choose_protocol", "extract_store", "network_of", "weight_digests"]

_FROM_SCRATCH = {"from_scratch": True, "body_lr": 1.0, "frozen_epochs": 0}
_QUICK = {"max_epochs": 8, "patience": 8, "batch_size": 16, **_FROM_SCRATCH}
_QUICK_NETWORKS: dict[str, dict[str, Any]] = {
    "m1": {"image_size": 96},
    "m2": {"image_size": 64, "n_splits": 2},
    "m3": {"image_size": 64, "n_splits": 2},
}


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


def choose_protocol(
    *,
    quick: bool = False,
    from_scratch: bool = False,
    network_weights: Path | None = None,
    outer_folds: int | None = None,
    inner_folds: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    n_jobs: int | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Protocol:
    """Choose what is not said: five outer folds and ten members, or if it is to be quick three and five.

    Parameters
    ----------
    quick : bool
        Small pictures, few epochs, from scratch.
    from_scratch : bool
    network_weights : Path, optional
        A folder with a folder m1, m2 and m3 of weights; by default they are the hub's, or its cache's.
    outer_folds, inner_folds, seeds, seed, n_jobs
        As `Protocol` has them; by default one outer fold a core at a time, on a GPU one.
    device, precision : str
        Of the networks.

    Raises
    ------
    SettingError
        If the device or precision is not to be had here.
    """
    require_known(device, precision)
    found = resolve_device(device)
    by_network: dict[str, dict[str, Any]] = _QUICK_NETWORKS if quick else {}
    if network_weights is not None and not (quick or from_scratch):
        by_network = {name: {"weights": network_weights / name} for name in PRESETS}
    how = {"device": found, "precision": precision}
    return Protocol(
        outer_folds or (3 if quick else 5),
        seeds,
        seed,
        inner_folds or (5 if quick else 10),
        networks=how | (_QUICK if quick else _FROM_SCRATCH if from_scratch else {}),
        by_network=by_network,
        n_jobs=n_jobs or (int(cpu_count()) if found == "cpu" else 1),
    )


def network_of(system: str, protocol: Protocol, checkpoints: Path | None) -> ImageClassifier:
    """Return M1, M2 or M3 as a protocol has it, not fitted."""
    settings = {**protocol.networks, **protocol.by_network.get(system, {})}
    return PRESETS[system](checkpoints=checkpoints, **settings)


def weight_digests(protocol: Protocol) -> dict[str, str]:
    """Find the weights of all networks, before hours of work, and return the SHA-256 of each.

    Raises
    ------
    WeightsNotFoundError
        If they are not to be had.
    """
    return {system: network_of(system, protocol, None).find().digest for system in PRESETS}


def extract_store(
    dataset: Dataset, encoder: Encoder, protocol: Protocol, folder: Path, tell: Callable[[str], object]
) -> Store:
    """Extract a store with a protocol's repeats into a folder; one that is complete is left as it is."""
    recipe, repeats = Recipe(encoder.settings, seed=protocol.seed), max(protocol.repeats)
    path = folder / f"embeddings-{recipe.fingerprint[:12]}.store"
    tell(f"Extracting with {encoder.settings.name}, {repeats} repeats, into {path}")
    with create_store(path, recipe.to_dict(), encoder.settings.dim, operation="extract") as writer:
        extract(dataset, encoder, recipe, writer, repeats=Repeats(train=repeats), engine=on_this_machine)
    return open_store(path)
