"""Make the sample data set: synthetic tissue in the layout of the histology-subtype challenge.

    python data/make_sample.py              # writes beside this script
    python data/make_sample.py --out DIR

Nothing here was cut from a slide. Each image has traits (size, density, shape and darkness of nuclei, and so on) drawn
around the means of its class, widely enough that classes overlap; stain, focus and scanner are drawn without regard to
class. Every image has its own counter-based random stream, so each can be made without the others.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from sample_artefacts import paste_slime, replace_texture
from sample_stain import render
from sample_tissue import Layout, Traits, make_layout

__all__ = ["CLASSES", "Plan", "draw_image", "main", "plan_sample", "write_sample"]

SEED = 2
SHORT_SIDE_PX = 272
LONG_SIDES_PX = (280, 368)

# Scales MEANS. At 2, classical texture descriptors reach a macro-F1 of about 0.7 out of fold; at 1 about 0.4.
SEPARATION = 2.0

# Images to train on and to test on, about as unequal as in the challenge (220, 205, 189 and 77 of 691).
COUNTS = {"Luminal B": (29, 8), "Luminal A": (27, 7), "HER2(+)": (24, 6), "Triple negative": (12, 3)}
CLASSES = tuple(sorted(COUNTS))

# Means of a class, in standard deviations within a class: size, density, elongation, pleomorphism, darkness and
# vesicles of nuclei, eosin of the cytoplasm, lumina, lymphocytes, share of nests.
MEANS = {
    "Luminal A": (-0.8, -0.7, -0.2, -0.9, -0.5, -0.3, 0.0, 0.8, -0.5, -0.4),
    "Luminal B": (0.0, 0.3, 0.3, 0.0, 0.3, -0.3, 0.0, 0.0, -0.2, 0.2),
    "HER2(+)": (0.9, -0.2, -0.1, 0.4, -0.3, 0.9, 0.8, -0.2, 0.0, 0.0),
    "Triple negative": (0.4, 0.9, 0.4, 1.0, 0.7, 0.1, -0.5, -0.8, 0.9, 0.5),
}

# Training images that get something special, by class: how many of that class, in this order.
SPECIAL = {
    "texture": ("Luminal A", "Luminal A", "HER2(+)", "Triple negative"),
    "slime": ("Luminal A", "HER2(+)", "Luminal B"),
    "empty": ("Luminal B",),
    "twins_alike": ("Luminal B", "Luminal B"),
    "twins_unlike": ("Luminal A", "HER2(+)"),
}


@dataclass(frozen=True)
class Plan:
    """One image to make.

    Attributes
    ----------
    split, index : str, int
        Folder, without its ``_data``, and number in it.
    label : str
        Class.
    special : str
        A key of ``SPECIAL``, or empty.
    layout_of : int
        Number of the image whose architecture and mask this one shares; its own but for the second of two twins.
    """

    split: str
    index: int
    label: str
    special: str = ""
    layout_of: int = -1

    @property
    def folder(self) -> str:
        """Folder in the data set."""
        return f"{self.split}_data"

    @property
    def image_name(self) -> str:
        """File name of the image."""
        return f"img_{self.index:04d}.png"

    @property
    def mask_name(self) -> str:
        """File name of the mask."""
        return f"mask_{self.index:04d}.png"


def stream(*words: object) -> Generator:
    """Return the random stream that belongs to these words and no other."""
    digest = hashlib.sha256("/".join(map(str, (SEED, *words))).encode()).digest()
    return Generator(Philox(key=int.from_bytes(digest[:16], "little")))


def plan_sample() -> list[Plan]:
    """Plan every image: the training ones in their order, then the test ones."""
    plans: list[Plan] = []
    for part, split in enumerate(("train", "test")):
        labels = np.repeat(list(COUNTS), [counts[part] for counts in COUNTS.values()])
        order = stream(split, "order").permutation(len(labels))
        plans += [Plan(split, index, str(labels[place]), "", index) for index, place in enumerate(order)]
    shuffled = [
        plans[int(place)] for place in stream("special").permutation(sum(train for train, _ in COUNTS.values()))
    ]
    free = {name: [plan.index for plan in shuffled if plan.label == name] for name in COUNTS}
    for special, wanted in SPECIAL.items():
        chosen = [free[label].pop(0) for label in wanted]
        for index in chosen:
            layout_of = chosen[0] if special.startswith("twins") else index
            plans[index] = replace(plans[index], special=special, layout_of=layout_of)
    return plans


def draw_traits(plan: Plan) -> Traits:
    """Draw what the image's class makes likely."""
    own = stream(plan.split, plan.index, "traits").standard_normal(len(MEANS[plan.label]))
    size, density, shape, spread, dark, vesicle, eosin, lumina, immune, nests = own + SEPARATION * np.array(
        MEANS[plan.label]
    )
    return Traits(
        radius_px=4.7 * np.exp(0.10 * size),
        spacing=1.18 * np.exp(-0.08 * density),
        elongation=1.28 * np.exp(0.06 * shape),
        pleomorphism=float(np.clip(0.42 + 0.16 * spread, 0.05, 1)),
        chromatin=1.12 * np.exp(0.10 * dark),
        vesicles=float(np.clip(0.42 + 0.15 * vesicle, 0, 1)),
        eosin=0.46 * np.exp(0.12 * eosin),
        lumina=float(np.clip(0.45 + 0.20 * lumina, 0, 1)),
        lymphocytes=float(np.clip(0.08 + 0.05 * immune, 0.005, 0.3)),
        nests=float(np.clip(0.52 + 0.06 * nests, 0.35, 0.7)),
    )


