"""A masked auto-encoder that completes images (He et al., arXiv 2111.06377), written plainly.

    patches -> linear + position -> encoder over visible patches -> decoder over all places -> pixels
    loss: mean square over hidden patches only

Deviations: no class token; targets are pixels, not pixels normalised by patch; one width for encoder and decoder.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from glasshouse.store.configuration import Config, named_seed
from glasshouse.vision.completion.masks import Hidden, hidden_patches
from glasshouse.vision.completion.model import Completion, Draw, Embedding, Images, SizeError, check_size, pasted
from glasshouse.vision.completion.visible import FillingDecoder, GridTransformer, VisibleEncoder


class MaskedAutoencoderConfig(Config):
    """A masked auto-encoder; images are `channels` x `height` x `width`, patches `patch` pixels on a side."""

    channels: int = Field(1, ge=1)
    height: int = Field(8, ge=2)
    width: int = Field(8, ge=2)
    patch: int = Field(2, ge=1)
    transformer: GridTransformer = GridTransformer()

    def build(self, seed: int) -> MaskedAutoencoder:
        """A new model; the same seed gives the same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(named_seed(seed, "masked auto-encoder"))
            return MaskedAutoencoder(self)


class MaskedAutoencoder(Completion):
    """Completes images from their visible patches. A patch with any hidden pixel is hidden whole."""

    def __init__(self, config: MaskedAutoencoderConfig) -> None:
        super().__init__()
        self.config, patch = config, config.patch
        if config.height % patch or config.width % patch:
            raise SizeError(f"images of {config.height} x {config.width} are not made of patches of {patch} pixels")
        grid, pixels = (config.height // patch, config.width // patch), config.channels * patch**2
        self.encoder = VisibleEncoder(nn.Linear(pixels, config.transformer.width), grid, config.transformer)
        self.decoder = FillingDecoder(pixels, grid, config.transformer)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    @property
    def cell(self) -> int:
        """Side of a patch."""
        return self.config.patch

    def patches(self, images: Images) -> Float[Tensor, "images places pixels"]:
        """Images as rows of patches, in [-1, 1]."""
        c = self.config
        check_size(images, c.channels, c.height, c.width)
        cells = images.view(len(images), c.channels, c.height // c.patch, c.patch, c.width // c.patch, c.patch)
        return 2 * cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2) - 1

    def images(self, patches: Float[Tensor, "images places pixels"]) -> Images:
        """The inverse of `patches`."""
        c = self.config
        cells = patches.view(len(patches), c.height // c.patch, c.width // c.patch, c.channels, c.patch, c.patch)
        return (cells.permute(0, 3, 1, 4, 2, 5).reshape(len(patches), c.channels, c.height, c.width) + 1) / 2

    def encode(self, images: Images, hidden: Hidden, draw: Draw | None = None) -> Embedding:
        """Embeddings of the visible patches."""
        found: Embedding = self.encoder(self.patches(images), hidden_patches(hidden, self.config.patch))
        return found

    def loss(self, images: Images, hidden: Hidden, target: Images, generator: torch.Generator) -> Float[Tensor, ""]:
        """Mean square over hidden patches, in units of [-1, 1]."""
        answers = self.decoder(self.encode(images, hidden))
        counted = hidden_patches(hidden, self.config.patch)[..., None].to(answers.dtype)
        error = (answers - self.patches(target)).square().mean(2, keepdim=True)
        loss: Tensor = (error * counted).sum() / counted.sum()
        return loss

    def complete(self, images: Images, hidden: Hidden, generator: torch.Generator | None = None) -> Images:
        """Images with the hidden pixels filled in."""
        return pasted(images, self.images(self.decoder(self.encode(images, hidden))), hidden)
