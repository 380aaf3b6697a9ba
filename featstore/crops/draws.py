"""All the random numbers of one augmented repeat, as a pure function of what they belong to.

A counter-based generator (Philox: Salmon et al., 2011, doi:10.1145/2063384.2063405) is keyed by a hash of
(stream, seed, image, blob, repeat). There are three streams: ``scalars``, ``elastic`` and ``noise``. Only the raw
64-bit output is used, which NumPy promises never to change; it makes no such promise for its distributions.

The scalars are uniform numbers in the fixed order of `SCALARS`. Every one is drawn whether it is needed or not, and
decisions are taken afterwards: a setting never shifts another setting's number. New ones go at the end.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featstore.errors import SettingError
from featstore.recipe import AugmentationSettings, canonical_json
from featstore.recipe.repeats import Range

__all__ = ["SCALARS", "Draws", "draw"]

SCALARS = (
    "flip_horizontal",
    "flip_vertical",
    "rotation",
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "stain_alpha_haematoxylin",
    "stain_alpha_eosin",
    "stain_alpha_dab",
    "stain_beta_haematoxylin",
    "stain_beta_eosin",
    "stain_beta_dab",
    "blur",
    "blur_sigma",
    "noise_sigma",
    "erase",
    "erase_area",
    "erase_aspect",
    "erase_x",
    "erase_y",
)
"""Names of the uniform numbers, in the order in which they are drawn."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Draws:
    """What happens to a crop in one repeat, in the order in which it happens.

    Attributes
    ----------
    flip_horizontal, flip_vertical : bool
        Whether left and right, top and bottom change places.
    rotation_deg : float
        Counter-clockwise.
    brightness, contrast, saturation : float
        Factors; 1 changes nothing.
    hue : float
        Shift as a share of the colour circle.
    stain_alpha, stain_beta : tuple of 3 floats
        Factor and summand of the haematoxylin, eosin and DAB channel.
    elastic_alpha_px, elastic_sigma_px : float
        Amplitude and smoothness of the displacement; an amplitude of 0 changes nothing.
    elastic_key : int
        Key of the stream that `elastic_grid` reads.
    blur : bool
    blur_sigma_px : float
        Drawn also where ``blur`` is false; so are the ``erase_`` numbers.
    noise_sigma : float
        Standard deviation; colours go from 0 to 1.
    noise_key : int
        Key of the stream that `noise_grid` reads.
    erase : bool
    erase_area, erase_aspect : float
        Share of the crop, and width over height.
    erase_x, erase_y : float
        Where the rectangle lies: 0 at the left or top edge, towards 1 at the right or bottom edge.
    """

    flip_horizontal: bool
    flip_vertical: bool
    rotation_deg: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    stain_alpha: Triple
    stain_beta: Triple
    elastic_alpha_px: float
    elastic_sigma_px: float
    elastic_key: int
    blur: bool
    blur_sigma_px: float
    noise_sigma: float
    noise_key: int
    erase: bool
    erase_area: float
    erase_aspect: float
    erase_x: float
    erase_y: float

    def elastic_grid(self, count: int) -> NDArray[np.uint8]:
        """Uniform random levels, an x and a y for each cell of a square.

        Eight bits are plenty for what a wide Gaussian averages next, and an eighth of the work of doubles.

        Parameters
        ----------
        count : int
            Cells along each side.

        Returns
        -------
        ndarray of shape (count, count, 2), uint8
        """
        return _levels(self.elastic_key, count, 2)

    def noise_grid(self, side_px: int) -> NDArray[np.uint8]:
        """Uniform random levels, one for each colour of each pixel of a crop.

        Parameters
        ----------
        side_px : int

        Returns
        -------
        ndarray of shape (side_px, side_px, 3), uint8
        """
        return _levels(self.noise_key, side_px, 3)


