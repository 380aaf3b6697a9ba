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
    class_share : float
        How much of the embedding is the CLS token, the first of all: 1, or 0 where it is made of the patches' alone.
    attentions : callable
        Takes the model's input (n, 3, size, size); gives the attention of each block that tells it, in order, each
        (n, tokens, tokens): the mean over heads.
    """

    side: int
    places: tuple[Place, ...]
    class_share: float
    attentions: Callable[[Any], Sequence[Any]]
