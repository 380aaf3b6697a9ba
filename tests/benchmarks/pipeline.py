"""A whole extraction against the bare encoder: same device, same precision, same batch size, timed in turn.

The bare encoder gets crops that lie prepared on its device. The extraction reads PNG files at the challenge's geometry,
cuts, augments, encodes and writes a store. Its clock runs from the first crop that is asked for to the last commit, and
the end of the loaders; loading the model and starting processes are not in it.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from featstore.encoders import ModelEncoder, load_encoder
from tests.benchmarks.generated import write_model
from tests.benchmarks.gpu_runs import Bare, Run, runs_in_turn
from tests.benchmarks.harness import Ratio, table

CASES = (("ViT-S", "float32"), ("ViT-S", "bfloat16"), ("ViT-L", "float32"), ("ViT-L", "bfloat16"))
"""Shape and precision."""

BATCH, SECONDS = 8, 8.0


def main() -> None:
    """Print the table, and where the time of each extraction went."""
    rows, notes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for shape, precision in CASES:
            weights = Path(folder) / shape
            if not weights.exists():
                write_model(weights, shape)
            encoder = load_encoder(shape.lower(), weights=weights, device="cpu", precision=precision)
            assert isinstance(encoder, ModelEncoder)
            encoder.start()
            data = Path(folder) / f"{shape}-{precision}"
            runs = runs_in_turn(encoder, Bare(encoder, BATCH), data, images=None, seconds=SECONDS)
            name = f"{shape}, {precision}, CPU, batches of {BATCH}"
            rows.append(_row(name, runs))
            notes.append(f"- {name}: {_stages(runs[-1])}")
    print("Seconds an embedding, of the whole extraction and of the bare encoder.\n")
    print(table(rows, "speed of the bare encoder"))
    print("\nSeconds by stage, over all processes:\n\n" + "\n".join(notes))


def _row(name: str, runs: list[Run]) -> Ratio:
    ratios = [run.ratio for run in runs]
    whole, bare = (statistics.median(1 / getattr(run, what) for run in runs) for what in ("rate", "bare"))
    return Ratio(name, whole, bare, statistics.median(ratios), min(ratios), max(ratios), "at least 0.95")


def _stages(run: Run) -> str:
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in run.result.stages.items())


if __name__ == "__main__":
    main()
