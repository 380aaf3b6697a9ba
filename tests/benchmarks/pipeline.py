"""A whole extraction against the bare encoder: same device, same precision, same batch size, timed in turn.

The bare encoder gets crops that lie prepared in memory. The extraction reads PNG files at the challenge's geometry,
cuts, augments, encodes and writes a store. Its clock runs from the first image that is finished to the last, so that
neither loading the model nor starting processes is in it; the embeddings of the first image are not counted.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from featstore.dataset import Dataset, find_dataset
from featstore.encoders import HuggingFaceEncoder, load_encoder
from featstore.extract import Extraction, Progress, Repeats, extract
from featstore.recipe import Recipe
from featstore.store import create_store
from tests.benchmarks.generated import make_crops, write_images, write_model
from tests.benchmarks.harness import in_turn, ratio, table

__all__ = ["Case", "bare_seconds", "extraction_seconds"]

CASES = (("ViT-S", "float32", 10), ("ViT-S", "bfloat16", 16), ("ViT-L", "float32", 3), ("ViT-L", "bfloat16", 4))
"""Shape, precision, images."""

BATCH, REPEATS, RUNS = 8, 4, 5


@dataclass(frozen=True)
class Case:
    """An encoder and images for it."""

    encoder: HuggingFaceEncoder
    data: Dataset
    batch_size: int
    workers: int | None = None


def main() -> None:
    """Print the table, and where the time of each extraction went."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_images(root / "data", max(images for *_, images in CASES))
        for shape in {shape for shape, *_ in CASES}:
            write_model(root / shape, shape)
        rows, notes = [], []
        for shape, precision, images in CASES:
            case = _case(root, shape, precision, images)
            told: list[Extraction] = []
            pairs = in_turn(lambda c=case, t=told: extraction_seconds(c, t), lambda c=case: bare_seconds(c), RUNS)
            name = f"{shape}, {precision}, {case.encoder.how['device']}, batches of {BATCH}"
            rows.append(ratio(name, pairs, [bare / whole for whole, bare in pairs], "at least 0.95"))
            notes.append(f"{name}: {_stages(told[-1])}")
    print("Seconds an embedding: the whole extraction, and the bare encoder.\n")
    print(table(rows, "speed of the bare encoder"))
    print("\nSeconds by stage, over all processes:\n\n" + "\n".join(f"- {note}" for note in notes))


def extraction_seconds(case: Case, told: list[Extraction] | None = None) -> float:
    """Extract into a new store; seconds an embedding between the first and the last image that are finished."""
    seen: list[tuple[float, int]] = []

    def note(progress: Progress) -> None:
        seen.append((time.perf_counter(), progress.embeddings))

    recipe = Recipe(case.encoder.settings)
    with tempfile.TemporaryDirectory() as folder:
        with create_store(Path(folder) / "x.store", recipe.to_dict(), case.encoder.settings.dim) as writer:
            result = extract(
                case.data,
                case.encoder,
                recipe,
                writer,
                repeats=Repeats(REPEATS),
                batch_size=case.batch_size,
                workers=case.workers,
                progress=note,
            )
    if told is not None:
        told.append(result)
    (first_s, first), (last_s, last) = seen[0], seen[-1]
    return (last_s - first_s) / (last - first)


def bare_seconds(case: Case, batches: int = 6) -> float:
    """Encode batches that lie in memory; seconds an embedding."""
    crops = torch.from_numpy(make_crops(case.batch_size, case.encoder.settings.input_size_px))
    start = time.perf_counter()
    for _ in range(batches):
        case.encoder.running.embed(crops).cpu()
    return (time.perf_counter() - start) / (batches * case.batch_size)


def _case(root: Path, shape: str, precision: str, images: int) -> Case:
    encoder = load_encoder(shape.lower(), weights=root / shape, device="cpu", precision=precision)
    assert isinstance(encoder, HuggingFaceEncoder)
    encoder.start()
    data = find_dataset(root / "data")
    chosen = Dataset(data.root, data.layout, data.records[:images], data.classes, ())
    return Case(encoder, chosen, BATCH)


def _stages(result: Extraction) -> str:
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in result.stages.items())


if __name__ == "__main__":
    main()
