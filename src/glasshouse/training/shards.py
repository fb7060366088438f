"""Tensors spread over processes: which part this one holds, and files of parts that any number of processes can read.

Files are in the safetensors form of PyTorch's distributed checkpoints (DCP): each process writes the parts it owns, and
the header says where each part begins (`DCP_SHARDING_INFO`), so that DCP's own `HuggingFaceStorageReader` reads a
checkpoint too. A file without that header holds whole tensors. DCP's default form is not used, because its index is a
pickle; nor is its writer, which builds every file in memory once more, sends plans between processes as pickle and
records no hashes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

SHARDING = "DCP_SHARDING_INFO"


class CheckpointError(RuntimeError):
    """A checkpoint could not be written or does not fit the modules."""


class Part(NamedTuple):
    """A box of a tensor: where it begins and its values."""

    offsets: tuple[int, ...]
    values: Tensor

    @property
    def box(self) -> tuple[slice, ...]:
        """Where it lies in the whole tensor."""
        return tuple(slice(start, start + size) for start, size in zip(self.offsets, self.values.shape, strict=True))


def part_of(tensor: Tensor) -> Part:
    """The part of a tensor that this process holds; the whole of one that is not spread."""
    values = tensor.detach()
    if not isinstance(values, DTensor):
        return Part((0,) * values.ndim, values)
    (chunk,) = values.__create_chunk_list__()  # type: ignore[no-untyped-call]
    local = values.to_local()
    if not local.numel():  # there are more processes than rows
        return Part((0,) * local.ndim, local)
    return Part(tuple(chunk.offsets), local)


def owned(tensor: Tensor, place: Mapping[str, int]) -> bool:
    """Whether this process writes its part: of equal copies the first process writes one, and empty parts nobody.

    `place` is where this process stands in each direction of the whole layout, by the direction's name.
    """
    spread: set[str] = set()
    if isinstance(tensor, DTensor):
        if not tensor.to_local().numel():
            return False
        names = tensor.device_mesh.mesh_dim_names or ()
        kinds = zip(names, tensor.placements, strict=True)
        spread = {name for name, kind in kinds if not isinstance(kind, Replicate)}
    return all(where == 0 for name, where in place.items() if name not in spread)


def put(target: Tensor, values: Tensor) -> None:
    """Copy a whole tensor into one that may be spread; every process copies its own part."""
    part = part_of(target)
    part.values.copy_(values[part.box])


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be spread; for one that is, all processes make this call."""
    return tensor.full_tensor().detach() if isinstance(tensor, DTensor) else tensor.detach()


def tensors_hash(named: Iterable[tuple[str, Tensor]]) -> str:
    """sha256 (hex) over names, types, shapes and bytes, in order; for spread tensors a call of all processes."""
    digest = hashlib.sha256()
    for name, tensor in named:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(whole(tensor).cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_parts(parts: Mapping[str, Part], path: Path, *, spread: bool) -> None:
    """Write parts by name; `spread` says that other files hold the rest."""
    places = {name: {"saved_offsets": list(part.offsets)} for name, part in parts.items()}
    # One entry, because safetensors writes several in an order that changes from process to process.
    header = {SHARDING: json.dumps(places, sort_keys=True)} if spread else None
    save_file({name: part.values.contiguous() for name, part in parts.items()}, path, metadata=header)


class _Box(NamedTuple):
    file: Any
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]


class StoredTensors(Mapping[str, Tensor]):
    """Whole tensors by name out of files of parts, read when asked for; a context manager that closes the files.

    Raises `CheckpointError` for a file that is not safetensors.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._boxes: dict[str, list[_Box]] = {}
        self._closing = ExitStack()
        for path in paths:
            try:
                file = self._closing.enter_context(safe_open(path, framework="pt"))
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from None
            places = json.loads((file.metadata() or {}).get(SHARDING, "{}"))
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                sizes = tuple(file.get_slice(name).get_shape())
                offsets = tuple(places[name]["saved_offsets"]) if name in places else (0,) * len(sizes)
                self._boxes.setdefault(name, []).append(_Box(file, offsets, sizes))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._boxes)

    def __len__(self) -> int:
        return len(self._boxes)

    def __getitem__(self, name: str) -> Tensor:
        shape = self.shape(name)
        return self.read(name, (0,) * len(shape), shape)

    def shape(self, name: str) -> torch.Size:
        """Shape of the whole tensor."""
        ends = [[o + s for o, s in zip(box.offsets, box.sizes, strict=True)] for box in self._boxes[name]]
        return torch.Size(max(sizes) for sizes in zip(*ends, strict=True))

    def dtype(self, name: str) -> torch.dtype:
        """Data type, without reading more than an element."""
        box = self._boxes[name][0]
        return (
            self._values(name, box, [slice(0, min(1, size)) for size in box.sizes]).dtype
            if box.sizes
            else self[name].dtype
        )

    def read(self, name: str, offsets: tuple[int, ...], sizes: Iterable[int]) -> Tensor:
        """A box of a tensor, put together from the parts that overlap it."""
        sizes = tuple(sizes)
        boxes = self._boxes[name]
        for box in boxes:
            if (box.offsets, box.sizes) == (offsets, sizes):
                tensor: Tensor = box.file.get_tensor(name)
                return tensor
        found = torch.empty(sizes, dtype=self.dtype(name))
        filled = 0
        for box in boxes:
            spans = [
                (max(mine, theirs), min(mine + size, theirs + length))
                for mine, size, theirs, length in zip(offsets, sizes, box.offsets, box.sizes, strict=True)
            ]
            if any(start >= stop for start, stop in spans):
                continue
            source = [slice(start - o, stop - o) for (start, stop), o in zip(spans, box.offsets, strict=True)]
            target = tuple(slice(start - o, stop - o) for (start, stop), o in zip(spans, offsets, strict=True))
            found[target] = self._values(name, box, source)
            filled += math.prod(stop - start for start, stop in spans)
        if filled != found.numel():
            raise CheckpointError(f"the files hold {filled} of the {found.numel()} values of {name} that are needed")
        return found

    @staticmethod
    def _values(name: str, box: _Box, region: list[slice]) -> Tensor:
        values: Tensor = box.file.get_slice(name)[tuple(region)]
        return values
