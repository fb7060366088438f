"""Quantise a whole causal language model, ours or a Hugging Face one: the linear layers of its blocks.

Embedding, head, norms and biases stay as they are, as in GPTQ's own code. Layers go block by block; with `sequential`
also one after the other inside a block, those that read the same tensor together, and each is calibrated on what the
quantised layers before it give [IST-DASLab/gptq, llama.py, "true-sequential"].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn

from glasshouse.language.quantisation.calibration import Block, blocks_of, first_inputs, hessians, layers_by_input
from glasshouse.language.quantisation.gptq import gptq, output_error
from glasshouse.language.quantisation.grid import round_to_nearest
from glasshouse.language.quantisation.settings import Quantisation, QuantisationError
from glasshouse.nn.quantised import Packing, QuantisedLinear, QuantisedWeight
from glasshouse.nn.quantised_files import put_module


@dataclass(frozen=True)
class QuantisedLayer:
    """A layer's weight, and the share of the energy of its calibration outputs that was lost (None: not calibrated)."""

    weight: QuantisedWeight
    error: float | None


@torch.no_grad()
def quantise_model(
    model: nn.Module,
    settings: Quantisation,
    batches: Sequence[Int[Tensor, "batch seq"]] = (),
    *,
    advance: Callable[[int], object] = lambda _: None,
) -> dict[str, QuantisedLayer]:
    """Quantise the linear layers of a model's blocks, in place: its weights become the numbers the codes stand for.

    Args:
        model: `nn.Transformer`, or a causal model of `transformers` whose layers are `torch.nn.Linear`.
        batches: calibration tokens, for gptq.
        advance: told the number of layers done, for a progress bar.

    Raises:
        QuantisationError: naming the layer, when the model or the calibration does not fit.
    """
    blocks = blocks_of(model)
    found: dict[str, QuantisedLayer] = {}
    if settings.method == "rtn":
        for block in blocks:
            for name, linear in block.linears.items():
                found[name] = _put(name, linear, settings, None)
                advance(1)
        return found
    if not batches:
        raise QuantisationError("gptq needs calibration tokens: give batches, or use round-to-nearest (rtn)")
    training = model.training
    model.eval()
    try:
        hidden = first_inputs(model, blocks, batches)
        for block in blocks:
            found |= _quantise_block(block, hidden, settings, advance)
            if block is not blocks[-1]:
                hidden = [block.run(batch, states) for batch, states in enumerate(hidden)]
            block.calls.clear()
    finally:
        model.train(training)
    return found


def pack_model(model: nn.Module, layers: dict[str, QuantisedLayer]) -> None:
    """Put modules that run from packed weights in place of the quantised layers of a model.

    Raises `ConversionError` for a layer whose sizes the packed layout does not hold.
    """
    for name, layer in layers.items():
        bias = model.get_submodule(name).bias
        packed = {key: tensor.to(layer.weight.codes.device) for key, tensor in layer.weight.pack().items()}
        packing = Packing(layer.weight.bits)
        put_module(model, name, QuantisedLinear(packed, packing, bias if isinstance(bias, Tensor) else None))


def _quantise_block(
    block: Block, hidden: Sequence[Tensor], settings: Quantisation, advance: Callable[[int], object]
) -> dict[str, QuantisedLayer]:
    if not (linears := block.linears):
        return {}
    groups = layers_by_input(block, hidden[0])
    passes = [[group] for group in groups] if settings.sequential else [groups]
    found: dict[str, QuantisedLayer] = {}
    for together in passes:
        sums = hessians(block, hidden, [group[0] for group in together])
        for group in together:
            for name in group:
                found[name] = _put(name, linears[name], settings, sums[group[0]])
                advance(1)
    return found


def _put(name: str, linear: nn.Linear, settings: Quantisation, hessian: Tensor | None) -> QuantisedLayer:
    """Quantise one layer and give it the weight that its codes stand for."""
    weight = linear.weight
    try:
        made = round_to_nearest(weight, settings) if hessian is None else gptq(weight, hessian, settings)
    except QuantisationError as refused:
        raise QuantisationError(f"{name}: {refused}") from None
    values = made.dequantise()
    error = None
    if hessian is not None:
        energy = output_error(weight, torch.zeros_like(weight), hessian)
        error = output_error(weight, values, hessian) / energy if energy else 0.0
    weight.copy_(values)
    return QuantisedLayer(made, error)
