"""Weights of a few bits: whole numbers on a grid per row and group of columns, packed as GPTQ's files hold them.

    w = scale (code - zero)        0 <= code < 2^bits

The layout is GPTQ's (`checkpoint_format`; written by AutoGPTQ and GPTQModel, read by `transformers`): the first,
"gptq", or "gptq_v2", in which zeros are stored as they are. Of a layer with `in` inputs and `out` outputs:

    qweight  int32   [in bits / 32, out]         codes of a column as one little-endian stream of bits down the rows
    qzeros   int32   [groups, out bits / 32]     zero - 1, the same along the row
    scales   float16 [groups, out]
    g_idx    int32   [in]                        the group of every input

A zero of 0 has no place in the first: `zero - 1` would be -1, which readers take for 2^bits. Such a group (none of its
weights is negative) is written mirrored, `w = (-scale) ((2^bits - 1 - code) - (2^bits - 1))`: the same number exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int, Int32, Integer, UInt8
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.nn.families import ConversionError

Layout = Literal["gptq", "gptq_v2"]
PACKED = ("qweight", "qzeros", "scales", "g_idx")
WORD = 32


class Packing(NamedTuple):
    """How the numbers of a file's packed layers are to be read."""

    bits: int
    layout: Layout = "gptq"

    @property
    def below_zero(self) -> int:
        """What is taken off a zero before it is stored."""
        return 1 if self.layout == "gptq" else 0


@dataclass(frozen=True)
class QuantisedWeight:
    """A matrix on its grids.

    Attributes:
        codes: whole numbers below 2^bits.
        scales, zeros: of every row and group.
        groups: the group that every column belongs to.
    """

    bits: int
    codes: UInt8[Tensor, "out inputs"]
    scales: Float[Tensor, "out groups"]
    zeros: Int32[Tensor, "out groups"]
    groups: Int[Tensor, "*inputs"]

    def dequantise(self) -> Float[Tensor, "out inputs"]:
        """The numbers that the codes stand for, in the precision of the scales."""
        scales, zeros = self.scales[:, self.groups], self.zeros[:, self.groups]
        return scales * (self.codes.to(scales.dtype) - zeros.to(scales.dtype))

    def pack(self, layout: Layout = "gptq") -> dict[str, Tensor]:
        """The layer's tensors in GPTQ's layout, by name.

        Raises `ConversionError` when the layer has no place in it: bits of a row or a column that fill no whole number
        of 32-bit words, or scales that are not float16.
        """
        out, inputs = self.codes.shape
        for what, count in (("inputs", inputs), ("outputs", out)):
            if count * self.bits % WORD:
                raise ConversionError(
                    f"a layer with {count} {what} cannot be packed at {self.bits} bits: {count} x {self.bits} bits are "
                    f"no whole number of {WORD}-bit words"
                )
        scales = self.scales.half()
        if not torch.equal(scales.to(self.scales.dtype), self.scales):
            raise ConversionError(
                "the scales are not float16 numbers, which the packed layout holds: quantise with half_scales=True"
            )
        most, below = 2**self.bits - 1, Packing(self.bits, layout).below_zero
        mirrored = self.zeros < below
        codes = torch.where(mirrored[:, self.groups], most - self.codes, self.codes)
        zeros = torch.where(mirrored, most, self.zeros)
        return {
            "qweight": pack_bits(codes.T, self.bits),
            "qzeros": pack_bits((zeros - below).contiguous(), self.bits).T.contiguous(),
            "scales": torch.where(mirrored, -scales, scales).T.contiguous(),
            "g_idx": self.groups.int(),
        }

    @classmethod
    def unpack(cls, packed: Mapping[str, Tensor], packing: Packing) -> QuantisedWeight:
        """The matrix of a layer's tensors in GPTQ's layout; its scales are float32."""
        bits, scales = packing.bits, packed["scales"].T.float().contiguous()
        zeros = unpack_bits(packed["qzeros"].T.contiguous(), bits).int() + packing.below_zero
        codes = unpack_bits(packed["qweight"], bits).T
        return cls(bits, codes.contiguous(), scales, zeros, packed["g_idx"].long())


def pack_bits(numbers: Integer[Tensor, "count columns"], bits: int) -> Int32[Tensor, "words columns"]:
    """Numbers below 2^bits as one little-endian stream of bits down every column, in 32-bit words."""
    count, columns = numbers.shape
    word, offset = _places(count, bits, numbers.device)
    given = numbers.long()
    words = torch.zeros(count * bits // WORD + 1, columns, dtype=torch.long, device=numbers.device)
    words.index_add_(0, word, (given << offset[:, None]) & 0xFFFFFFFF)
    words.index_add_(0, word + 1, given >> (WORD - offset)[:, None])
    signed = torch.where(words >= 1 << 31, words - (1 << 32), words)
    return signed[:-1].int()


def unpack_bits(words: Int32[Tensor, "words columns"], bits: int) -> UInt8[Tensor, "count columns"]:
    """The numbers that `pack_bits` packed."""
    word, offset = _places(len(words) * WORD // bits, bits, words.device)
    whole = functional.pad(words.long() & 0xFFFFFFFF, (0, 0, 0, 1))
    low, high = whole[word] >> offset[:, None], whole[word + 1] << (WORD - offset)[:, None]
    numbers: Tensor = (low | high) & (2**bits - 1)
    return numbers.byte()


def _places(count: int, bits: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of every number, the word that it begins in and the bit there."""
    begin = torch.arange(count, device=device) * bits
    return begin // WORD, begin % WORD


class QuantisedLinear(nn.Module):
    """A linear layer that holds packed weights only, and makes its matrix anew at every call."""

    qweight: Tensor
    qzeros: Tensor
    scales: Tensor
    g_idx: Tensor

    def __init__(self, packed: Mapping[str, Tensor], packing: Packing, bias: Tensor | None = None) -> None:
        super().__init__()
        self.packing = packing
        for name in PACKED:
            self.register_buffer(name, packed[name])
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    @property
    def in_features(self) -> int:
        return len(self.g_idx)

    @property
    def out_features(self) -> int:
        return self.scales.shape[1]

    def weight_codes(self) -> QuantisedWeight:
        """The matrix as codes and grids."""
        return QuantisedWeight.unpack({name: getattr(self, name) for name in PACKED}, self.packing)

    def forward(self, x: Float[Tensor, "... inputs"]) -> Float[Tensor, "... out"]:
        return functional.linear(x, self.weight_codes().dequantise().to(x.dtype), self.bias)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> QuantisedLinear:
        """Moves between devices; packed tensors keep their types when a model is cast."""
        kept = {name: getattr(self, name) for name in PACKED}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, before in kept.items():
            setattr(self, name, before.to(getattr(self, name).device))
        return self
