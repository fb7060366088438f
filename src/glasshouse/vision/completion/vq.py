"""A vector-quantised auto-encoder (van den Oord et al., arXiv 1711.00937): images as a grid of whole numbers.

    loss = |x - x'|^2 + |sg(z) - e|^2 + 0.25 |z - sg(e)|^2,   e the nearest code to z, gradients of e pass to z

The encoder sees each patch by itself, so that the code of a visible patch holds nothing of a hidden neighbour; the
decoder sees neighbours. Codes that are hardly used are put where the encoder's answers are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.store.configuration import Config
from glasshouse.training.objective import Loss, Step
from glasshouse.vision.completion.model import Images

FORGETTING = 0.95
"""How much of a code's past use counts after an update."""
UNUSED = 0.05
"""Codes used less often than this per batch are moved."""


class VqConfig(Config):
    """An auto-encoder of `patch` x `patch` pixels to one of `codes` numbers."""

    channels: int = Field(1, ge=1)
    patch: int = Field(2, ge=1)
    codes: int = Field(64, ge=2)
    code_width: int = Field(8, ge=1)
    hidden: int = Field(64, ge=1)


class VqAutoencoder(nn.Module):
    """Images to codes and back."""

    usage: Tensor

    def __init__(self, config: VqConfig) -> None:
        super().__init__()
        self.config, hidden, patch = config, config.hidden, config.patch
        self.into = nn.Sequential(
            nn.Conv2d(config.channels, hidden, patch, stride=patch), nn.GELU(),
            nn.Conv2d(hidden, hidden, 1), nn.GELU(), nn.Conv2d(hidden, config.code_width, 1),
        )  # fmt: skip
        self.out = nn.Sequential(
            nn.Conv2d(config.code_width, hidden, 1), nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, padding=1), nn.GELU(),
            nn.ConvTranspose2d(hidden, config.channels, patch, stride=patch),
        )  # fmt: skip
        self.codebook = nn.Embedding(config.codes, config.code_width)
        self.register_buffer("usage", torch.ones(config.codes))

    def vectors(self, images: Images) -> Float[Tensor, "images places width"]:
        """The encoder's answer at every place, row by row."""
        found: Tensor = self.into(2 * images - 1)
        return found.flatten(2).transpose(1, 2)

    def nearest(self, vectors: Float[Tensor, "images places width"]) -> Int[Tensor, "images places"]:
        """The code nearest to every vector."""
        codes = self.codebook.weight
        apart = codes.square().sum(1) - 2 * vectors @ codes.T
        return apart.argmin(-1)

    def codes(self, images: Images) -> Int[Tensor, "images places"]:
        """Images as codes, row by row."""
        return self.nearest(self.vectors(images))

    @property
    def patch(self) -> int:
        """Side of what one code stands for."""
        return self.config.patch

    def pictures(self, codes: Int[Tensor, "images places"], grid: tuple[int, int]) -> Images:
        """Images from codes on a grid of rows and columns."""
        return self.images(self.codebook(codes), grid)

    def images(self, vectors: Float[Tensor, "images places width"], grid: tuple[int, int]) -> Images:
        """Images from vectors of codes."""
        decoded: Tensor = self.out(vectors.transpose(1, 2).reshape(len(vectors), -1, *grid))
        return (decoded + 1) / 2

    def grid(self, images: Images) -> tuple[int, int]:
        """Rows and columns of codes of images."""
        return images.shape[2] // self.config.patch, images.shape[3] // self.config.patch


class VqObjective:
    """Reconstruction, codes and commitment. A batch is `{"images"}`."""

    unit = "images"

    def __init__(self, model: VqAutoencoder, commitment: float = 0.25) -> None:
        self.model, self.commitment = model, commitment
        self.learns: Mapping[str, nn.Module] = {"model": model}
        self.carries: Mapping[str, nn.Module] = {}
        self.frozen: Mapping[str, nn.Module] = {}
        self.configuration = {"commitment": commitment}
        self._seen: Tensor | None = None

    def weight(self, batch: Mapping[str, Tensor]) -> float:
        return float(len(batch["images"]))

    def loss(self, batch: Mapping[str, Tensor], step: Step) -> Loss:
        model, images = self.model, batch["images"]
        vectors = model.vectors(images)
        chosen = model.nearest(vectors.detach())
        quantised: Tensor = model.codebook(chosen)
        straight = vectors + (quantised - vectors).detach()
        seen = functional.mse_loss(model.images(straight, model.grid(images)), images)
        codes = functional.mse_loss(quantised, vectors.detach())
        commitment = functional.mse_loss(vectors, quantised.detach())
        used = torch.bincount(chosen.flatten(), minlength=len(model.usage)).to(model.usage.dtype)
        with torch.no_grad():
            model.usage.lerp_(used, 1 - FORGETTING)
        self._seen = vectors.detach().flatten(0, 1)
        return Loss(4 * seen + codes + self.commitment * commitment, {"reconstruction": seen.detach()})

    def after_step(self, step: Step) -> None:
        """Codes that are hardly used go to answers of the encoder in this batch."""
        model, seen = self.model, self._seen
        unused = (model.usage < UNUSED).nonzero().flatten()
        if seen is None or not len(unused) or step.progress > 0.8:
            return
        chosen = torch.randint(len(seen), (len(unused),), generator=step.generator, device=seen.device)
        model.codebook.weight[unused] = seen[chosen]
        model.usage[unused] = 1.0
