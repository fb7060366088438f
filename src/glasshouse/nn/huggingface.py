"""Read and write models in Hugging Face's form: a folder with `config.json` and safetensors files.

`olmo`, `olmo2` and `llama` are read and written, OLMo's original layout is read (see `families`). Only safetensors
is opened, never pickle. The `transformers` package is not needed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.families import (
    FAMILIES,
    ConversionError,
    family_of,
    from_config,
    from_names,
    guess_family,
    to_config,
    to_names,
)
from glasshouse.nn.transformer import Transformer

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000


def save_huggingface(
    model: Transformer,
    folder: str | Path,
    *,
    end: int | None = None,
    padding: int | None = None,
    begin: int | None = None,
    tokenizer_files: Iterable[str | Path] = (),
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a folder that `AutoModelForCausalLM.from_pretrained` loads unchanged, with the special token ids given.

    Raises `ConversionError` when the folder is not empty, an id is outside the vocabulary, or no family fits.
    """
    family, target = family_of(model.config), Path(folder)
    for name, value in (("end", end), ("padding", padding), ("begin", begin)):
        if value is not None and not 0 <= value < model.config.vocabulary:
            raise ConversionError(f"{name} token {value} is outside the vocabulary of {model.config.vocabulary}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConversionError(f"{target} exists and is not empty: save into a new folder")
    files = [Path(file) for file in tokenizer_files]
    if missing := [str(file) for file in files if not file.is_file()]:
        raise ConversionError(f"tokenizer files not found: {', '.join(missing)}")
    target.mkdir(parents=True, exist_ok=True)
    tensors = to_names(model.state_dict(), model.config, family)
    special = {"eos_token_id": end, "pad_token_id": padding, "bos_token_id": begin}
    precision = str(next(model.parameters()).dtype).removeprefix("torch.")
    document = to_config(model.config, family) | special | {"dtype": precision}
    _write_tensors(tensors, target, shard_bytes)
    for file in files:
        shutil.copyfile(file, target / file.name)
    _write_json(target / "generation_config.json", {k: v for k, v in special.items() if v is not None})
    _write_json(target / "config.json", document)


def load_huggingface(
    folder: str | Path,
    *,
    config: TransformerConfig | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> Transformer:
    """Read a folder (one safetensors file or an index of shards) in the precision it has, or in `dtype`.

    `config` replaces `config.json`. Raises `ConversionError` naming every missing, unknown or mis-shaped tensor, and
    every setting of `config.json` that the model here does not have.
    """
    source = Path(folder)
    family = None
    if config is None:
        family, config = read_config(source)
    tensors = _read_tensors(source, str(device))
    family = family or guess_family(tensors, config)
    state = from_names(tensors, config, family)
    if dtype is not None:
        state = {name: tensor.to(dtype) for name, tensor in state.items()}
    model = Transformer(config, device="meta")
    model.load_state_dict(state, assign=True)
    return model


def read_config(folder: str | Path) -> tuple[str, TransformerConfig]:
    """The family and configuration in a folder's `config.json`."""
    path = Path(folder) / "config.json"
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        raise ConversionError(f"{path} does not exist: is this a model folder?") from None
    except ValueError as error:
        raise ConversionError(f"{path} is not JSON: {error}") from None
    family = document.get("model_type") if isinstance(document, dict) else None
    if family not in FAMILIES:
        raise ConversionError(f"{path}: model_type {family!r} is not one of {', '.join(FAMILIES)}")
    return family, from_config(document, family)


def _read_tensors(folder: Path, device: str) -> dict[str, Tensor]:
    index = folder / INDEX
    if index.is_file():
        files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    elif (folder / WEIGHTS).is_file():
        files = [WEIGHTS]
    else:
        raise ConversionError(f"{folder} has neither {WEIGHTS} nor {INDEX}; other weight formats are not read")
    tensors: dict[str, Tensor] = {}
    for file in files:
        if Path(file).name != file:
            raise ConversionError(f"{index} points outside its folder: {file!r}")
        try:
            with safe_open(folder / file, framework="pt", device=device) as opened:
                tensors |= {_prefixed(name): opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ConversionError(f"{folder / file} cannot be read as safetensors: {error}") from None
    return tensors


def _prefixed(name: str) -> str:
    # Checkpoints of the original OLMo code lack the outer "model." of their Hugging Face form.
    return f"model.{name}" if name.startswith("transformer.") else name


def _write_tensors(tensors: Mapping[str, Tensor], folder: Path, shard_bytes: int) -> None:
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor.detach().cpu().contiguous()
        size += tensor.nbytes
    if len(shards) == 1:
        save_file(shards[0], folder / WEIGHTS, metadata={"format": "pt"})
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(shard, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n")
