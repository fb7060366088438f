"""A diffusion model: a UNet, its schedule, what it predicts, and a text encoder where it is conditioned on text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from glasshouse.store.configuration import Config, named_seed
from glasshouse.vision.diffusion.guidance import guided
from glasshouse.vision.diffusion.schedule import Prediction, Schedule
from glasshouse.vision.diffusion.text import TextConfig, TextEncoder
from glasshouse.vision.diffusion.unet import UNet, UNetConfig


class DiffusionConfig(Config):
    """What a diffusion model is made of.

    Attributes:
        size: side of its pictures in pixels.
        prediction: what the UNet says about x_t: `eps`, `x0` or `v`.
        text: None for a model without text.
    """

    size: int = Field(32, ge=1)
    prediction: Prediction = "v"
    schedule: Schedule = Schedule()
    unet: UNetConfig = UNetConfig()
    text: TextConfig | None = None

    @model_validator(mode="after")
    def _fits(self) -> DiffusionConfig:
        if self.size % self.unet.multiple:
            raise ValueError(f"size={self.size} is not a multiple of {self.unet.multiple}, which this UNet needs")
        if self.text is not None and self.text.width != self.unet.token_width:
            raise ValueError(f"text.width={self.text.width} has to be unet.token_width={self.unet.token_width}")
        return self


class DiffusionModel(nn.Module):
    """Pictures in [-1, 1] from noise. Deterministic in `seed`."""

    def __init__(self, config: DiffusionConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(named_seed(seed, "diffusion model"))
            self.unet = UNet(config.unet)
            self.text = TextEncoder(config.text) if config.text is not None else None

    @property
    def schedule(self) -> Schedule:
        """Noise by time."""
        return self.config.schedule

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def tokens(self, prompts: Sequence[str]) -> Float[Tensor, "n l d"]:
        """Prompts encoded. Raises `PromptError` for what the encoder does not know."""
        return self.encoder.encode(prompts)

    def null_tokens(self, count: int = 1) -> Float[Tensor, "n l d"]:
        """The empty condition."""
        return self.encoder.encode_nothing().expand(count, -1, -1)

    def forward(
        self,
        x: Float[Tensor, "n c h w"],
        t: Int[Tensor, " n"],
        tokens: Float[Tensor, "n l d"] | None = None,
        camera: Float[Tensor, "n k"] | None = None,
        image: Float[Tensor, "n i h w"] | None = None,
    ) -> Float[Tensor, "n c h w"]:
        """The UNet's prediction for x_t."""
        out: Tensor = self.unet(x, t, tokens, camera, image)
        return out

    def predict(
        self,
        x: Float[Tensor, "n c h w"],
        t: Int[Tensor, " n"],
        tokens: Float[Tensor, "n l d"] | None = None,
        camera: Float[Tensor, "n k"] | None = None,
        image: Float[Tensor, "n i h w"] | None = None,
        *,
        guidance: float = 1.0,
    ) -> Float[Tensor, "n c h w"]:
        """The prediction for x_t under guidance (see `guidance.guided`): both sides in one pass of the UNet."""
        if guidance == 1.0 or tokens is None:
            return self(x, t, tokens, camera, image)  # type: ignore[no-any-return]
        both = [None if part is None else torch.cat([part, part]) for part in (x, t, camera, image)]
        nothing = self.null_tokens(len(x)).to(tokens.dtype)
        out = self.unet(both[0], both[1], torch.cat([nothing, tokens]), both[2], both[3])
        unconditional, conditional = out.chunk(2)
        return guided(unconditional, conditional, guidance)

    def eps(self, x: Tensor, t: Tensor, *conditions: Tensor | None, guidance: float = 1.0) -> Tensor:
        """The noise in x_t; conditions are tokens, camera and image, in this order."""
        said = self.predict(x, t, *conditions, guidance=guidance)
        return self.schedule.eps(self.config.prediction, said, x, t)

    def x_0(self, x: Tensor, t: Tensor, *conditions: Tensor | None, guidance: float = 1.0) -> Tensor:
        """The picture under x_t; conditions are tokens, camera and image, in this order."""
        said = self.predict(x, t, *conditions, guidance=guidance)
        return self.schedule.x_0(self.config.prediction, said, x, t)

    @property
    def encoder(self) -> TextEncoder:
        """The text encoder. Raises `ValueError` for a model without one."""
        if self.text is None:
            raise ValueError("this diffusion model has no text encoder: it is not conditioned on text")
        return self.text


__all__ = ["DiffusionConfig", "DiffusionModel"]
