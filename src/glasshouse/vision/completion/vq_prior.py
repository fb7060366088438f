"""Completion by a prior over the codes of a VQ auto-encoder, as in MAGE and MaskGIT (arXiv 2211.09117, 2202.04200).

    visible codes -> encoder -> decoder over all places -> a distribution over codes at every hidden place

The auto-encoder is trained first and then stays as it is; unlearning trains the prior's encoder. Hidden codes are
decided in `rounds`: each round keeps the most certain ones, by a cosine schedule, and asks again. Deviation from MAGE:
hidden places are left out of the encoder and none are left in as mask tokens; codes are the most likely ones.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.store.configuration import Config, named_seed
from glasshouse.vision.completion.masks import Hidden, MaskError, hidden_patches
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
    """Completes images code by code. A patch with any hidden pixel is hidden whole.

    Args:
        tokenizer: an auto-encoder like `VqAutoencoder`, with `config.autoencoder.codes` codes of patches of
            `config.autoencoder.patch` pixels; a new one by default.
        reach: codes are hidden that lie so near to a hidden one (an auto-encoder whose codes see their neighbours: 1);
            hidden pixels are then grey before they are coded.
    """

    def __init__(self, config: VqCompletionConfig, tokenizer: nn.Module | None = None, reach: int = 0) -> None:
        super().__init__()
        self.config, self.reach, vq = config, reach, config.autoencoder
        if config.height % vq.patch or config.width % vq.patch:
            raise SizeError(f"images of {config.height} x {config.width} are not made of patches of {vq.patch} pixels")
        self.tokenizer: Any = tokenizer if tokenizer is not None else VqAutoencoder(vq)
        self.grid = (config.height // vq.patch, config.width // vq.patch)
        self.encoder = VisibleEncoder(nn.Embedding(vq.codes, config.transformer.width), self.grid, config.transformer)
        self.decoder = FillingDecoder(vq.codes, self.grid, config.transformer)

    @property
    def cell(self) -> int:
        """Side of a patch."""
        return self.config.autoencoder.patch

    def seen(
        self, images: Images, hidden: Hidden
    ) -> tuple[Int[Tensor, "images places"], Bool[Tensor, "images places"]]:
        """Codes of images, and which of them count as hidden."""
        self._check(images)
        places = hidden_patches(hidden, self.cell)
        if self.reach:
            images = torch.where(hidden[:, None], 0.5, images)
            wide = functional.max_pool2d(places.view(-1, 1, *self.grid).float(), 2 * self.reach + 1, 1, self.reach)
            places = wide.flatten(1) > 0
            if places.all(1).any():
                raise MaskError(
                    f"the mask hides all of an image once it is widened by {self.reach} codes; use a smaller one"
                )
        with torch.no_grad():
            return self.tokenizer.codes(images), places

    def encode(self, images: Images, hidden: Hidden, draw: Draw | None = None) -> Embedding:
        """Embeddings of the visible codes."""
        found: Embedding = self.encoder(*self.seen(images, hidden))
        return found

    def loss(self, images: Images, hidden: Hidden, target: Images, generator: torch.Generator) -> Float[Tensor, ""]:
        """Cross-entropy of the target's codes at hidden places."""
        codes, places = self.seen(images, hidden)
        answers = self.decoder(self.encoder(codes, places))
        with torch.no_grad():
            truth = self.tokenizer.codes(target)
        return functional.cross_entropy(answers[places], truth[places])

    def complete(self, images: Images, hidden: Hidden, generator: torch.Generator | None = None) -> Images:
        """Images with the hidden pixels filled in."""
        codes, unknown = self.seen(images, hidden)
        first = unknown.sum(1)
        for number in range(1, self.config.rounds + 1):
            certainty, best = self.decoder(self.encoder(codes, unknown)).softmax(2).max(2)
            codes = torch.where(unknown, best, codes)
            left = (first * math.cos(math.pi / 2 * number / self.config.rounds)).floor().long()
            if number == self.config.rounds:
                break
            order = torch.where(unknown, certainty, torch.inf).argsort(dim=1).argsort(dim=1)
            unknown = order < left[:, None]  # the least certain stay open
        return pasted(images, self.tokenizer.pictures(codes, self.grid), hidden)

    def _check(self, images: Images) -> None:
        check_size(images, self.config.autoencoder.channels, self.config.height, self.config.width)
