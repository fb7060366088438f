"""Text to features to heads: shapes, the interface, and sampling against a plain reading of the definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from glasshouse.vision.mesh.decoder import Decoder, PointDecoder, ellipsoid, octaves
from glasshouse.vision.mesh.hypernet import HyperNet, HyperNetwork
from glasshouse.vision.mesh.interpolation import between
from glasshouse.vision.mesh.triplane import FreeTriplane, Planes, TextToTriplane, doubled, sample_planes

LENGTH, WIDTH = 7, 64


def networks() -> list[nn.Module]:
    torch.manual_seed(0)
    attended = Planes(width=16, channels=4, levels=2, entry="attended", heads=4)
    return [
        TextToTriplane(Planes(), LENGTH, WIDTH),
        TextToTriplane(attended, LENGTH, WIDTH),
        HyperNet(HyperNetwork(), LENGTH, WIDTH),
        FreeTriplane(Planes(), LENGTH, WIDTH),
    ]


def test_features_are_read_bilinearly_off_three_planes() -> None:
    generator = torch.Generator().manual_seed(1)
    planes = torch.randn(2, 3, 5, 8, 8, generator=generator, dtype=torch.float64)
    points = torch.rand(2, 6, 3, generator=generator, dtype=torch.float64) * 2 - 1
    found = sample_planes(planes, points)
    assert found.shape == (2, 6, 15)
    for prompt in range(2):
        for number in range(6):
            for plane, (across, down) in enumerate(((0, 1), (0, 2), (1, 2))):
                x, y = ((points[prompt, number, axis].item() + 1) / 2 * 7 for axis in (across, down))
                i, j = min(int(x), 6), min(int(y), 6)
                u, v = x - i, y - j
                cell = planes[prompt, plane]
                expected = (1 - v) * ((1 - u) * cell[:, j, i] + u * cell[:, j, i + 1]) + v * (
                    (1 - u) * cell[:, j + 1, i] + u * cell[:, j + 1, i + 1]
                )
                assert torch.allclose(found[prompt, number, 5 * plane : 5 * plane + 5], expected)


@pytest.mark.parametrize("network", networks(), ids=["flattened", "attended", "hypernet", "free"])
def test_all_networks_share_one_interface(network: nn.Module) -> None:
    tokens = torch.randn(3, LENGTH, WIDTH)
    points = torch.rand(3, 10, 3) * 2 - 1
    found = network.features(network(tokens), points)
    assert found.shape == (3, 10, network.width)
    assert found.isfinite().all()
    found.square().sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []
    with pytest.raises(ValueError, match=r"text of 7 tokens x 64 numbers, got \(3, 6, 64\)"):
        network(tokens[:, :6])


@pytest.mark.parametrize("network", networks()[:3], ids=["flattened", "attended", "hypernet"])
def test_every_prompt_is_read_by_itself_and_text_matters(network: nn.Module) -> None:
    tokens = torch.randn(3, LENGTH, WIDTH)
    points = (torch.rand(1, 10, 3) * 2 - 1).expand(3, -1, -1)
    network.eval()
    together = network.features(network(tokens), points)
    alone = torch.cat([network.features(network(tokens[i : i + 1]), points[:1]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert float((together[0] - together[1]).detach().abs().max()) > 1e-3


def test_planes_exchange_information_but_are_enlarged_by_themselves() -> None:
    torch.manual_seed(2)
    network = TextToTriplane(Planes(), LENGTH, WIDTH)
    level = network.levels[1]
    rolled = torch.zeros(1, 48, 8, 24)
    moved = rolled.clone()
    moved[..., 7] = 1.0  # the last column of the first plane
    change = (level(moved, torch.zeros(1, LENGTH, WIDTH)) - level(rolled, torch.zeros(1, LENGTH, WIDTH))).detach()
    assert float(change[..., 8:10].abs().max()) > 1e-4
    assert float(change[..., 16:].abs().max()) == 0
    larger = doubled(moved)
    assert larger.shape == (1, 48, 16, 48)
    assert float(larger[..., 16:].abs().max()) == 0


def test_the_small_generator_has_the_size_that_is_documented() -> None:
    network = TextToTriplane(Planes(), LENGTH, WIDTH)
    count = sum(p.numel() for p in (*network.parameters(), *PointDecoder(Decoder(), network.width).parameters()))
    assert 1.05e6 < count < 1.15e6
    assert network(torch.zeros(1, LENGTH, WIDTH)).shape == (1, 3, 16, 16, 16)
    large = TextToTriplane(Planes.large(), LENGTH, WIDTH)
    assert large(torch.zeros(1, LENGTH, WIDTH)).shape == (1, 3, 32, 64, 64)


@pytest.mark.parametrize("separate", [False, True])
def test_an_untrained_prompt_is_the_ellipsoid(separate: bool) -> None:
    torch.manual_seed(3)
    decoder = PointDecoder(Decoder(separate=separate, radii=(0.5, 0.6, 0.4)), 8)
    points = torch.rand(2, 50, 3) * 2 - 1
    sdf, colour, offset = decoder(torch.randn(2, 50, 8), points, "sdf", "colour", "offset")
    inside = (points / torch.tensor([0.5, 0.6, 0.4])).square().sum(-1) < 1
    assert torch.equal(sdf < 0, inside)
    assert 0 < int(inside.sum()) < 100
    assert float(offset.detach().abs().max()) == 0
    assert 0 <= float(colour.detach().min()) < float(colour.detach().max()) <= 1


def test_the_distance_to_a_sphere_is_exact_and_finite_in_its_middle() -> None:
    points = torch.tensor([[0.0, 0, 0], [0.3, 0, 0], [0, 0, 2.0]], requires_grad=True)
    found = ellipsoid(points, (0.5, 0.5, 0.5))
    assert torch.allclose(found, torch.tensor([-0.5, -0.2, 1.5]))
    found.sum().backward()
    assert points.grad.isfinite().all()


def test_octaves_are_sines_and_cosines() -> None:
    codes = octaves(torch.tensor([[0.1, -0.2, 0.3]]), 2)[0].tolist()
    angles = [math.pi * scale * x for x in (0.1, -0.2, 0.3) for scale in (1, 2)]
    assert codes == pytest.approx([*map(math.sin, angles), *map(math.cos, angles)], abs=1e-6)


def test_between_two_prompts() -> None:
    start, end = torch.zeros(LENGTH, WIDTH), torch.ones(LENGTH, WIDTH)
    mixed = between(start, end, torch.tensor([0.0, 0.25, 1.0]))
    assert mixed[:, 0, 0].tolist() == [0.0, 0.25, 1.0]
    with pytest.raises(ValueError, match=r"shares of the second prompt lie in \[0, 1\], got \[1.5\]"):
        between(start, end, torch.tensor([1.5]))
