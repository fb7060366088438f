"""Weights on disk, a tensor at a time: safetensors files with an index read lazily, and written as shards.

Nothing here holds more than the tensors of one shard, so a model larger than memory can be copied or converted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.families import ConversionError, family_names
from glasshouse.nn.transformer import Transformer

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000
"""The Hub's own default."""


class WeightFiles:
    """The tensors of a folder by name, each read when it is asked for.

    Checkpoints of the original OLMo code lack the outer `model.` of their Hugging Face form; here they have it.
    Raises `ConversionError` when the folder has neither one safetensors file nor an index, or a file is damaged.
    """

    def __init__(self, folder: str | Path, device: torch.device | str = "cpu") -> None:
        self.folder = Path(folder)
        self._places: dict[str, tuple[Any, str]] = {}
        for file in _files(self.folder):
            try:
                opened: Any = safe_open(self.folder / file, framework="pt", device=str(device))
                self._places |= {_prefixed(name): (opened, name) for name in opened.keys()}  # noqa: SIM118
            except (SafetensorError, OSError) as error:
                raise ConversionError(f"{self.folder / file} cannot be read as safetensors: {error}") from None

    @property
    def names(self) -> list[str]:
        return list(self._places)

    def get(self, name: str) -> Tensor:
        """One tensor, whole."""
        opened, own = self._places[name]
        tensor: Tensor = opened.get_tensor(own)
        return tensor

    def rows(self, name: str, start: int, end: int) -> Tensor:
        """Rows `start` to `end` of one tensor."""
        opened, own = self._places[name]
        tensor: Tensor = opened.get_slice(own)[start:end]
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one tensor, without reading it."""
        opened, own = self._places[name]
        return tuple(opened.get_slice(own).get_shape())

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the first tensor: a model folder has one."""
        name = self.names[0]
        return self.rows(name, 0, 1).dtype


class OurTensors:
    """A folder's tensors under our names, whatever family they are stored as.

    Raises `ConversionError` naming every missing, unknown or mis-shaped tensor.
    """

    def __init__(self, files: WeightFiles, config: TransformerConfig, family: str) -> None:
        self._files = files
        shapes = shapes_of(config)
        self._places: dict[str, tuple[str, int, int]] = {}
        expected: dict[str, tuple[int, ...]] = {}
        for theirs, ours in family_names(config, family):
            start = 0
            for name in ours:
                self._places[name] = (theirs, start, start + shapes[name][0])
                start += shapes[name][0]
            expected[theirs] = (start, *shapes[ours[0]][1:])
        present = set(files.names)
        if any(name.endswith(".qweight") for name in present):
            raise ConversionError(
                f"{files.folder} holds layers packed by GPTQ, which are not converted: load it with load_huggingface, "
                "or take the model it was made from"
            )
        problems = [f"missing {name}" for name in expected if name not in present]
        problems += [
            f"{name} has shape {files.shape(name)}, expected {shape}"
            for name, shape in expected.items()
            if name in present and files.shape(name) != shape
        ]
        known = dict(family_names(config.but(tied=False), family))  # a tied head may be there as a copy
        problems += [f"unknown {name} {files.shape(name)}" for name in files.names if name not in known]
        if problems:
            raise ConversionError(f"{files.folder} does not fit its configuration ({family}): {'; '.join(problems)}")

    def __getitem__(self, name: str) -> Tensor:
        return self._files.rows(*self._places[name])


def shapes_of(config: TransformerConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a model of this configuration, by our names."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in Transformer(config).state_dict().items()}


def write_shards(
    sizes: Mapping[str, int], read: Callable[[str], Tensor], folder: Path, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write tensors of these `sizes` (bytes) as one safetensors file, or as shards with an index when they are more.

    A shard is filled in the given order; a tensor larger than a shard has one to itself. `read` is called once for
    every name, and at most a shard's tensors are alive at a time.
    """
    shards = _planned(sizes, shard_bytes)
    places: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = WEIGHTS if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {name: read(name).detach().cpu().contiguous() for name in names}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(names, file)
    if len(shards) > 1:
        write_json(folder / INDEX, {"metadata": {"total_size": sum(sizes.values())}, "weight_map": places})


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """A JSON file as Hugging Face writes it."""
    path.write_text(json.dumps(document, indent=2) + "\n")


def _planned(sizes: Mapping[str, int], shard_bytes: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _files(folder: Path) -> Iterable[str]:
    index = folder / INDEX
    if index.is_file():
        files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    elif (folder / WEIGHTS).is_file():
        files = [WEIGHTS]
    else:
        raise ConversionError(f"{folder} has neither {WEIGHTS} nor {INDEX}; other weight formats are not read")
    for file in files:
        if Path(file).name != file:
            raise ConversionError(f"{index} points outside its folder: {file!r}")
    return files


def _prefixed(name: str) -> str:
    return f"model.{name}" if name.startswith("transformer.") else name
