"""What the layers of a model get to read: its blocks run on calibration tokens one after the other.

A model is known by its longest list of modules, the blocks. One pass of the whole model records with which masks and
positions each block is called; from there on only blocks run, each on what the quantised ones before it gave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glasshouse.language.quantisation.settings import QuantisationError
from glasshouse.nn.transformer import Transformer
from glasshouse.store.configuration import named_seed
from glasshouse.training.parallelize import longest_list

BATCH = 16
"""Calibration rows that run together."""


class _EnoughError(Exception):
    """Ends a forward pass once everything that was wanted has been seen."""


@dataclass
class Block:
    """A block of a model and the calls of it, one for every batch, without what it reads."""

    name: str
    module: nn.Module
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    @property
    def linears(self) -> dict[str, nn.Linear]:
        """Its linear layers by their full names."""
        prefix = f"{self.name}." if self.name else ""
        return {prefix + name: module for name, module in self.module.named_modules() if isinstance(module, nn.Linear)}

    def run(self, batch: int, hidden: Tensor) -> Tensor:
        """What the block makes of the hidden states of a batch."""
        arguments, named = self.calls[batch]
        if "hidden_states" in named:
            found = self.module(*arguments, **{**named, "hidden_states": hidden})
        else:
            found = self.module(hidden, *arguments, **named)
        out: Tensor = found[0] if isinstance(found, tuple) else found
        return out


def blocks_of(model: nn.Module) -> list[Block]:
    """The blocks, with their names. Raises `QuantisationError` when the model has none with linear layers."""
    names = {id(module): name for name, module in model.named_modules()}
    found = [Block(names[id(module)], module) for module in longest_list(model)]
    if not any(block.linears for block in found):
        raise QuantisationError(
            f"{type(model).__name__} has no list of blocks with linear layers (torch.nn.Linear): its kind of layer is "
            "not known here, or it is quantised already"
        )
    return found


def rows_of_documents(
    documents: Sequence[npt.NDArray[np.int64]], end: int, context: int, most: int, seed: int
) -> list[Int[Tensor, "batch seq"]]:
    """Documents behind each other, the `end` token after each, as batches of rows of `context` tokens.

    Of more than `most` rows, these many are drawn; what fills no row is left out. Raises `QuantisationError` when the
    documents fill none.
    """
    stream = np.concatenate([np.append(tokens, end) for tokens in documents]) if len(documents) else np.zeros(0, int)
    rows = stream[: len(stream) // context * context].reshape(-1, context)
    if not len(rows):
        raise QuantisationError(f"{len(stream)} tokens fill no row of {context}: give more calibration text")
    draw = np.random.default_rng(named_seed(seed, "calibration"))
    chosen = np.sort(draw.permutation(len(rows))[:most])
    return list(torch.split(torch.from_numpy(rows[chosen]), BATCH))


@torch.no_grad()
def first_inputs(
    model: nn.Module, blocks: Sequence[Block], batches: Sequence[Int[Tensor, "batch seq"]]
) -> list[Tensor]:
    """What the first block reads of every batch; the calls of every block are recorded in it."""
    hidden: list[Tensor] = []

    def record(block: Block) -> Callable[..., None]:
        def before(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            if "hidden_states" in named:
                given, call = named["hidden_states"], (arguments, {**named, "hidden_states": None})
            else:
                given, call = arguments[0], (arguments[1:], named)
            block.calls.append(call)
            if block is blocks[0]:
                hidden.append(given)
            if block is blocks[-1]:
                raise _EnoughError

        return before

    device = next(model.parameters()).device
    options = {} if isinstance(model, Transformer) else {"use_cache": False}
    hooks = [block.module.register_forward_pre_hook(record(block), with_kwargs=True) for block in blocks]
    try:
        for batch in batches:
            try:
                model(batch.to(device), **options)
            except _EnoughError:
                continue
            raise QuantisationError(f"{type(model).__name__} does not call its last block, {blocks[-1].name}")
    finally:
        for hook in hooks:
            hook.remove()
    return hidden


@torch.no_grad()
def layers_by_input(block: Block, hidden: Tensor) -> list[list[str]]:
    """The linear layers of a block in the order they are called, those that read the same tensor together."""
    seen: list[tuple[Tensor, list[str]]] = []

    def record(name: str) -> Callable[..., None]:
        def before(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            for given, names in seen:
                if given is arguments[0]:
                    names.append(name)
                    return
            seen.append((arguments[0], [name]))

        return before

    with _hooked({name: (module, record(name)) for name, module in block.linears.items()}):
        block.run(0, hidden)
    found = [name for _, names in seen for name in names]
    if missing := [name for name in block.linears if name not in found]:
        raise QuantisationError(f"no calibration token reaches {', '.join(missing)}: give more calibration rows")
    return [names for _, names in seen]


@torch.no_grad()
def hessians(
    block: Block, hidden: Sequence[Tensor], layers: Sequence[str]
) -> dict[str, Float[Tensor, "inputs inputs"]]:
    """X^T X of what each of `layers` reads over all batches, float64. A pass ends when it has met all of them."""
    linears = block.linears
    sums: dict[str, Tensor] = {}
    left: set[str] = set()

    def record(name: str) -> Callable[..., None]:
        def before(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            given = arguments[0].flatten(0, -2).float()
            found = (given.T @ given).double()
            sums[name] = sums[name] + found if name in sums else found
            left.discard(name)
            if not left:
                raise _EnoughError

        return before

    with _hooked({name: (linears[name], record(name)) for name in layers}):
        for batch, states in enumerate(hidden):
            left = set(layers)
            try:
                block.run(batch, states)
            except _EnoughError:
                continue
    return sums


@contextmanager
def _hooked(hooks: dict[str, tuple[nn.Module, Callable[..., None]]]) -> Iterator[None]:
    handles = [module.register_forward_pre_hook(hook) for module, hook in hooks.values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
