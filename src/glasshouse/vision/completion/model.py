"""What unlearning asks of a model that completes images: an encoder, a decoder, and a loss.

Images are `[images, channels, height, width]` in [0, 1]; a mask is true where a pixel is hidden (see
`glasshouse.vision.completion.masks`). A model looks at the visible pixels only: what stands under the mask must not
change what `encode` gives.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glasshouse.training.shards import tensors_hash
from glasshouse.vision.completion.masks import Hidden

Images = Float[Tensor, "images channels height width"]
Draw = tuple[Tensor, ...]


@dataclasses.dataclass(frozen=True)
class Embedding:
    """What an encoder says of masked images, and what is matched when a model unlearns.

    Attributes:
        layers: one or more tensors whose first dimension is the image.
        places: of a model of patches, which patch each row of `[images, rows, width]` stands for.
        valid: which of those rows count, when images differ in how many patches they show.
    """

    layers: tuple[Tensor, ...]
    places: Tensor | None = None
    valid: Bool[Tensor, "images rows"] | None = None

    def rows(self, first: int, last: int) -> Embedding:
        """Those of some images."""
        part = slice(first, last)
        places, valid = (None if found is None else found[part] for found in (self.places, self.valid))
        return Embedding(tuple(layer[part] for layer in self.layers), places, valid)

    def flat(self) -> Float[Tensor, "images features"]:
        """One vector per image: the mean over places of every layer, one layer after the other."""
        parts = []
        for layer in self.layers:
            if layer.ndim == 4:
                parts.append(layer.mean((2, 3)))
            elif self.valid is None:
                parts.append(layer.mean(1))
            else:
                counted = self.valid[..., None].to(layer.dtype)
                parts.append((layer * counted).sum(1) / counted.sum(1))
        return torch.cat(parts, 1)


class SizeError(ValueError):
    """Images do not fit a model."""


def check_size(images: Images, channels: int, height: int, width: int) -> None:
    """Raises `SizeError` when images are of another size than a model's."""
    if tuple(images.shape[1:]) != (channels, height, width):
        raise SizeError(
            f"this model completes images of {channels} x {height} x {width} (channels, height, width), "
            f"got {' x '.join(map(str, images.shape[1:]))}"
        )


class Completion(nn.Module):
    """A model that completes images. Unlearning trains its `encoder` and leaves everything else, the decoder, alone."""

    encoder: nn.Module

    def encode(self, images: Images, hidden: Hidden, draw: Draw | None = None) -> Embedding:
        """What the encoder makes of the visible pixels; `draw` is what `draw` gave, for models that need chance."""
        raise NotImplementedError

    def draw(self, images: Images, generator: torch.Generator) -> Draw | None:
        """The random numbers of one pass (diffusion: times and noise), the same for teacher and student."""
        return None

    def blind(self, images: Images, noise: Images, hidden: Hidden, draw: Draw | None = None) -> Embedding:
        """What the encoder makes of a noise image under the same mask: E0(T(n)), the paper's target for forgetting."""
        return self.encode(noise, hidden, draw)

    def loss(self, images: Images, hidden: Hidden, target: Images, generator: torch.Generator) -> Float[Tensor, ""]:
        """The model's own training loss, with `target` as the truth under the mask."""
        raise NotImplementedError

    def complete(self, images: Images, hidden: Hidden, generator: torch.Generator | None = None) -> Images:
        """Images with the hidden pixels filled in; visible ones stay as they are."""
        raise NotImplementedError

    @property
    def cell(self) -> int:
        """Side of the squares of pixels that are hidden whole."""
        return 1


def encoder_hash(model: Completion) -> str:
    """sha256 of the encoder's weights."""
    return tensors_hash(sorted(model.encoder.state_dict().items()))


def decoder_hash(model: Completion) -> str:
    """sha256 of all weights that are not the encoder's."""
    mine = {id(tensor) for tensor in model.encoder.state_dict(keep_vars=True).values()}
    rest = {name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if id(tensor) not in mine}
    return tensors_hash(sorted(rest.items()))


def distance(student: Embedding, teacher: Embedding) -> Float[Tensor, ""]:
    """Mean square over what is matched, every layer with the same weight; 0 for no images."""
    total = student.layers[0].new_zeros(())
    if not len(student.layers[0]):
        return total
    for mine, theirs in zip(student.layers, teacher.layers, strict=True):
        error = (mine - theirs).square()
        if student.valid is None or error.ndim != 3:
            total = total + error.mean()
        else:
            counted = student.valid[..., None].to(error.dtype)
            total = total + (error * counted).sum() / (counted.sum() * error.shape[-1])
    return total / len(student.layers)


def pasted(images: Images, filled: Images, hidden: Hidden) -> Images:
    """`filled` where pixels are hidden, `images` elsewhere, in [0, 1]."""
    return torch.where(hidden[:, None], filled.clamp(0, 1), images)
