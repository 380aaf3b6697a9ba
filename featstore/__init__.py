"""featstore: embed histology images once with a frozen foundation model, fit light heads as often as you like."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featstore.store import Bags, Store, create_store, open_store
    from featstore.toolkit import load_model, save_model

__version__ = "0.1.0"
__all__ = ["Bags", "Store", "__version__", "create_store", "load_model", "open_store", "save_model"]

_HOMES = {
    "Bags": "featstore.store",
    "Store": "featstore.store",
    "create_store": "featstore.store",
    "load_model": "featstore.toolkit",
    "open_store": "featstore.store",
    "save_model": "featstore.toolkit",
}


def __getattr__(name: str) -> Any:
    """Load a room when something of it is first asked for: ``import featstore`` itself stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'featstore' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
