"""Optional packages: imported when they are needed; one that is missing is an error that names the extra."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from featstore.errors import MissingExtraError

__all__ = ["require_extra"]


def require_extra(module: str, extra: str, need: str) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    Parameters
    ----------
    module : str
    extra : str
        Of featstore's own, as in ``pip install '.[extra]'``.
    need : str
        What needs it, as the error begins: ``the encoder needs``.

    Raises
    ------
    MissingExtraError
        If it can't be imported.
    """
    try:
        return import_module(module)
    except Exception as error:  # a torchvision of another build than torch's fails with a RuntimeError
        raise MissingExtraError(
            f"{need} {module.partition('.')[0]}, which can't be imported ({error})",
            remedy=f"Install the extra: in featstore's folder, pip install '.[{extra}]'",
        ) from error
