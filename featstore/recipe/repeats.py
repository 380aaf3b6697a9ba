"""How augmented repeats differ from the clean crop."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from featstore.canonical import require

__all__ = ["AugmentationSettings", "Range"]

Range = tuple[float, float]

_SIGNED = frozenset({"stain_alpha", "stain_beta"})


@dataclass(frozen=True)
class AugmentationSettings:
    """What an augmented repeat may do to a crop; lengths are in pixels of the crop.

    Attributes
    ----------
    flip_probability : float
        Of a horizontal flip, and independently of a vertical one.
    rotation_deg : float
        The angle is uniform within plus and minus this.
    brightness, contrast, saturation : float
        Factors uniform within 1 plus and minus this.
    hue : float
        Shift uniform within plus and minus this share of the colour circle.
    stain_alpha, stain_beta : tuple of 2 floats
        Each stain channel ``s`` becomes ``alpha * s + beta`` (Tellez et al., 2018, doi:10.1109/TMI.2018.2820199).
    elastic_alpha_px, elastic_sigma_px : float
        Displacement amplitude and smoothness (Simard et al., 2003, doi:10.1109/ICDAR.2003.1227801).
    blur_probability : float
        Of a Gaussian blur whose sigma is uniform within ``blur_sigma_px``.
    blur_sigma_px : tuple of 2 floats
        The range of the blur's sigma.
    noise_sigma : tuple of 2 floats
        Range of the standard deviation of additive Gaussian noise; colours go from 0 to 1.
    erase_probability : float
        Of erasing one rectangle (Zhong et al., 2020, doi:10.1609/aaai.v34i07.7000).
    erase_area, erase_aspect : tuple of 2 floats
        Range of the rectangle's share of the crop, and of its width over its height (log-uniform).
    version : int
        Rises when the same settings and seed would give other pixels.
    """

    flip_probability: float = 0.5
    rotation_deg: float = 15.0
    brightness: float = 0.05
    contrast: float = 0.05
    saturation: float = 0.05
    hue: float = 0.04
    stain_alpha: Range = (0.8, 1.2)
    stain_beta: Range = (-0.1, 0.1)
    elastic_alpha_px: float = 25.0
    elastic_sigma_px: float = 7.0
    blur_probability: float = 0.15
    blur_sigma_px: Range = (0.1, 2.0)
    noise_sigma: Range = (0.01, 0.03)
    erase_probability: float = 0.25
    erase_area: Range = (0.02, 0.12)
    erase_aspect: Range = (0.3, 3.3)
    version: int = 3

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name.endswith("_probability"):
                require(0 <= value <= 1, f"{name} is {value}", "a probability from 0 to 1")
            elif isinstance(value, tuple):
                require(value[0] <= value[1], f"{name} is {value}", "a range, the smaller number first")
            if name not in _SIGNED:
                low = value[0] if isinstance(value, tuple) else value
                require(low >= 0, f"{name} is {value}", "nothing below 0")
        require(self.erase_aspect[0] > 0, f"erase_aspect is {self.erase_aspect}", "a range above 0")
        require(self.erase_area[1] <= 1, f"erase_area is {self.erase_area}", "shares of at most 1")
