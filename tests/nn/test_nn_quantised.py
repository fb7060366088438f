"""Packed weights against the layout's definition, read bit by bit, and the module that runs from them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from glasshouse.nn.families import ConversionError
from glasshouse.nn.quantised import Packing, QuantisedLinear, QuantisedWeight, pack_bits, unpack_bits
from glasshouse.nn.quantised_files import dequantised, layer_tensors

BITS = (2, 3, 4, 8)


def weight(bits: int, *, inputs: int = 64, out: int = 32, size: int = 24, zero: int | None = None) -> QuantisedWeight:
    generator = torch.Generator().manual_seed(bits)
    groups = torch.arange(inputs) // size
    shape = (out, int(groups.max()) + 1)
    zeros = torch.randint(0, 2**bits, shape, generator=generator, dtype=torch.int32)
    return QuantisedWeight(
        bits,
        torch.randint(0, 2**bits, (out, inputs), generator=generator, dtype=torch.uint8),
        (torch.rand(shape, generator=generator) + 0.01).half().float(),
        zeros if zero is None else torch.full_like(zeros, zero),
        groups[torch.randperm(inputs, generator=generator)],
    )


def by_definition(packed: dict[str, Tensor], bits: int) -> Tensor:
    """The matrix, number by number: a column of qweight and a row of qzeros are streams of bits, lowest first,
    and a weight is scale (code - (stored zero + 1))."""

    def number(words: list[int], place: int) -> int:
        stream = sum((word & 0xFFFFFFFF) << (32 * index) for index, word in enumerate(words))
        return (stream >> (place * bits)) & (2**bits - 1)

    inputs, out = len(packed["g_idx"]), packed["scales"].shape[1]
    found = torch.zeros(out, inputs, dtype=torch.float64)
    for row in range(out):
        words = packed["qweight"][:, row].tolist()
        for column in range(inputs):
            group = int(packed["g_idx"][column])
            zero = number(packed["qzeros"][group].tolist(), row) + 1
            found[row, column] = float(packed["scales"][group, row]) * (number(words, column) - zero)
    return found


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("zero", [None, 0, 1])
def test_packed_layers_are_what_the_layout_says(bits: int, zero: int | None) -> None:
    given = weight(bits, zero=zero)
    packed = given.pack()
    groups = given.scales.shape[1]
    assert packed["qweight"].dtype == packed["qzeros"].dtype == packed["g_idx"].dtype == torch.int32
    assert packed["scales"].dtype == torch.float16
    assert packed["qweight"].shape == (64 * bits // 32, 32)
    assert packed["qzeros"].shape == (groups, 32 * bits // 32)
    assert packed["scales"].shape == (groups, 32)
    assert torch.equal(by_definition(packed, bits).float(), given.dequantise())
    assert torch.equal(QuantisedWeight.unpack(packed, Packing(bits)).dequantise(), given.dequantise())
    second = given.pack("gptq_v2")
    assert torch.equal(QuantisedWeight.unpack(second, Packing(bits, "gptq_v2")).zeros, given.zeros)
    assert torch.equal(QuantisedWeight.unpack(second, Packing(bits, "gptq_v2")).codes, given.codes)


def test_three_bits_are_spread_over_words_as_autogptq_does() -> None:
    """Its code packs 10 numbers and two bits into the first word, one bit, 10 numbers and one bit into the second, and
    two bits and 10 numbers into the third."""
    numbers = torch.randint(0, 8, (32, 1), generator=torch.Generator().manual_seed(0))
    given = [int(number) for number in numbers[:, 0]]
    first = sum(given[i] << (3 * i) for i in range(10)) | given[10] << 30
    second = (given[10] >> 2) & 1 | sum(given[11 + i] << (3 * i + 1) for i in range(10)) | given[21] << 31
    third = (given[21] >> 1) & 3 | sum(given[22 + i] << (3 * i + 2) for i in range(10))
    packed = [word & 0xFFFFFFFF for word in pack_bits(numbers, 3)[:, 0].tolist()]
    assert packed == [word & 0xFFFFFFFF for word in (first, second, third)]


@pytest.mark.parametrize("bits", BITS)
def test_numbers_come_back_whatever_they_are(bits: int) -> None:
    numbers = torch.randint(0, 2**bits, (96, 5), generator=torch.Generator().manual_seed(bits), dtype=torch.uint8)
    for given in (numbers, torch.zeros_like(numbers), torch.full_like(numbers, 2**bits - 1)):
        assert torch.equal(unpack_bits(pack_bits(given, bits), bits), given)


@pytest.mark.parametrize("bits", BITS)
def test_the_packed_module_computes_what_its_matrix_does(bits: int) -> None:
    given = weight(bits)
    linear = nn.Linear(64, 32)
    with torch.no_grad():
        linear.weight.copy_(given.dequantise())
    module = QuantisedLinear(given.pack(), Packing(bits), linear.bias.detach().clone())
    x = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(module(x), linear(x))
    module.half()
    assert module.scales.dtype == torch.float16
    assert module.qweight.dtype == torch.int32
    assert module.bias is not None
    assert module.bias.dtype == torch.float16
    module.double()
    assert module.scales.dtype == torch.float16  # the file's scales, not a cast of a cast
    assert torch.allclose(module(x.double()), linear.double()(x.double()), atol=2e-3)
    assert (module.in_features, module.out_features) == (64, 32)
    assert not list(nn.ModuleList([QuantisedLinear(given.pack(), Packing(bits))]).parameters())


def test_what_cannot_be_packed_or_read_is_refused() -> None:
    with pytest.raises(ConversionError, match="60 inputs"):
        weight(3, inputs=60).pack()
    with pytest.raises(ConversionError, match="20 outputs"):
        weight(3, out=20).pack()
    fine = weight(4)
    with pytest.raises(ConversionError, match="half_scales"):
        QuantisedWeight(4, fine.codes, fine.scales + 1e-6, fine.zeros, fine.groups).pack()
    tensors = {f"layer.{name}": tensor for name, tensor in fine.pack().items()}
    assert set(dequantised(tensors | {"other": torch.ones(1)}, Packing(4))) == {"other", "layer.weight"}
    with pytest.raises(ConversionError, match="lacks g_idx"):
        layer_tensors({name: tensor for name, tensor in tensors.items() if "g_idx" not in name}, "layer", 4)
    with pytest.raises(ConversionError, match="3 bits give"):
        layer_tensors(tensors, "layer", 3)
    with pytest.raises(ConversionError, match="not among its 3"):
        layer_tensors(tensors | {"layer.g_idx": tensors["layer.g_idx"] + 1}, "layer", 4)
