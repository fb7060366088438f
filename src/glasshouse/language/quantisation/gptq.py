"""GPTQ: weights rounded column by column, each error made good by the columns that follow (arXiv 2210.17323).

For a linear layer with weight W, rows out and columns in, and calibration inputs X, the output error of a row w on its
grid is (w - q) H (w - q)^T with H = (2/n) X^T X. Columns are rounded from left to right. Rounding column j of what is
left gives every later column k its share of the error, with U^T U = H^-1, U upper triangular [algorithm 1]:

    q_j = grid(w_j)        e = (w_j - q_j) / U_jj        w_k <- w_k - e U_jk

which is the exact minimum of the error over the columns that are left. Within `block` columns the update is made at
once, behind them for the whole block together. An input that was never seen (H_jj = 0) gets the weight 0. Before the
factor is taken H gets `damp` x mean(diag H) on its diagonal. With `act_order` columns go by decreasing H_jj.

A group's grid is that of its weights as they are when its first column is reached. A block never ends inside a group
that began in it, so that these have taken in all errors before them. Deviation: the reference takes them as they were
before the block (`stale_groups`), which costs quality where a group is smaller than a block. Its dead columns also
count for the grid of a whole row; here they are 0 before.

The factor comes from one Cholesky decomposition, H = R R^T with R upper triangular (H turned round in both directions),
and U = R^-1. Columns are kept as rows of memory, so that every step reads what lies together.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from glasshouse.language.quantisation.grid import Grid, assemble, finite, fit_grid, group_of_columns, working
from glasshouse.language.quantisation.settings import Quantisation, QuantisationError
from glasshouse.nn.quantised import QuantisedWeight


@torch.no_grad()
def gptq(
    weight: Float[Tensor, "out inputs"], hessian: Float[Tensor, "inputs inputs"], settings: Quantisation
) -> QuantisedWeight:
    """A weight on its grids, rounded so that the layer's output changes little on the inputs behind `hessian`.

    The hessian may have any scale. Raises `QuantisationError` for numbers that are not finite, shapes that do not
    belong together, or a hessian that is not positive definite.
    """
    finite(weight)
    columns = weight.to(working(weight)).T.contiguous().clone()
    inputs = len(columns)
    if hessian.shape != (inputs, inputs):
        raise QuantisationError(f"{inputs} inputs need a hessian of that size, got {tuple(hessian.shape)}")
    hessian = hessian.to(columns.dtype).clone()
    diagonal = hessian.diagonal()
    dead = diagonal == 0
    diagonal[dead] = 1
    columns[dead] = 0
    order = torch.argsort(diagonal, descending=True, stable=True) if settings.act_order else None
    fixed = static_grids(columns, settings) if settings.static_groups else None
    groups = group_of_columns(inputs, settings).to(weight.device)
    if order is not None:
        columns, hessian = columns[order], hessian[order][:, order]
    found, grids = _round(columns, inverse_factor(hessian, settings.damp), groups, fixed, order, settings)
    if order is not None:
        back = torch.argsort(order)
        found = found[back]
        groups = groups if fixed is not None else groups[back]
    return assemble(settings.bits, found, grids, groups)


def static_grids(columns: Float[Tensor, "inputs out"], settings: Quantisation) -> list[Grid]:
    """Grids of neighbouring columns as they are now."""
    return [fit_grid(part, settings) for part in torch.split(columns, settings.group_size or len(columns))]


def inverse_factor(hessian: Float[Tensor, "inputs inputs"], damp: float) -> Float[Tensor, "inputs inputs"]:
    """U with U^T U = (H + damp mean(diag H) I)^-1, upper triangular. Overwrites the hessian."""
    hessian.diagonal().add_(damp * hessian.diagonal().mean())
    lower, failed = torch.linalg.cholesky_ex(hessian.flip(0, 1))
    if failed.item() or not torch.isfinite(lower).all():
        raise QuantisationError(
            "the hessian of the inputs is not positive definite: give more calibration rows than the layer has inputs, "
            f"or a larger damp than {damp:g}; if neither helps, the inputs hold numbers that are not finite"
        )
    eye = torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device)
    factor: Tensor = torch.linalg.solve_triangular(lower.flip(0, 1), eye, upper=True)
    return factor


def output_error(
    weight: Float[Tensor, "out inputs"], other: Float[Tensor, "out inputs"], hessian: Float[Tensor, "inputs inputs"]
) -> float:
    """Squared difference of a layer's output with either weight, summed over outputs: tr(D H D^T), D their difference.

    Divided by that of `weight` and zeros it is the share of the output's energy that is lost.
    """
    apart = (weight - other).to(hessian.dtype)
    return float(((apart @ hessian) * apart).sum())


def _round(
    columns: Float[Tensor, "inputs out"],
    factor: Float[Tensor, "inputs inputs"],
    groups: Tensor,
    fixed: list[Grid] | None,
    order: Tensor | None,
    settings: Quantisation,
) -> tuple[Float[Tensor, "inputs out"], list[Grid]]:
    """Codes of columns in the order given, and the grid of every group. Overwrites the columns."""
    inputs, size, levels = len(columns), settings.group_size or len(columns), settings.levels
    whose = (groups if order is None else groups[order]).tolist() if fixed is not None else groups.tolist()
    grids = list(fixed or [])
    codes = torch.empty_like(columns)
    diagonal = factor.diagonal().tolist()
    for start, end in _blocks(inputs, settings):
        errors = torch.empty_like(columns[start:end])
        seen = columns.clone() if settings.stale_groups else columns
        for j in range(start, end):
            if fixed is None and j % size == 0:
                grids.append(fit_grid(seen[j : j + size], settings))
            grid = grids[whose[j]]
            codes[j] = grid.codes(columns[j], levels)
            error = torch.sub(columns[j], grid.values(codes[j]), out=errors[j - start]).div_(diagonal[j])
            columns[j + 1 : end].addr_(factor[j, j + 1 : end], error, alpha=-1)
        columns[end:].addmm_(factor[start:end, end:].T, errors, alpha=-1)
    return codes, grids


def _blocks(inputs: int, settings: Quantisation) -> Iterator[tuple[int, int]]:
    """First and end of every block; where grids are taken on the way, none ends inside a group that began in it."""
    start, block, size = 0, settings.block, settings.group_size or inputs
    if settings.static_groups or settings.stale_groups or size >= inputs:
        size = 1
    while start < inputs:
        end = min(start + block, inputs)
        if start % size == 0 and size <= block:
            end = min(start + block // size * size, inputs)
        elif size > block:
            end = min(end, (start // size + 1) * size)
        yield start, end
        start = end
