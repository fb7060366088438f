"""Quantisation on a GPU gives what it gives on a processor; skipped where there is none."""

from __future__ import annotations

import pytest
import torch

from glasshouse.language.quantisation.gptq import gptq
from glasshouse.language.quantisation.grid import round_to_nearest
from glasshouse.language.quantisation.model import pack_model, quantise_model
from glasshouse.language.quantisation.settings import Quantisation
from glasshouse.nn.configuration import olmo
from glasshouse.nn.transformer import Transformer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
SHAPE = olmo("1B").but(vocabulary=96, width=64, layers=2, heads=2, feed_forward=96, context=24)


@pytest.mark.parametrize("act_order", [False, True])
def test_a_layer_gets_the_same_codes(act_order: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(32, 64, generator=generator, dtype=torch.float64)
    inputs = torch.randn(256, 16, generator=generator, dtype=torch.float64) @ torch.randn(
        16, 64, generator=generator, dtype=torch.float64
    ) + 0.1 * torch.randn(256, 64, generator=generator, dtype=torch.float64)
    settings = Quantisation(bits=3, group_size=16, act_order=act_order)
    hessian = inputs.T @ inputs
    here, there = gptq(weight, hessian, settings), gptq(weight.cuda(), hessian.cuda(), settings)
    assert torch.equal(here.codes, there.codes.cpu())
    rounded = round_to_nearest(weight.cuda(), settings)
    assert torch.equal(round_to_nearest(weight, settings).codes, rounded.codes.cpu())


def test_a_model_is_quantised_and_runs_from_its_packed_weights() -> None:
    model = Transformer(SHAPE, seed=0).cuda()
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randint(0, 96, (4, 24), generator=generator).cuda() for _ in range(2)]
    layers = quantise_model(model, Quantisation(bits=4, group_size=32), batches)
    assert len(layers) == 14
    with torch.no_grad():
        plain = model(batches[0])
        pack_model(model, layers)
        torch.testing.assert_close(model(batches[0]), plain, atol=1e-2, rtol=1e-2)
