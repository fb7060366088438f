"""GPTQ against three brute-force forms of the same minimum, the reference implementation, and what it is worth."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from glasshouse.language.quantisation.gptq import gptq, output_error
from glasshouse.language.quantisation.grid import Grid, fit_grid, round_to_nearest
from glasshouse.language.quantisation.settings import Quantisation, QuantisationError
from glasshouse.store.configuration import ConfigurationError

REFERENCE = Path(os.environ.get("GLASSHOUSE_PEERS", "/nowhere")) / "gptq"
BITS = (2, 3, 4, 8)


def layer(seed: int, inputs: int = 40, out: int = 6, samples: int = 120, rank: int = 12) -> tuple[Tensor, Tensor]:
    """A weight and the hessian of inputs that lie near a subspace."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    given = draw(samples, rank) @ draw(rank, inputs) + 0.3 * draw(samples, inputs)
    return draw(out, inputs), 2 / samples * given.T @ given


def nearest(column: Tensor, grid: Grid, settings: Quantisation) -> Tensor:
    return grid.scale * ((column / grid.scale).round().add(grid.zero).clamp(0, settings.levels - 1) - grid.zero)


def sequentially(weight: Tensor, hessian: Tensor, settings: Quantisation, *, resolve: bool) -> Tensor:
    """Column by column, the columns left moved by the inverse hessian of what is left (optimal brain quantisation), or
    to the least-squares solution from the original weights."""
    inputs = weight.shape[1]
    hessian = hessian + settings.damp * hessian.diagonal().mean() * torch.eye(inputs, dtype=torch.float64)
    order = hessian.diagonal().argsort(descending=True, stable=True) if settings.act_order else torch.arange(inputs)
    size = settings.group_size or inputs
    fixed = [fit_grid(part.T, settings) for part in weight.split(size, 1)] if settings.static_groups else None
    original, hessian = weight[:, order], hessian[order][:, order]
    left, done = original.clone(), torch.zeros_like(original)
    grid: Any = None
    for j in range(inputs):
        if fixed is not None:
            grid = fixed[int(order[j]) // size]
        elif j % size == 0:
            grid = fit_grid(left[:, j : j + size].T, settings)
        done[:, j] = nearest(left[:, j], grid, settings)
        if resolve:
            given = hessian[j + 1 :, : j + 1] @ (original - done)[:, : j + 1].T
            left[:, j + 1 :] = original[:, j + 1 :] + torch.linalg.solve(hessian[j + 1 :, j + 1 :], given).T
        else:
            inverse = torch.linalg.inv(hessian[j:, j:])
            left[:, j:] -= ((left[:, j] - done[:, j]) / inverse[0, 0])[:, None] * inverse[0][None]
    return done[:, order.argsort()]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize(
    "groups", [{"group_size": None}, {"group_size": 12}, {"group_size": 12, "static_groups": True}]
)
def test_gptq_is_optimal_brain_quantisation_the_least_squares_solution_and_itself_in_blocks_of_one(
    bits: int, act_order: bool, groups: dict[str, Any]
) -> None:
    settings = Quantisation(bits=bits, act_order=act_order, half_scales=False, block=16, **groups)
    for seed in range(3):
        weight, hessian = layer(seed)
        found = gptq(weight, hessian, settings).dequantise()
        by_inverse = sequentially(weight, hessian, settings, resolve=False)
        by_least_squares = sequentially(weight, hessian, settings, resolve=True)
        in_blocks_of_one = gptq(weight, hessian, settings.but(block=1)).dequantise()
        for other in (by_inverse, by_least_squares, in_blocks_of_one):
            assert (found - other).abs().max() < 1e-9


@pytest.mark.parametrize("block", [1, 5, 7, 8, 16, 32, 64])
def test_the_size_of_a_block_changes_nothing_whatever_the_groups(block: int) -> None:
    weight, hessian = layer(3)
    for size in (1, 3, 8, 13, 40, None):
        settings = Quantisation(bits=3, group_size=size, half_scales=False, block=block)
        found = gptq(weight, hessian, settings).dequantise()
        assert (found - gptq(weight, hessian, settings.but(block=1)).dequantise()).abs().max() < 1e-9


def test_with_a_white_hessian_gptq_is_round_to_nearest() -> None:
    weight, _ = layer(0)
    for settings in (Quantisation(bits=3, group_size=None), Quantisation(bits=2, group_size=8, symmetric=True)):
        nearest_codes = round_to_nearest(weight, settings.but(method="rtn"))
        found = gptq(weight, torch.eye(40, dtype=torch.float64) * 5, settings)
        assert torch.equal(found.codes, nearest_codes.codes)
        assert torch.equal(found.dequantise(), nearest_codes.dequantise())


def test_neither_is_below_the_exhaustive_optimum_and_gptq_comes_nearer() -> None:
    total = dict.fromkeys(("optimum", "gptq", "rtn"), 0.0)
    settings = Quantisation(bits=2, group_size=None, half_scales=False, damp=1e-6)
    for seed in range(20):
        weight, hessian = layer(seed, inputs=6, out=1, samples=30, rank=2)
        grid = fit_grid(weight.T, settings)
        points = grid.scale * (torch.arange(4, dtype=torch.float64) - grid.zero)
        every = points[torch.tensor(list(itertools.product(range(4), repeat=6)))]
        errors = (((weight - every) @ hessian) * (weight - every)).sum(1)
        found = {
            "optimum": float(errors.min()),
            "gptq": output_error(weight, gptq(weight, hessian, settings).dequantise(), hessian),
            "rtn": output_error(weight, round_to_nearest(weight, settings).dequantise(), hessian),
        }
        assert found["optimum"] <= min(found["gptq"], found["rtn"]) * (1 + 1e-9)
        total = {name: total[name] + value for name, value in found.items()}
    assert total["optimum"] < total["gptq"] < total["rtn"]


def test_output_errors_beside_round_to_nearest() -> None:
    """100 layers of 64 inputs and 32 outputs at 3 bits, whose 256 inputs have rank 16 and noise, or are white."""
    settings = Quantisation(bits=3, group_size=None, half_scales=False)
    ratios: dict[str, list[float]] = {"near a subspace": [], "white": []}
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        weight, white = torch.randn(32, 64, generator=generator), torch.randn(256, 64, generator=generator)
        low = torch.randn(256, 16, generator=generator) @ torch.randn(16, 64, generator=generator)
        for name, given in (("near a subspace", low + 0.1 * white), ("white", white)):
            hessian = 2 / 256 * given.T @ given
            mine = output_error(weight, gptq(weight, hessian, settings).dequantise(), hessian)
            ratios[name].append(mine / output_error(weight, round_to_nearest(weight, settings).dequantise(), hessian))
    near, white_ratios = torch.tensor(ratios["near a subspace"]), torch.tensor(ratios["white"])
    assert near.median() <= 0.20, near.median()
    assert near.max() <= 0.30, near.max()
    assert white_ratios.median() <= 0.92, white_ratios.median()
    assert white_ratios.max() < 1, white_ratios.max()


def test_columns_that_no_input_reaches_become_zero_and_disturb_nothing() -> None:
    weight, hessian = layer(1)
    dead = [3, 17]
    hessian[dead] = 0
    hessian[:, dead] = 0
    found = gptq(weight, hessian, Quantisation(bits=4, group_size=None, half_scales=False)).dequantise()
    assert found[:, dead].abs().max() == 0
    alive = [j for j in range(40) if j not in dead]
    without = gptq(weight[:, alive], hessian[alive][:, alive], Quantisation(bits=4, group_size=None, half_scales=False))
    # The mean of the diagonal differs by the dead ones, and with it the damping: equal up to a few codes.
    assert (found[:, alive] != without.dequantise()).double().mean() < 0.05


@pytest.mark.parametrize("symmetric", [False, True])
def test_grids_hold_zero_and_reach_over_the_weights(symmetric: bool) -> None:
    weight, _ = layer(2)
    weight[0], weight[1], weight[2] = weight[0].abs(), -weight[1].abs(), 0
    for bits in BITS:
        settings = Quantisation(bits=bits, symmetric=symmetric, group_size=10, method="rtn")
        found = round_to_nearest(weight, settings)
        assert found.dequantise()[2].abs().max() == 0
        widest = found.scales[:, found.groups] * (1.0 if symmetric else 0.51)
        assert ((found.dequantise() - weight).abs() <= widest).all()
        assert torch.equal(found.scales.half().double(), found.scales)
        if symmetric:
            assert (found.zeros == 2 ** (bits - 1)).all()


def test_what_cannot_be_quantised_is_refused() -> None:
    weight, hessian = layer(0)
    settings = Quantisation(bits=3)
    damaged = weight.clone()
    damaged[2, 3] = torch.nan
    with pytest.raises(QuantisationError, match="not finite"):
        gptq(damaged, hessian, settings)
    with pytest.raises(QuantisationError, match="40 inputs need a hessian"):
        gptq(weight, hessian[:5, :5], settings)
    with pytest.raises(QuantisationError, match="not positive definite"):
        gptq(weight, -hessian, settings)
    with pytest.raises(QuantisationError, match="not positive definite"):
        gptq(weight, torch.full_like(hessian, torch.nan), settings)
    with pytest.raises(QuantisationError, match="beyond float16"):
        round_to_nearest(weight * 1e8, settings.but(method="rtn"))
    with pytest.raises(QuantisationError, match="shape"):
        round_to_nearest(weight[0], settings.but(method="rtn"))
    for wrong in (
        {"bits": 5},
        {"group_size": 0},
        {"method": "rtn", "act_order": True},
        {"stale_groups": True, "group_size": None},
    ):
        with pytest.raises(ConfigurationError):
            Quantisation(**wrong)


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """IST-DASLab/gptq, a checkout in $GLASSHOUSE_PEERS/gptq, in float64 and without its wait for a GPU."""
    pytest.importorskip("transformers")
    if not (REFERENCE / "gptq.py").is_file():
        pytest.skip("no checkout of IST-DASLab/gptq: set GLASSHOUSE_PEERS to the directory that holds it")
    monkeypatch.syspath_prepend(str(REFERENCE))
    for name in ("gptq", "quant"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    tuned = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    module, quant = importlib.import_module("gptq"), importlib.import_module("quant")
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tuned
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    yield SimpleNamespace(GPTQ=module.GPTQ, Quantizer=quant.Quantizer)
    for name in ("gptq", "quant"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(
    "options",
    [
        {"group_size": None},
        {"group_size": None, "act_order": True},
        {"group_size": None, "symmetric": True},
        {"group_size": 128},
        {"group_size": 32, "stale_groups": True},
        {"group_size": 96, "stale_groups": True, "act_order": True},
        {"group_size": 32, "static_groups": True, "act_order": True},
    ],
)
def test_every_weight_is_the_reference_implementations(
    reference: SimpleNamespace, bits: int, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Quantisation(bits=bits, half_scales=False, **options)
    generator = torch.Generator().manual_seed(bits)
    given = torch.randn(4, 100, 24, generator=generator) @ torch.randn(24, 256, generator=generator)
    given = (given + torch.randn(4, 100, 256, generator=generator)).double()
    linear = torch.nn.Linear(256, 24, bias=False, dtype=torch.float64)
    weight = linear.weight.detach().clone()
    theirs = reference.GPTQ(linear)
    theirs.H = theirs.H.double()
    theirs.add_batch(given, None)
    hessian = theirs.H.clone()
    theirs.quantizer = reference.Quantizer()
    theirs.quantizer.configure(bits, perchannel=True, sym=settings.symmetric, mse=False)
    theirs.fasterquant(
        percdamp=settings.damp, groupsize=settings.group_size or -1, actorder=settings.act_order,
        static_groups=settings.static_groups,
    )  # fmt: skip
    capsys.readouterr()
    assert (gptq(weight, hessian, settings).dequantise() - linear.weight).abs().max() < 1e-9


def test_fresh_grids_of_groups_beat_stale_ones() -> None:
    fresh, stale = 0.0, 0.0
    for seed in range(5):
        weight, hessian = layer(seed, inputs=128, out=32, samples=512, rank=32)
        settings = Quantisation(bits=3, group_size=16, half_scales=False)
        fresh += output_error(weight, gptq(weight, hessian, settings).dequantise(), hessian)
        stale += output_error(weight, gptq(weight, hessian, settings.but(stale_groups=True)).dequantise(), hessian)
    assert fresh < stale
