"""Packed layers in a model's files: as matrices of plain numbers, or as modules that run from their few bits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from glasshouse.nn.families import ConversionError
from glasshouse.nn.quantised import PACKED, WORD, Layout, Packing, QuantisedLinear, QuantisedWeight
from glasshouse.nn.weight_files import WeightFiles


def load_plain(
    folder: str | Path, model: nn.Module, device: torch.device | str = "cpu", *, packed: bool = False
) -> None:
    """Fill a model from a folder whose tensors have the model's own names; packed layers become matrices, or modules.

    Raises `ConversionError` when tensors are missing or unknown, a tied copy aside.
    """
    files = WeightFiles(folder, device)
    tensors = {name: files.get(name) for name in files.names}
    packing = stated_packing(folder)
    plain = dequantised(tensors, packing, next(model.parameters()).dtype)
    missing, unknown = model.load_state_dict(plain, strict=False)
    own = model.state_dict()
    held = {own[name].data_ptr() for name in plain if name in own}
    if wrong := [name for name in missing if own[name].data_ptr() not in held] + list(unknown):
        raise ConversionError(f"{folder} does not fit its configuration: {', '.join(sorted(wrong))}")
    if packed:
        put_packed(model, tensors, packing, {})


def stated_packing(folder: str | Path) -> Packing:
    """The bits and the layout that a folder's configuration states.

    Raises `ConversionError` when it states none, or a layout that is not GPTQ's.
    """
    for name in ("config.json", "quantize_config.json"):
        path = Path(folder) / name
        document = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        found: dict[str, Any] | None = document.get("quantization_config") if name == "config.json" else document
        if found:
            layout: Any = found.get("checkpoint_format") or "gptq"
            if found.get("quant_method", "gptq") != "gptq" or layout not in get_args(Layout):
                raise ConversionError(
                    f"{path} says the weights are {found.get('quant_method')!r} in the layout {layout!r}; "
                    "only 'gptq' in the layouts 'gptq' and 'gptq_v2' is read"
                )
            return Packing(int(found["bits"]), layout)
    raise ConversionError(f"{folder} holds packed layers, but no configuration says of how many bits")


def dequantised(tensors: Mapping[str, Tensor], packing: Packing, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """A file's tensors with every packed layer made a matrix `<layer>.weight`, in `dtype` or that of the other tensors.

    Raises `ConversionError` for a layer that lacks a tensor, or whose tensors do not fit each other.
    """
    layers = packed_layers(tensors)
    packed = {f"{layer}.{name}" for layer in layers for name in PACKED}
    found = {name: tensor for name, tensor in tensors.items() if name not in packed}
    dtype = dtype or next((tensor.dtype for tensor in found.values() if tensor.is_floating_point()), torch.float32)
    for layer in layers:
        weight = QuantisedWeight.unpack(layer_tensors(tensors, layer, packing.bits), packing)
        found[f"{layer}.weight"] = weight.dequantise().to(dtype)
    return found


def put_packed(model: nn.Module, tensors: Mapping[str, Tensor], packing: Packing, names: Mapping[str, str]) -> None:
    """Put modules that run from packed weights in place of a model's linear layers; `names`: a file's name -> ours."""
    for layer in packed_layers(tensors):
        theirs = f"{layer}.weight"
        own = names.get(theirs, theirs).removesuffix(".weight")
        bias = model.get_submodule(own).bias
        packed = layer_tensors(tensors, layer, packing.bits)
        put_module(model, own, QuantisedLinear(packed, packing, bias if isinstance(bias, Tensor) else None))


def put_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module into a model under a dotted name."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def packed_layers(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the layers that are packed."""
    return [name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")]


def layer_tensors(tensors: Mapping[str, Tensor], layer: str, bits: int) -> dict[str, Tensor]:
    """One layer's packed tensors. Raises `ConversionError` naming what is missing or of another shape."""
    if missing := [name for name in PACKED if f"{layer}.{name}" not in tensors]:
        raise ConversionError(f"{layer} is packed but lacks {', '.join(missing)}: the file is damaged")
    found = {name: tensors[f"{layer}.{name}"] for name in PACKED}
    inputs, (groups, out) = len(found["g_idx"]), found["scales"].shape
    expected = {"qweight": (inputs * bits // WORD, out), "qzeros": (groups, out * bits // WORD)}
    for name, shape in expected.items():
        if tuple(found[name].shape) != shape:
            raise ConversionError(
                f"{layer}.{name} has shape {tuple(found[name].shape)}; {inputs} inputs, {out} outputs, {groups} groups "
                f"and {bits} bits give {shape}"
            )
    if inputs and not 0 <= int(found["g_idx"].min()) <= int(found["g_idx"].max()) < groups:
        raise ConversionError(f"{layer}.g_idx names groups that are not among its {groups}")
    return found
