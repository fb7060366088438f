"""Completion by a prior over the codes of a VQ auto-encoder, as in MAGE and MaskGIT (arXiv 2211.09117, 2202.04200).

    visible codes -> encoder -> decoder over all places -> a distribution over codes at every hidden place

The auto-encoder is trained first and then stays as it is; unlearning trains the prior's encoder. Hidden codes are
decided in `rounds`: each round keeps the most certain ones, by a cosine schedule, and asks again. Deviation from MAGE:
hidden places are left out of the encoder and none are left in as mask tokens; codes are the most likely ones.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.store.configuration import Config, named_seed
from glasshouse.vision.completion.masks import Hidden, hidden_patches
from glasshouse.vision.completion.model import Completion, Draw, Embedding, Images, SizeError, check_size, pasted
from glasshouse.vision.completion.visible import FillingDecoder, GridTransformer, VisibleEncoder
from glasshouse.vision.completion.vq import VqAutoencoder, VqConfig


class VqCompletionConfig(Config):
    """An auto-encoder, and a prior over its codes for images of one size.

    Attributes:
        rounds: in how many rounds hidden codes are decided.
    """

    autoencoder: VqConfig = VqConfig()
    height: int = Field(8, ge=2)
    width: int = Field(8, ge=2)
    transformer: GridTransformer = GridTransformer()
    rounds: int = Field(4, ge=1)

    def build(self, seed: int) -> VqCompletion:
        """A new model; the same seed gives the same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(named_seed(seed, "vq completion"))
            return VqCompletion(self)


class VqCompletion(Completion):
    """Completes images code by code. A patch with any hidden pixel is hidden whole."""

    def __init__(self, config: VqCompletionConfig) -> None:
        super().__init__()
        self.config, vq = config, config.autoencoder
        if config.height % vq.patch or config.width % vq.patch:
            raise SizeError(f"images of {config.height} x {config.width} are not made of patches of {vq.patch} pixels")
        self.tokenizer = VqAutoencoder(vq)
        grid = (config.height // vq.patch, config.width // vq.patch)
        self.encoder = VisibleEncoder(nn.Embedding(vq.codes, config.transformer.width), grid, config.transformer)
        self.decoder = FillingDecoder(vq.codes, grid, config.transformer)

    @property
    def cell(self) -> int:
        """Side of a patch."""
        return self.config.autoencoder.patch

    def encode(self, images: Images, hidden: Hidden, draw: Draw | None = None) -> Embedding:
        """Embeddings of the visible codes."""
        self._check(images)
        with torch.no_grad():
            codes = self.tokenizer.codes(images)
        found: Embedding = self.encoder(codes, hidden_patches(hidden, self.cell))
        return found

    def loss(self, images: Images, hidden: Hidden, target: Images, generator: torch.Generator) -> Float[Tensor, ""]:
        """Cross-entropy of the target's codes at hidden places."""
        answers = self.decoder(self.encode(images, hidden))
        with torch.no_grad():
            truth = self.tokenizer.codes(target)
        places = hidden_patches(hidden, self.cell)
        return functional.cross_entropy(answers[places], truth[places])

    def complete(self, images: Images, hidden: Hidden, generator: torch.Generator | None = None) -> Images:
        """Images with the hidden pixels filled in."""
        self._check(images)
        codes, unknown = self.tokenizer.codes(images), hidden_patches(hidden, self.cell)
        first = unknown.sum(1)
        for number in range(1, self.config.rounds + 1):
            certainty, best = self.decoder(self.encoder(codes, unknown)).softmax(2).max(2)
            codes = torch.where(unknown, best, codes)
            left = (first * math.cos(math.pi / 2 * number / self.config.rounds)).floor().long()
            if number == self.config.rounds:
                break
            order = torch.where(unknown, certainty, torch.inf).argsort(dim=1).argsort(dim=1)
            unknown = order < left[:, None]  # the least certain stay open
        filled = self.tokenizer.images(self.tokenizer.codebook(codes), self.tokenizer.grid(images))
        return pasted(images, filled, hidden)

    def _check(self, images: Images) -> None:
        check_size(images, self.config.autoencoder.channels, self.config.height, self.config.width)
