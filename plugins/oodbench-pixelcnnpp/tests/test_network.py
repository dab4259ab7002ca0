"""The network: nothing flows from a pixel to itself or to earlier ones, and its size is that of the baseline's code."""

from __future__ import annotations

import pytest
import torch
from oodbench_pixelcnnpp.mixture import log_components, outputs
from oodbench_pixelcnnpp.network import PixelCNNPPNetwork, concat_elu, drop_channels

SIDE = 8


@pytest.fixture(params=[1, 3])
def model(request) -> PixelCNNPPNetwork:
    torch.manual_seed(0)
    return PixelCNNPPNetwork(request.param, resnets=2, filters=6, mixtures=2, dropout=0.5).double()


def random_image(channels: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (1, channels, SIDE, SIDE), generator=generator).double() / 255


def test_no_gradient_from_a_pixel_to_itself_or_to_earlier_ones(model):
    """And some from those before it: to the left, above, above left and above right."""
    channels = model.first_above.conv.in_channels - 1
    image = (2 * random_image(channels) - 1).requires_grad_()
    output = model(image)
    assert output.shape == (1, outputs(channels, 2), SIDE, SIDE)
    place = torch.arange(SIDE * SIDE).view(SIDE, SIDE)
    for row, column in [(0, 0), (0, 3), (3, 0), (3, 4), (4, 3), (7, 7)]:
        weights = torch.rand(output.shape[1], dtype=torch.float64)
        (gradient,) = torch.autograd.grad(weights @ output[0, :, row, column], image, retain_graph=True)
        reached = gradient[0].abs().sum(dim=0) > 0
        assert not reached[place >= place[row, column]].any()
        near = [(row, column - 1), (row - 1, column - 1), (row - 1, column), (row - 1, column + 1)]
        assert all(reached[r, c] for r, c in near if r >= 0 and 0 <= c < SIDE)


def test_sub_pixels_are_red_green_blue():
    """The likelihood of a channel of a pixel has no gradient from later channels, but from earlier ones."""
    torch.manual_seed(0)
    model = PixelCNNPPNetwork(3, 1, 4, 2, 0.0).double()
    image = (2 * random_image(3) - 1).requires_grad_()
    _, masses = log_components(image, model(image))
    for channel in range(3):
        (gradient,) = torch.autograd.grad(masses[0, channel, :, 4, 4].sum(), image, retain_graph=True)
        reached = gradient[0, :, 4, 4] != 0
        assert reached.tolist() == [earlier <= channel for earlier in range(3)]
        assert not gradient[0, :, 4, 5:].any() and not gradient[0, :, 5:].any()


def test_changing_a_pixel_changes_no_earlier_likelihood(model):
    """The same by finite change rather than by gradient, for every pixel."""
    channels = model.first_above.conv.in_channels - 1
    image = 2 * random_image(channels) - 1
    base = model(image)
    for index in range(0, SIDE * SIDE, 5):
        changed = image.clone()
        changed.view(1, channels, -1)[..., index] *= -0.5
        same = (model(changed) == base).all(dim=1).flatten()
        assert same[: index + 1].all()
        assert index == SIDE * SIDE - 1 or not same[index + 1 :].all()


@pytest.mark.parametrize(("channels", "expected"), [(1, 13_433_340), (3, 13_440_840)])
def test_parameters_are_those_of_the_baselines_code(channels, expected):
    """5 gated resnets, 80 filters, 10 logistics, in pclucas14/pixel-cnn-pp."""
    model = PixelCNNPPNetwork(channels, 5, 80, 10, 0.5)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_dropout_is_for_training_alone_and_drawn_from_the_generator(model):
    image = random_image(model.first_above.conv.in_channels - 1)
    assert torch.equal(model.log_likelihood(image), model.log_likelihood(image))
    first, again, other = (model.log_likelihood(image, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_dropout_drops_whole_feature_maps_and_keeps_the_mean():
    x = torch.ones(200, 50, 2, 2)
    dropped = drop_channels(x, 0.25, torch.Generator().manual_seed(0))
    assert (dropped.flatten(2) == dropped[:, :, :1, 0]).all()
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert (dropped == 0).double().mean().item() == pytest.approx(0.25, abs=0.02)


def test_concat_elu():
    x = torch.tensor([-1.0, 2.0]).view(1, 2, 1, 1)
    expected = [torch.expm1(torch.tensor(-1.0)).item(), 2.0, 1.0, torch.expm1(torch.tensor(-2.0)).item()]
    assert concat_elu(x).flatten().tolist() == pytest.approx(expected)