def draw(settings: AugmentationSettings, *, seed: int, image_digest: str, blob: int, repeat: int) -> Draws:
    """Draw the random numbers of one repeat.

    Parameters
    ----------
    settings : AugmentationSettings
    seed : int
    image_digest : str
        The image's identity, `featstore.dataset.file_digest`.
    blob : int
    repeat : int
        From 1; repeat 0 is the clean crop, which is never augmented.

    Returns
    -------
    Draws

    Raises
    ------
    SettingError
        If ``repeat`` is below 1.
    """
    if repeat < 1:
        raise SettingError(f"draws for repeat {repeat}", expected="1 or more; repeat 0 is the clean crop")
    owner = (int(seed), image_digest, int(blob), int(repeat))
    raw = _raw(_key("scalars", *owner), len(SCALARS))
    values = dict(zip(SCALARS, ((raw >> np.uint64(11)) * 2.0**-53).tolist(), strict=True))
    return _decide(settings, values, _key("elastic", *owner), _key("noise", *owner))


def _decide(settings: AugmentationSettings, u: dict[str, float], elastic_key: int, noise_key: int) -> Draws:
    s = settings
    return Draws(
        flip_horizontal=u["flip_horizontal"] < s.flip_probability,
        flip_vertical=u["flip_vertical"] < s.flip_probability,
        rotation_deg=_around(0, s.rotation_deg, u["rotation"]),
        brightness=_around(1, s.brightness, u["brightness"]),
        contrast=_around(1, s.contrast, u["contrast"]),
        saturation=_around(1, s.saturation, u["saturation"]),
        hue=_around(0, s.hue, u["hue"]),
        stain_alpha=_each_stain(s.stain_alpha, u, "stain_alpha"),
        stain_beta=_each_stain(s.stain_beta, u, "stain_beta"),
        elastic_alpha_px=s.elastic_alpha_px,
        elastic_sigma_px=s.elastic_sigma_px,
        elastic_key=elastic_key,
        blur=u["blur"] < s.blur_probability,
        blur_sigma_px=_within(s.blur_sigma_px, u["blur_sigma"]),
        noise_sigma=_within(s.noise_sigma, u["noise_sigma"]),
        noise_key=noise_key,
        erase=u["erase"] < s.erase_probability,
        erase_area=_within(s.erase_area, u["erase_area"]),
        erase_aspect=_log_within(s.erase_aspect, u["erase_aspect"]),
        erase_x=u["erase_x"],
        erase_y=u["erase_y"],
    )


def _key(stream: str, seed: int, image_digest: str, blob: int, repeat: int) -> int:
    """Return the 128-bit key of a stream; as JSON, so that no two owners are spelt alike."""
    owner = canonical_json(["featstore.crops.draws", stream, seed, image_digest, blob, repeat])
    return int.from_bytes(hashlib.sha256(owner.encode()).digest()[:16], "little")


def _raw(key: int, count: int) -> NDArray[np.uint64]:
    """Return the first ``count`` words of a stream, little-endian whatever the machine."""
    return np.random.Philox(key=key).random_raw(count).astype("<u8", copy=False)


def _levels(key: int, side: int, channels: int) -> NDArray[np.uint8]:
    """Return the first bytes of a stream as a square of ``side``."""
    count = channels * side**2
    return _raw(key, -(-count // 8)).view(np.uint8)[:count].reshape(side, side, channels)


def _within(limits: Range, u: float) -> float:
    low, high = limits
    return low + (high - low) * u


def _around(centre: float, reach: float, u: float) -> float:
    return _within((centre - reach, centre + reach), u)


def _log_within(limits: Range, u: float) -> float:
    low, high = limits
    return low * math.pow(high / low, u)


def _each_stain(limits: Range, u: dict[str, float], name: str) -> Triple:
    return (
        _within(limits, u[f"{name}_haematoxylin"]),
        _within(limits, u[f"{name}_eosin"]),
        _within(limits, u[f"{name}_dab"]),
    )
