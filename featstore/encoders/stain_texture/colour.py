"""How much of which stain a crop has, and how it is spread."""

from __future__ import annotations

import numpy as np

from featstore.encoders.base import Floats
from featstore.encoders.stain_texture.view import View

__all__ = ["describe_colour"]

PERCENTILES = (5, 25, 50, 75, 95)


def describe_colour(view: View) -> dict[str, float]:
    """Statistics of haematoxylin, eosin, DAB and colour over the tissue, from 0 to about 1."""
    described: dict[str, float] = {}
    haematoxylin, eosin, dab = (view.stains[..., index][view.tissue] for index in range(3))
    for values, name in ((haematoxylin, "haematoxylin"), (eosin, "eosin"), (dab, "dab")):
        described |= _spread(values, name)
    colours = [view.rgb[..., index][view.tissue] for index in range(3)]
    densities = [np.asarray(-np.log10(colour), np.float32) for colour in colours]
    described |= _spread(np.mean(densities, axis=0, dtype=np.float32), "density")
    for density, name in zip(densities, ("red", "green", "blue"), strict=True):
        described[f"{name}_density_mean"] = _mean(density)
    red, green, blue = colours
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    described["chroma_mean"] = _mean(chroma)
    described["haematoxylin_eosin_correlation"] = _correlation(haematoxylin, eosin)
    # Without stain the share is neither 0 nor 1, and a trace of stain does not throw it from one to the other.
    stained = _mean(haematoxylin) + _mean(eosin)
    described["haematoxylin_share"] = (_mean(haematoxylin) + 5e-4) / (stained + 1e-3)
    return described


def _spread(values: Floats, name: str) -> dict[str, float]:
    """Mean, standard deviation, percentiles and a bounded skewness; zeros where there is nothing."""
    keys = [f"{name}_mean", f"{name}_std", *(f"{name}_p{p}" for p in PERCENTILES), f"{name}_skew"]
    if len(values) == 0:
        return dict.fromkeys(keys, 0.0)
    mean, std = float(values.mean()), float(values.std())
    percentiles = np.sort(values)[[round(share / 100 * (len(values) - 1)) for share in PERCENTILES]]
    # Pearson's second coefficient (mean minus median, over spread): bounded, unlike the third moment.
    skew = (mean - float(percentiles[2])) / (std + 0.02)
    return dict(zip(keys, [mean, std, *map(float, percentiles), skew], strict=True))


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.0


def _correlation(first: Floats, second: Floats) -> float:
    """Pearson correlation, drawn towards 0 where there is hardly any variation to speak of."""
    if len(first) == 0:
        return 0.0
    covariance = float(((first - first.mean()) * (second - second.mean())).mean())
    return covariance / (float(first.std() * second.std()) + 1e-3)
