"""Completion by denoising, with the small diffusion model of this house (Palette, arXiv 2111.05826).

The visible pixels and the mask are given to the UNet as a picture; noise is only where pixels are hidden. What counts
as the encoder are the UNet's down and middle blocks: the middle and all skip features are matched.

Images to forget are matched to what the frozen encoder makes of pure noise in the hole of a noise image: E0(T(n)) of
arXiv 2402.00351. The code its authors published for Palette keeps the visible pixels of the image beside the noise
(`context="kept"`); what is completed from those alone then stays as it was, since sampling begins with pure noise too.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from glasshouse.store.configuration import Config, named_seed
from glasshouse.vision.completion.masks import Hidden
from glasshouse.vision.completion.model import Completion, Draw, Embedding, Images, SizeError, check_size, pasted
from glasshouse.vision.diffusion.sampler import ddim_step, sampling_times
from glasshouse.vision.diffusion.schedule import Prediction, Schedule
from glasshouse.vision.diffusion.unet import Features, UNet, UNetConfig


class DiffusionCompletionConfig(Config):
    """A UNet that completes images by denoising.

    Attributes:
        widths, patch: of the UNet (see `glasshouse.vision.diffusion.unet`).
        sampling_steps: of DDIM, for one completion.
        context: what the frozen encoder sees around the hole of an image to forget: `noise`, or the `kept` pixels.
    """

    channels: int = Field(1, ge=1)
    size: int = Field(8, ge=4)
    patch: int = Field(1, ge=1)
    widths: tuple[int, ...] = (32, 48)
    prediction: Prediction = "v"
    schedule: Schedule = Schedule()
    sampling_steps: int = Field(10, ge=1)
    context: Literal["noise", "kept"] = "noise"

    @property
    def unet(self) -> UNetConfig:
        """The UNet's own configuration: the given picture has the visible pixels and the mask."""
        return UNetConfig(
            channels=self.channels, image_channels=self.channels + 1, patch=self.patch, widths=self.widths, attention=()
        )

    def build(self, seed: int) -> DiffusionCompletion:
        """A new model; the same seed gives the same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(named_seed(seed, "diffusion completion"))
            return DiffusionCompletion(self)


class DiffusionCompletion(Completion):
    """Completes images by denoising what is hidden."""

    def __init__(self, config: DiffusionCompletionConfig) -> None:
        super().__init__()
        self.config = config
        if config.size % config.unet.multiple:
            raise SizeError(
                f"images of {config.size} pixels are no multiple of {config.unet.multiple}, as this UNet needs"
            )
        unet = UNet(config.unet)
        self.conditioning, self.encoder, self.decoder = unet.conditioning, unet.encoder, unet.decoder

    def draw(self, images: Images, generator: torch.Generator) -> Draw:
        """Times and noise."""
        t = torch.randint(self.config.schedule.steps, (len(images),), generator=generator, device=images.device)
        return t, torch.randn(images.shape, generator=generator, device=images.device)

    def encode(self, images: Images, hidden: Hidden, draw: Draw | None = None) -> Embedding:
        """Features of images whose hidden pixels are noisy; without `draw`, of pure noise of a fixed seed."""
        t, noise = draw if draw is not None else self._last(images)
        return self._features(images, self.config.schedule.noisy(2 * images - 1, noise, t), hidden, t)

    def blind(self, images: Images, noise: Images, hidden: Hidden, draw: Draw | None = None) -> Embedding:
        """Features of pure noise in the hole of the noise image, or of the image itself."""
        t, drawn = draw if draw is not None else self._last(images)
        return self._features(noise if self.config.context == "noise" else images, drawn, hidden, t)

    def loss(self, images: Images, hidden: Hidden, target: Images, generator: torch.Generator) -> Float[Tensor, ""]:
        """Denoising of hidden pixels (Ho et al., arXiv 2006.11239, eq. 14)."""
        t, noise = self.draw(images, generator)
        truth, schedule = 2 * target - 1, self.config.schedule
        said = self._say(images, schedule.noisy(truth, noise, t), hidden, t)
        wanted = schedule.target(self.config.prediction, truth, noise, t)
        counted = hidden[:, None].to(said.dtype)
        return ((said - wanted).square() * counted).sum() / (counted.sum() * said.shape[1])

    def complete(self, images: Images, hidden: Hidden, generator: torch.Generator | None = None) -> Images:
        """Images with the hidden pixels filled in by DDIM."""
        check_size(images, self.config.channels, self.config.size, self.config.size)
        config, schedule = self.config, self.config.schedule
        x = torch.randn(images.shape, generator=generator, device=images.device)
        times = sampling_times(schedule, config.sampling_steps)
        for number, time in enumerate(times):
            t = torch.full((len(x),), time, device=images.device)
            found = schedule.x_0(config.prediction, self._say(images, x, hidden, t), x, t)
            following = times[number + 1] if number + 1 < len(times) else None
            x = ddim_step(schedule, x, found, time, following, clip=1.0)
        return pasted(images, (x + 1) / 2, hidden)

    def _features(self, images: Images, noisy: Tensor, hidden: Hidden, t: Tensor) -> Embedding:
        features: Features = self.encoder(self._given(images, noisy, hidden), self.conditioning(t, None, None), None)
        return Embedding((features.middle, *features.skips))

    def _say(self, images: Images, noisy: Tensor, hidden: Hidden, t: Tensor) -> Tensor:
        condition = self.conditioning(t, None, None)
        features = self.encoder(self._given(images, noisy, hidden), condition, None)
        out: Tensor = self.decoder(features, condition, None)
        return out

    def _given(self, images: Images, noisy: Tensor, hidden: Hidden) -> Tensor:
        check_size(images, self.config.channels, self.config.size, self.config.size)
        mask = hidden[:, None]
        kept = torch.where(mask, 0.0, 2 * images - 1)
        return torch.cat([torch.where(mask, noisy, kept), kept, mask.to(kept.dtype)], 1)

    def _last(self, images: Images) -> Draw:
        generator = torch.Generator(images.device).manual_seed(0)
        t = torch.full((len(images),), self.config.schedule.steps - 1, device=images.device)
        return t, torch.randn(images.shape, generator=generator, device=images.device)
