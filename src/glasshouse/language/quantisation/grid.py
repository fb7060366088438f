"""The grid that weights are put on, and round-to-nearest, which puts each on the nearest point of it.

    asymmetric   scale = (max - min) / (2^bits - 1)      zero = round(-min / scale)
    symmetric    scale = 2 max|w| / (2^bits - 1)         zero = 2^bits / 2

over the weights of a row that share a grid, with min <= 0 <= max, so that 0 is a point of every grid
[IST-DASLab/gptq, quant.py, "find_params"]. Deviation: a symmetric grid reaches to -max|w| even where no weight is
negative; the reference's then covers half of the weights only.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from glasshouse.language.quantisation.settings import Quantisation, QuantisationError
from glasshouse.nn.quantised import QuantisedWeight


class Grid(NamedTuple):
    """Scale and zero of every row, in the weights' precision; zeros are whole numbers."""

    scale: Float[Tensor, "*rows"]
    zero: Float[Tensor, "*rows"]

    def codes(self, weight: Float[Tensor, "... rows"], levels: int) -> Float[Tensor, "... rows"]:
        """The nearest points, as whole numbers below `levels`."""
        return ((weight / self.scale).round_() + self.zero).clamp_(0, levels - 1)

    def values(self, codes: Float[Tensor, "... rows"]) -> Float[Tensor, "... rows"]:
        """The points that codes stand for."""
        return self.scale * (codes - self.zero)


def fit_grid(weight: Float[Tensor, "columns rows"], settings: Quantisation) -> Grid:
    """The grid over the columns given, for every row."""
    low, high = weight.amin(0).clamp_(max=0), weight.amax(0).clamp_(min=0)
    if settings.symmetric:
        high = torch.maximum(high, -low)
        low = -high
    empty = (low == 0) & (high == 0)
    low, high = low.masked_fill(empty, -1), high.masked_fill(empty, 1)
    scale = (high - low) / (settings.levels - 1)
    if settings.half_scales:
        smallest = torch.finfo(torch.float16).smallest_normal
        scale = scale.half().to(weight.dtype).clamp_(min=smallest)
        if not torch.isfinite(scale).all():
            raise QuantisationError(
                f"weights up to {float(weight.abs().max()):.3g} need scales beyond float16: the layer is damaged, or "
                "set half_scales=False (it cannot be packed then)"
            )
    zero = torch.full_like(scale, settings.levels / 2) if settings.symmetric else (-low / scale).round_()
    return Grid(scale, zero.clamp_(max=settings.levels - 1))


def group_of_columns(columns: int, settings: Quantisation) -> Tensor:
    """The group of every column, where groups are neighbours."""
    return torch.arange(columns) // (settings.group_size or columns)


def round_to_nearest(weight: Float[Tensor, "out inputs"], settings: Quantisation) -> QuantisedWeight:
    """Every weight on the nearest point of its group's grid."""
    finite(weight)
    columns = weight.to(working(weight)).T
    groups = group_of_columns(len(columns), settings)
    parts = torch.split(columns, settings.group_size or len(columns))
    grids = [fit_grid(part, settings) for part in parts]
    codes = torch.cat([grid.codes(part, settings.levels) for grid, part in zip(grids, parts, strict=True)])
    return assemble(settings.bits, codes, grids, groups.to(weight.device))


def assemble(bits: int, codes: Float[Tensor, "inputs out"], grids: list[Grid], groups: Tensor) -> QuantisedWeight:
    """Codes by column and the grid of every group as a matrix."""
    scales = torch.stack([grid.scale for grid in grids], 1)
    zeros = torch.stack([grid.zero for grid in grids], 1)
    return QuantisedWeight(bits, codes.T.byte().contiguous(), scales, zeros.int(), groups)


def working(weight: Tensor) -> torch.dtype:
    """The precision that is computed in: the weight's, but not below float32."""
    return torch.promote_types(weight.dtype, torch.float32)


def finite(weight: Tensor) -> None:
    """Raise `QuantisationError` for a matrix that holds a number which is none, or is no matrix."""
    if weight.dim() != 2 or not weight.numel():
        raise QuantisationError(f"a weight is a matrix of outputs by inputs, got the shape {tuple(weight.shape)}")
    if not torch.isfinite(weight).all():
        raise QuantisationError("the weight holds numbers that are not finite: the layer is damaged")
