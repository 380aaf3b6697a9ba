"""Grad-CAM for convolutions, against its formula, on a network that changes things in place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from featstore.explain import grad_cam


@pytest.fixture
def network():
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    head = [nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, *head, nn.Dropout(0.5), nn.Linear(8, 3))


@pytest.fixture
def inputs():
    return torch.randn(4, 3, 16, 12, generator=torch.Generator().manual_seed(1))


def by_formula(network, inputs, target, at):
    """Selvaraju et al., equations 1 and 2."""
    network.eval()
    activation = network[: at + 1](inputs).detach().clone().requires_grad_()
    rest = network[at + 1 :](activation.clone())
    rest[torch.arange(len(inputs)), torch.tensor(target)].sum().backward()
    weights = activation.grad.mean(dim=(2, 3), keepdim=True)
    return (weights * activation).sum(dim=1).relu().detach().numpy()


@pytest.mark.parametrize("at", [0, 3, 4])
def test_it_is_the_formula(network, inputs, at) -> None:
    maps = grad_cam(network, network[at], inputs, [0, 1, 2, 1])
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, by_formula(network, inputs, [0, 1, 2, 1], at), rtol=1e-4, atol=1e-7)


def test_one_target_is_for_all_rows(network, inputs) -> None:
    np.testing.assert_array_equal(
        grad_cam(network, network[4], inputs, 2), grad_cam(network, network[4], inputs, [2] * 4)
    )


def test_the_network_is_left_as_found(network, inputs) -> None:
    network.train()
    network[1].eval()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    with torch.no_grad():
        grad_cam(network, network[4], inputs, 0)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not inputs.requires_grad


def test_a_frozen_network_has_maps_as_well(network, inputs) -> None:
    free = grad_cam(network, network[4], inputs, 1)
    network.requires_grad_(False)
    np.testing.assert_array_equal(grad_cam(network, network[4], inputs, 1), free)
