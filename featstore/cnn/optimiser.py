"""AdamW with a smaller learning rate for what was pretrained, under a schedule that is a function of the step."""

from __future__ import annotations

import math
from typing import Any

from featstore.cnn.settings import Settings

__all__ = ["freeze_body", "load_moments", "make_optimiser", "moments", "rate_at"]


def rate_at(settings: Settings, step: int, steps_an_epoch: int) -> float:
    """Return the learning rate of a step as a share of the highest: linear warm-up, then constant or a cosine to 0."""
    warm, total = settings.warmup_epochs * steps_an_epoch, settings.max_epochs * steps_an_epoch
    if step < warm:
        return (step + 1) / (warm + 1)
    if settings.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def make_optimiser(torch: Any, module: Any, settings: Settings) -> Any:
    """Make AdamW with two groups of parameters: the body, and the classifier on it, which starts at random."""
    head = {id(parameter) for parameter in module.get_classifier().parameters()}
    groups = [
        {"params": [p for p in module.parameters() if id(p) not in head], "share": settings.body_lr},
        {"params": list(module.get_classifier().parameters()), "share": 1.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay)


def set_rate(optimiser: Any, rate: float) -> None:
    """Set the learning rate, of each group its share."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["share"]


def freeze_body(module: Any, frozen: bool) -> None:
    """Have only the classifier learn; or all, again. Frozen, the body's batch statistics stand still too."""
    module.train(not frozen)
    for parameter in module.parameters():
        parameter.requires_grad_(not frozen)
    head = module.get_classifier()
    head.train()
    for parameter in head.parameters():
        parameter.requires_grad_(True)


def moments(optimiser: Any) -> dict[str, Any]:
    """Return the optimiser's tensors by the position of their parameter: ``17.exp_avg``."""
    state = optimiser.state_dict()["state"]
    return {f"{place}.{name}": tensor for place, found in state.items() for name, tensor in found.items()}


def load_moments(optimiser: Any, tensors: dict[str, Any]) -> None:
    """Give the optimiser back what `moments` returned."""
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        place, _, what = name.partition(".")
        state.setdefault(int(place), {})[what] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
