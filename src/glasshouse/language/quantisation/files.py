"""Quantised models as folders: GPTQ's packed layers in safetensors, with the configuration that readers look for.

config.json           the model's, with `quantization_config`
quantize_config.json  the same settings, where AutoGPTQ and GPTQModel look for them
model.safetensors     packed layers (`glasshouse.nn.quantised`); everything else in 16 bits

A folder of a family that is ours is read by `glasshouse.nn.huggingface.load_huggingface`, others here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glasshouse.language.quantisation.model import QuantisedLayer
from glasshouse.language.quantisation.settings import Quantisation, QuantisationError
from glasshouse.nn.families import family_names, family_of, to_config
from glasshouse.nn.quantised import PACKED, Layout
from glasshouse.nn.quantised_files import load_plain
from glasshouse.nn.transformer import Transformer
from glasshouse.nn.weight_files import SHARD_BYTES, write_json, write_shards

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def write_quantised(
    model: nn.Module,
    layers: Mapping[str, QuantisedLayer],
    settings: Quantisation,
    folder: str | Path,
    *,
    special: Mapping[str, int] | None = None,
    files: Iterable[str | Path] = (),
    layout: Layout = "gptq",
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a model whose `layers` were quantised into a new folder.

    Args:
        special: ids of special tokens for config.json, as `eos_token_id`; a model of `transformers` has them.
        files: of the tokenizer, to be copied.
        layout: of packed layers. GPTQModel opens asymmetric grids of other writers only in "gptq_v2".

    Raises:
        QuantisationError: the folder is not empty, or a number does not fit 16 bits.
        ConversionError: a layer has no place in the packed layout.
    """
    target = Path(folder)
    if target.exists() and any(target.iterdir()):
        raise QuantisationError(f"{target} exists and is not empty: write into a new folder")
    dtype = next(model.parameters()).dtype
    dtype = dtype if dtype in (torch.float16, torch.bfloat16) else torch.float16
    tensors = _tensors(model, layers, dtype, layout)
    target.mkdir(parents=True, exist_ok=True)
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in tensors.items()}
    write_shards(sizes, tensors.__getitem__, target, shard_bytes)
    about = quantisation_document(settings, layout)
    stated = {"dtype": str(dtype).removeprefix("torch."), "quantization_config": about}
    write_json(target / "quantize_config.json", about)
    write_json(target / "config.json", _document(model) | dict(special or {}) | stated)
    for file in map(Path, files):
        shutil.copyfile(file, target / file.name)


def quantisation_document(settings: Quantisation, layout: Layout = "gptq") -> dict[str, Any]:
    """The settings under the names of AutoGPTQ's `quantize_config.json`."""
    return {
        "quant_method": "gptq",
        "checkpoint_format": layout,
        "bits": settings.bits,
        "group_size": settings.group_size if settings.group_size is not None else -1,
        "desc_act": settings.act_order,
        "static_groups": settings.static_groups,
        "sym": settings.symmetric,
        "true_sequential": settings.sequential,
        "damp_percent": settings.damp,
        "lm_head": False,
        "meta": {"quantizer": ["glasshouse"], "method": settings.method},
    }


def read_quantised(folder: str | Path, device: torch.device | str = "cpu", *, packed: bool = False) -> nn.Module:
    """A quantised model of any family of `transformers`, in float32; packed, its layers run from their few bits.

    Raises `ConversionError` when the files do not fit the model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    document = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    kind = AutoConfig.for_model(**{name: value for name, value in document.items() if name != "quantization_config"})
    with torch.device(device):
        build: Any = AutoModelForCausalLM.from_config
        model: nn.Module = build(kind, dtype=torch.float32)
    load_plain(folder, model, device, packed=packed)
    return model.eval()


def _tensors(
    model: nn.Module, layers: Mapping[str, QuantisedLayer], dtype: torch.dtype, layout: Layout
) -> dict[str, Tensor]:
    """What goes into the files, by Hugging Face's names."""
    names = _names(model)
    found: dict[str, Tensor] = {}
    kept: set[tuple[int, tuple[int, ...]]] = set()
    for name, tensor in model.state_dict().items():
        layer = name.removesuffix(".weight")
        if layer in layers and name.endswith(".weight"):
            theirs = names.get(name, name).removesuffix(".weight")
            packed = layers[layer].weight.pack(layout)
            found |= {f"{theirs}.{part}": packed[part] for part in PACKED}
        elif (place := (tensor.data_ptr(), tuple(tensor.shape))) not in kept:  # a tied head is written once
            kept.add(place)
            found[names.get(name, name)] = _narrow(name, tensor, dtype)
    return found


def _narrow(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    narrow = tensor.to(dtype) if tensor.is_floating_point() else tensor
    if not torch.isfinite(narrow).all():
        raise QuantisationError(
            f"{name} holds numbers up to {float(tensor.abs().max()):.3g}, which {dtype} does not hold"
        )
    return narrow


def _names(model: nn.Module) -> dict[str, str]:
    """Our names of tensors -> those of the family; nothing for other models, whose names stay."""
    if not isinstance(model, Transformer):
        return {}
    return {ours[0]: theirs for theirs, ours in family_names(model.config, family_of(model.config))}


def _document(model: nn.Module) -> dict[str, Any]:
    if isinstance(model, Transformer):
        return to_config(model.config, family_of(model.config))
    found: dict[str, Any] = model.config.to_dict()  # type: ignore[operator, union-attr]
    return found
