"""What maps over tokens need to know of a vision transformer, whichever library it is of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Place", "TokenLayout"]


@dataclass(frozen=True, eq=False)
class Place:
    """Where tokens are read.

    Attributes
    ----------
    module : torch.nn.Module
        All tokens (n, tokens, dim) enter it, those of the patches last, row by row.
    leaving : bool
        Whether they are meant as they leave the module.
    """

    module: Any
    leaving: bool = False


@dataclass(frozen=True, eq=False)
class TokenLayout:
    """Where an encoder has its tokens.

    Attributes
    ----------
    side : int
        Patches along a side of the input.
    places : tuple of Place
        Where the patches' tokens are read on their way to the embedding, in order: by the attention of each block, and
        at the end, where the embedding is the mean of them.
    start : tuple of float
        How much of the embedding each of the first tokens is, CLS before all; the patches' are what is left to 1, all
        alike.
    attentions : callable
        Takes the model's input (n, 3, size, size); gives the attention of each block in order, each (n, tokens,
        tokens), the mean over heads; None or nothing for a block that does not tell it.
    no_rollout : str
        Why attention can't be followed from the embedding to the patches; empty where it can.
    """

    side: int
    places: tuple[Place, ...]
    start: tuple[float, ...]
    attentions: Callable[[Any], Sequence[Any]]
    no_rollout: str = ""
