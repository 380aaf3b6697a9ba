"""What each descriptor is in ordinary H&E tissue: the point and the unit that embeddings are measured from and in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import numpy as np

__all__ = ["EVIDENCE_PX", "measure_typical", "typical"]

EVIDENCE_PX = 5000.0
"""Tissue that counts as much as what is already known of tissue in general: about 70 by 70 pixels."""

MIN_SPREAD = 0.01


@cache
def typical() -> dict[str, tuple[float, float]]:
    """Centre and spread of every descriptor, in the order of an embedding.

    They were measured by `measure_typical` on 160 crops of two public H&E slides (CMU-1 of the OpenSlide test data,
    CC0, and TCGA-CR-7395, open access) at their full resolution: tissue under sparse masks, and squares of 80 to 400
    pixels. Another table is another encoder: change it and ``version`` in its settings rises.
    """
    text = files("featstore.encoders.stain_texture").joinpath("typical.json").read_text(encoding="utf-8")
    return {name: (float(centre), float(spread)) for name, (centre, spread) in json.loads(text).items()}


def measure_typical(described: Sequence[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Median and standard deviation of each descriptor over crops, the spread never so small as to blow up noise.

    Parameters
    ----------
    described : sequence of dict of str to float
        Amounts and character of one crop each, in the order of an embedding.

    Returns
    -------
    dict of str to (float, float)
        What ``typical.json`` holds, to five significant digits.
    """
    names = list(described[0])
    table = np.array([[crop[name] for name in names] for crop in described])
    centres, spreads = np.median(table, axis=0), np.maximum(table.std(axis=0), MIN_SPREAD)
    return {
        name: (float(f"{centre:.5g}"), float(f"{spread:.5g}"))
        for name, centre, spread in zip(names, centres, spreads, strict=True)
    }
