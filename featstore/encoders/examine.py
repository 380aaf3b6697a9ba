"""What this machine can do: what ``featstore doctor`` shows."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from featstore.encoders.device import usable_devices
from featstore.encoders.registry import encoder_names, encoder_state
from featstore.errors import MissingExtraError

__all__ = ["examine"]

PACKAGES = (
    *("numpy", "h5py", "scikit-learn", "xgboost", "torch"),
    *("opencv-python-headless", "scikit-image", "transformers", "timm", "dask"),
)


def examine() -> dict[str, Any]:
    """Tell versions, devices with their default precision, and encoders with their weights."""
    return {
        "featstore": version("featstore"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": [
            {"device": device, "name": name, "precision": "float32" if device == "mps" else "by trial"}
            for device, name in usable_devices()
        ],
        "encoders": [{"encoder": name, "state": _state(name)} for name in encoder_names()],
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _state(name: str) -> str:
    try:
        return encoder_state(name)
    except MissingExtraError as error:
        return str(error)
