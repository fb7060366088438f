"""Low-rank adapters [LoRA, Hu et al., arXiv 2106.09685]: W x + (alpha / rank) B A x, with W kept as it is.

`peft` makes and merges them, on a Hugging Face model or on our Transformer. Only A and B learn: they alone are in a
run's checkpoints, while the hash of the base weights belongs to its identity. An adapter is saved in peft's own form
under Hugging Face's names, so that `PeftModel.from_pretrained` puts it on the exported base model whichever of the two
it was trained on.

Defaults follow the paper's section 4.2 (queries and values adapted, A random, B zero). Deviation: A is drawn from a
named seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from glasshouse.nn.transformer import Transformer
from glasshouse.store.configuration import Config, named_seed
from glasshouse.training.parallel import ParallelPlan

NAMES = {
    "query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj",
    "gate": "gate_proj", "up": "up_proj", "down": "down_proj",
}  # fmt: skip
"""Our linear layers and what Hugging Face calls them."""
_PATHS = {"blocks": "model.layers", "attention": "self_attn", "feed_forward": "mlp"} | NAMES


class Lora(Config):
    """Shape of the adapters. `targets` may be given in our names or Hugging Face's."""

    rank: int = Field(8, ge=1)
    alpha: float = Field(16.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ("query", "value")
    seed: int = Field(0, ge=0)


class AdapterError(ValueError):
    """A model that has no adapters, or that they cannot be put on."""


def add_adapters(model: nn.Module, lora: Lora) -> nn.Module:
    """The model with adapters, as a `peft.PeftModel` around it. The base weights stop learning.

    Raises `AdapterError` when a target names no linear layer, `ImportError` without peft.
    """
    peft = _peft()
    ours = isinstance(model, Transformer)
    back = {theirs: name for name, theirs in NAMES.items()}
    targets = [back.get(name, name) if ours else NAMES.get(name, name) for name in lora.targets]
    linear = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if unknown := sorted(set(targets) - linear):
        raise AdapterError(f"no linear layer is called {', '.join(unknown)}; the model has {', '.join(sorted(linear))}")
    settings = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets,
        task_type=None if ours else "CAUSAL_LM",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(named_seed(lora.seed, "adapters"))
        found: nn.Module = peft.PeftModel(model, settings) if ours else peft.get_peft_model(model, settings)
    return found


def has_adapters(model: nn.Module) -> bool:
    """Whether peft has put adapters on the model."""
    return hasattr(model, "peft_config")


def learning_parts(model: nn.Module) -> tuple[Mapping[str, nn.Module], Mapping[str, nn.Module], bool]:
    """What learns, what is frozen, and whether micro-batches may run side by side, for an objective on any model.

    Without adapters the whole model learns. With them the adapters do, and the base weights are frozen.
    """
    if not has_adapters(model):
        return {"model": model}, {}, True
    if not ParallelPlan.current().whole:
        raise AdapterError(
            "adapters are trained where every process holds the whole model: set shard=1 and tensor=1, and replicate"
        )
    adapters, base = _Named(), _Named()
    for name, parameter in model.named_parameters():
        (adapters if ".lora_" in name else base).register_parameter(name.replace(".", "/"), parameter)
    drops = [
        module for name, module in model.named_modules() if ".lora_dropout" in name and not list(module.children())
    ]
    adapters.dropouts = nn.ModuleList(drops)
    random = any(isinstance(module, nn.Dropout) and module.p > 0 for module in drops)
    model.eval()
    return {"adapters": adapters}, {"base": base}, not random


class _Named(nn.Module):
    """Some of a model's parameters, shared with it, under their names with slashes for dots."""


def save_adapters(model: nn.Module, folder: str | Path, *, base: str | Path | None = None) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors` as peft reads them, under Hugging Face's names.

    `base` is the folder or name of the base model, which peft records. Raises `AdapterError` without adapters.
    """
    if not has_adapters(model):
        raise AdapterError(f"{type(model).__name__} has no adapters to save: see add_adapters")
    from peft import get_peft_model_state_dict

    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    ours = isinstance(base_model(model), Transformer)
    tensors: dict[str, Tensor] = get_peft_model_state_dict(model)
    if ours:
        tensors = {_their_name(name): tensor for name, tensor in tensors.items()}
    save_file(
        {name: t.detach().cpu().contiguous() for name, t in tensors.items()}, target / "adapter_model.safetensors"
    )
    config: Any = model.peft_config["default"]  # type: ignore[index]
    document = {name: value for name, value in config.to_dict().items() if name != "runtime_config"}
    document["target_modules"] = sorted(NAMES.get(name, name) if ours else name for name in document["target_modules"])
    document |= {"task_type": "CAUSAL_LM", "base_model_name_or_path": str(base) if base is not None else None}
    document["inference_mode"] = True
    text = json.dumps(document, indent=2, sort_keys=True, default=str)
    (target / "adapter_config.json").write_text(text + "\n", encoding="utf-8")


def merge_adapters(model: nn.Module) -> nn.Module:
    """The base model with W + (alpha / rank) B A in place of W. The model given is taken apart.

    peft's own `merge_and_unload` asks the model for a Hugging Face configuration, which ours does not have.
    """
    if not has_adapters(model):
        raise AdapterError(f"{type(model).__name__} has no adapters to merge: see add_adapters")
    found = base_model(model)
    for name, module in list(found.named_modules()):
        if isinstance(module, _peft().tuners.tuners_utils.BaseTunerLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(found.get_submodule(parent), child, module.get_base_layer())
    return found.requires_grad_(True)


def base_model(model: nn.Module) -> nn.Module:
    """The model inside the adapters, or the model itself."""
    return model.get_base_model() if has_adapters(model) else model  # type: ignore[operator]


def _their_name(name: str) -> str:
    """`base_model.model.blocks.0.attention.query.lora_A.weight` under Hugging Face's names."""
    prefix, rest = "base_model.model.", name.removeprefix("base_model.model.")
    return prefix + ".".join(_PATHS.get(part, part) for part in rest.split("."))


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise ImportError("adapters need the package peft: pip install 'glasshouse[align]'") from None
    return peft