def draw_layout(plan: Plan) -> Layout:
    """Draw the architecture of the image, which is its twin's where it has one before it."""
    first = replace(plan, index=plan.layout_of) if plan.layout_of == plan.index else plan_sample()[plan.layout_of]
    rng = stream(first.split, first.index, "layout")
    sides = SHORT_SIDE_PX, int(rng.integers(*LONG_SIDES_PX, endpoint=True))
    shape = sides if rng.uniform() < 0.8 else sides[::-1]
    return make_layout(rng, shape, draw_traits(first))


def draw_image(plan: Plan) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Make one image, of shape (h, w, 3), and its mask, of shape (h, w)."""
    layout = draw_layout(plan)
    image = render(stream(plan.split, plan.index, "tissue"), layout, draw_traits(plan))
    rng = stream(plan.split, plan.index, "artefact")
    if plan.special == "texture":
        return replace_texture(rng, image, layout.silhouette), layout.mask
    if plan.special == "slime":
        return paste_slime(rng, image, layout.mask)
    return image, np.zeros_like(layout.mask) if plan.special == "empty" else layout.mask


def write_sample(out: Path) -> Iterator[Plan]:
    """Write the whole sample into ``out``, and yield each image's plan when it is there."""
    plans = plan_sample()
    for split in ("train", "test"):
        (out / f"{split}_data").mkdir(parents=True, exist_ok=True)
        with (out / f"{split}_labels.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("sample_index", "label"))
            writer.writerows((plan.image_name, plan.label) for plan in plans if plan.split == split)
    for plan in plans:
        image, mask = draw_image(plan)
        _write_png(out / plan.folder / plan.image_name, image)
        _write_png(out / plan.folder / plan.mask_name, mask)
        yield plan


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write grey or RGB pixels as PNG, without row filters: colours are few and compress best as repeated bytes."""
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (1, 0)))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, body in chunks:
            file.write(struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)))


def main() -> None:
    """Write the sample and say where."""
    parser = argparse.ArgumentParser(description="Make the synthetic sample data set.")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="folder to write into")
    out = parser.parse_args().out
    count = sum(1 for _ in write_sample(out))
    print(f"{count} images and as many masks in {out}")


if __name__ == "__main__":
    main()
