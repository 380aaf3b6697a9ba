"""`fit` against what a notebook would do with the same embeddings: seconds, and scores paired over seeds.

The notebook's way: folds of scikit-learn's, XGBoost with 300 trees of depth 4 at a rate of 0.05 and all else left as it
is, on each repeat's image embedding; a torch network trained on blob embeddings for 50 epochs through a `DataLoader`,
of which the epoch with the lowest validation loss is kept; temperatures by scipy; the first best fusion weight.
Both fit on the same store, predict the same new images, and run on all cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

import featstore
from featstore.store import Bags, open_store
from tests.benchmarks.fitting import run
from tests.benchmarks.harness import ratio, table, watched
from tests.benchmarks.simulated import CHALLENGE, Simulation

REPEATS, NEW = 4, 2000
EPOCHS, BATCH, HIDDEN = 50, 64, 128
HEADS = (
    *("seed", "`fit`, s", "notebook, s", "`fit`, macro-F1 out of fold", f"of {NEW} new images"),
    *("notebook, macro-F1 out of fold", f"of {NEW} new images"),
)


def main(arguments: list[str] | None = None) -> None:
    """Print the tables; with ``--notebook`` be the notebook, in a process of its own."""
    parser = argparse.ArgumentParser(prog="notebook", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=range(5), help="by default 0 to 4, a quarter hour each")
    parser.add_argument("--notebook", nargs=2, metavar=("STORE", "SEED"))
    options = parser.parse_args(arguments)
    if options.notebook:
        print(json.dumps(_notebook(Path(options.notebook[0]), int(options.notebook[1]))))
        return
    print(f"| {' | '.join(HEADS)} |\n| {' | '.join('---:' for _ in HEADS)} |")
    rows, pairs = [], []
    with tempfile.TemporaryDirectory() as name:
        store, model = Path(name) / "x.store", Path(name) / "x.model"
        Simulation().write(store, CHALLENGE, repeats=REPEATS, test=NEW)
        for seed in options.seeds:
            fit, told, _ = run("fit", store, "--model", model, "--seed", seed)
            there, said, _ = watched([sys.executable, "-m", "tests.benchmarks.notebook", "--notebook", store, seed])
            found = json.loads(said)
            ours = (told["oof_macro_f1"], _new_score(featstore.load_model(model), store))
            rows.append((*ours, found["oof"], found["new"]))
            pairs.append((fit, there))
            scores = " | ".join(f"{value:.4f}" for value in rows[-1])
            print(f"| {seed} | {fit:.1f} | {there:.1f} | {scores} |", flush=True)
    for name, place in (("out of fold", 0), ("new images", 1)):
        away = [row[place] - row[place + 2] for row in rows]
        error = statistics.stdev(away) / len(away) ** 0.5 if len(away) > 1 else float("nan")
        print(f"\n`fit` less the notebook's way, {name}: {statistics.mean(away):+.4f} (standard error {error:.4f})")
    ratios = [ours / theirs for ours, theirs in pairs]
    print("\n" + table([ratio("`fit`, ten folds, against the notebook's way", pairs, ratios, "60 s, at most 0.1")]))


def _truth(names: np.ndarray) -> np.ndarray:
    """Return the classes of new images, which their store does not tell."""
    classes = Simulation().classes(CHALLENGE, test=NEW)
    return np.array([classes[name] for name in names])


def _new_score(model: Any, store: Path) -> float:
    bags = open_store(store).bags(split="test")
    return float(f1_score(_truth(bags.images), model.predict(bags), average="macro"))


def _notebook(path: Path, seed: int) -> dict[str, float]:
    import torch

    torch.manual_seed(seed)
    bags, new = open_store(path).bags(repeats=REPEATS), open_store(path).bags(split="test")
    classes, y = np.unique(bags.labels, return_inverse=True)
    out, fresh = np.zeros((len(y), len(classes))), np.zeros((len(new), len(classes)))
    for train, held in StratifiedKFold(10, shuffle=True, random_state=seed).split(y, y):
        out[held], logits = _fold(torch, bags[train], y[train], bags[held], y[held], new, seed)
        fresh += softmax(logits, axis=1)
    return {
        "oof": f1_score(y, out.argmax(axis=1), average="macro"),
        "new": f1_score(_truth(new.images), classes[fresh.argmax(axis=1)], average="macro"),
    }


def _fold(
    torch: Any, bags: Bags, y: np.ndarray, held: Bags, y_held: np.ndarray, new: Bags, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the fused logits of the validation part and of new images."""
    from xgboost import XGBClassifier

    blobs, means, parts = bags.instances("all"), bags.repeat_means(), (held, new)
    scaler = StandardScaler().fit(blobs.embeddings)
    network = _trained(
        torch,
        scaler.transform(blobs.embeddings),
        y[blobs.image],
        lambda network: _loss(_blob_logits(torch, network, held, scaler), y_held),
    )
    booster = XGBClassifier(n_estimators=300, max_depth=4, learning_rate=0.05, random_state=seed)
    booster.fit(means.embeddings, y[means.image])
    ours = _calibrated([_blob_logits(torch, network, part, scaler) for part in parts], y_held)
    margins = [booster.predict(part.means(), output_margin=True).astype(float) for part in parts]
    theirs = _calibrated(margins, y_held)
    fused = [w * ours[0] + (1 - w) * theirs[0] for w in np.linspace(0, 1, 101)]
    best = int(np.argmax([f1_score(y_held, logits.argmax(axis=1), average="macro") for logits in fused]))
    return fused[best], best / 100 * ours[1] + (1 - best / 100) * theirs[1]


def _trained(torch: Any, X: np.ndarray, y: np.ndarray, held: Callable[[Any], float]) -> Any:
    """Train; ``held`` tells a network's loss on the validation part."""
    nn, count = torch.nn, int(y.max()) + 1
    network = nn.Sequential(nn.Linear(X.shape[1], HIDDEN), nn.ReLU(), nn.Dropout(0.3), nn.Linear(HIDDEN, count))
    rows = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    loader = torch.utils.data.DataLoader(rows, batch_size=BATCH, shuffle=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    best, kept = np.inf, network.state_dict()
    for _ in range(EPOCHS):
        network.train()
        for batch, labels in loader:
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(batch), labels).backward()
            optimiser.step()
        schedule.step()
        if (loss := held(network)) < best:
            best, kept = loss, {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(kept)
    return network


def _blob_logits(torch: Any, network: Any, bags: Any, scaler: Any) -> np.ndarray:
    rows = bags.instances("clean")
    network.eval()
    with torch.no_grad():
        logits = network(torch.from_numpy(scaler.transform(rows.embeddings))).numpy().astype(float)
    return np.stack([np.bincount(rows.image, column) for column in logits.T], axis=1) / np.bincount(rows.image)[:, None]


def _calibrated(logits: list[np.ndarray], y: np.ndarray) -> list[np.ndarray]:
    found = minimize_scalar(lambda log: _loss(logits[0] / np.exp(log), y), bounds=(-3, 3), method="bounded")
    return [each / np.exp(found.x) for each in logits]


def _loss(logits: np.ndarray, y: np.ndarray) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(y)), y].mean())


if __name__ == "__main__":
    main()
