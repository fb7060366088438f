"""What a quantisation is configured with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from glasshouse.store.configuration import Config


class QuantisationError(ValueError):
    """A layer or a model cannot be quantised as it was asked for."""


class Quantisation(Config):
    """How weights are put on a grid of 2^bits numbers."""

    method: Literal["gptq", "rtn"] = Field(default="gptq", description="rtn is round-to-nearest")
    bits: Literal[2, 3, 4, 8] = 4
    group_size: int | None = Field(default=128, ge=1, description="columns that share a grid; None: the whole row")
    symmetric: bool = Field(default=False, description="zero lies in the middle of the grid")
    half_scales: bool = Field(default=True, description="scales are float16 numbers, as packed files hold them")
    act_order: bool = Field(default=False, description="columns with the largest inputs first (gptq)")
    static_groups: bool = Field(default=False, description="grids are those of the weights before any was moved (gptq)")
    sequential: bool = Field(
        default=True, description="layers of a block one after the other, each fed what quantised ones give (gptq)"
    )
    damp: float = Field(default=0.01, ge=0, description="added to the diagonal, as a share of its mean (gptq)")
    block: int = Field(default=128, ge=1, description="columns between two updates of all that follow (gptq)")
    stale_groups: bool = Field(
        default=False, description="grids as the reference code takes them, to compare with it only (gptq)"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Quantisation:
        if self.method == "rtn" and (self.act_order or self.static_groups or self.stale_groups):
            raise ValueError("act_order, static_groups and stale_groups are gptq's; rtn has no order of columns")
        if self.stale_groups and (self.static_groups or self.group_size is None):
            raise ValueError("stale_groups is about grids of groups taken on the way")
        return self

    @property
    def levels(self) -> int:
        """Numbers on a grid."""
        return int(2**self.bits)

    def groups(self, columns: int) -> int:
        """Groups of a row of so many columns; the last may be shorter."""
        return -(-columns // self.group_size) if self.group_size is not None else 1
