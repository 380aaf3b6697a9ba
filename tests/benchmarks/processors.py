"""How far `fit` on one kind of processor is from `fit` on another: the same bytes are promised on one kind alone.

Other kinds are had on this one by telling the libraries to leave out its newer instructions.
"""

from __future__ import annotations

import csv
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks.fitting import FEATSTORE
from tests.benchmarks.simulated import CHALLENGE, Simulation

KINDS = {
    "as it is": {},
    "again": {},
    "without AVX-512": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "DNNL_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "without AVX": {
        "ATEN_CPU_CAPABILITY": "default",
        "DNNL_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR AVX2 FMA3",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
}
NEW = 477


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "x.store"
        Simulation().write(store, CHALLENGE, repeats=4, test=NEW)
        found = {kind: _predicted(store, env) for kind, env in KINDS.items()}
    model, expected = found.pop("as it is")
    print(f"Ten folds on {sum(CHALLENGE.values())} images, then {NEW} new images; against the processor as it is.\n")
    print(
        "| processor | same model | largest difference of probabilities | other labels |\n| --- | --- | ---: | ---: |"
    )
    for kind, (other, probabilities) in found.items():
        away, labels = np.abs(probabilities - expected), probabilities.argmax(axis=1) != expected.argmax(axis=1)
        print(f"| {kind} | {'yes' if other == model else 'no'} | {away.max():.2g} | {labels.sum()} of {NEW} |")


def _predicted(store: Path, env: dict[str, str]) -> tuple[bytes, np.ndarray]:
    model, out = store.with_name("x.model"), store.with_name("p.csv")
    for command in (("fit", store, "--model", model), ("predict", model, store, "--out", out)):
        subprocess.run([FEATSTORE, *map(str, command)], env=os.environ | env, check=True, capture_output=True)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [name for name in rows[0] if name.startswith("prob_")]
    return model.read_bytes(), np.array([[float(row[name]) for name in columns] for row in rows])


if __name__ == "__main__":
    main()
