"""Size and outline of the tissue in a crop."""

from __future__ import annotations

import numpy as np

from featstore.encoders.stain_texture.view import View

__all__ = ["describe_outline"]


def describe_outline(view: View) -> dict[str, float]:
    """Size of the crop and of what is seen in it, shares of tissue, fill and glass, length of the outline."""
    import cv2

    seen = view.seen.astype(np.uint8)
    area = float(seen.sum())
    contours, _ = cv2.findContours(seen, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    length = float(sum(cv2.arcLength(contour, True) for contour in contours))
    return {
        "log_side": float(np.log1p(view.side_px)),
        "side": view.side_px / 100,
        "log_seen": float(np.log1p(area * view.scale**2)),
        "seen_area": area * view.scale**2 / 1e4,
        "tissue_share": view.tissue_share,
        "fill_share": view.fill_share,
        "glass_share": view.glass_share,
        "glass_of_seen": view.glass_share / max(1.0 - view.fill_share, 1e-3),
        # 1 for a disc; many small or branching pieces have more outline for their area.
        "outline": float(np.log1p(length / np.sqrt(4 * np.pi * max(area, 1.0)))),
        "outline_length": length * view.scale / 1000,
    }
