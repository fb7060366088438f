"""Models of diffusers as models that complete images: a `VQModel` under a prior, a UNet that inpaints.

What is learnt is saved by the library's own `save_pretrained`; nothing is fetched.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glasshouse.store.configuration import named_seed
from glasshouse.vision.completion.masks import Hidden
from glasshouse.vision.completion.model import Completion, Draw, Embedding, Images, SizeError, check_size, pasted
from glasshouse.vision.completion.visible import GridTransformer
from glasshouse.vision.completion.vq import VqConfig
from glasshouse.vision.completion.vq_prior import VqCompletion, VqCompletionConfig


class DiffusersTokenizer(nn.Module):
    """A `VQModel` as images to codes and back."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: Any = model
        self.patch = 2 ** (len(model.config.block_out_channels) - 1)

    def codes(self, images: Images) -> Int[Tensor, "images places"]:
        """Images as codes, row by row."""
        latents = self.model.encode(2 * images - 1).latents
        found: Tensor = self.model.quantize(latents)[2][2]
        return found.view(len(images), -1)

    def pictures(self, codes: Int[Tensor, "images places"], grid: tuple[int, int]) -> Images:
        """Images from codes on a grid of rows and columns."""
        shape = (len(codes), *grid, self.model.quantize.vq_embed_dim)
        vectors = self.model.quantize.get_codebook_entry(codes.flatten(), shape)
        decoded: Tensor = self.model.decode(vectors, force_not_quantize=True).sample
        return (decoded + 1) / 2


def prior_over(
    model: Any, height: int, width: int, transformer: GridTransformer | None = None, *, seed: int = 0
) -> VqCompletion:
    """A new prior over the codes of a `VQModel`, to be trained; the `VQModel` stays as it is.

    Its codes see their neighbours, so hidden pixels are grey when they are coded, and codes beside a hole count as
    hidden, as in the published code of arXiv 2402.00351.
    """
    tokenizer = DiffusersTokenizer(model).requires_grad_(False).eval()
    known = tokenizer.model.config
    config = VqCompletionConfig(
        autoencoder=VqConfig(channels=known.in_channels, patch=tokenizer.patch, codes=known.num_vq_embeddings),
        height=height,
        width=width,
        transformer=transformer or GridTransformer(),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(named_seed(seed, "prior over a VQModel"))
        return VqCompletion(config, tokenizer, reach=1)


class _SeenEnoughError(Exception):
    """Raised by a hook once the middle of a UNet has answered, so that its decoder is not computed in vain."""


class UNetCompletion(Completion):
    """Completes images with a `UNet2DModel` or `UNet2DConditionModel` in pixel space that takes, channel by channel,
    the noisy image, the mask and the visible pixels (the order of Stable Diffusion's inpainting models).

    Matched are the outputs of the down blocks and of the middle; learnt are the layers before the decoder. For images
    to forget the frozen model sees pure noise in the hole of a noise image, or of the image itself
    (see `glasshouse.vision.completion.diffusion`).

    Args:
        scheduler: of diffusers (`DDIMScheduler`, ...): gives noise, what is predicted, and the steps of sampling.
        text: what a conditional UNet is told, `[1, tokens, width]`; zeros by default.
        steps: of sampling.
        context: around the hole of an image to forget: `noise`, or the `kept` pixels.
    """

    def __init__(
        self,
        unet: Any,
        scheduler: Any,
        *,
        text: Tensor | None = None,
        steps: int = 10,
        context: Literal["noise", "kept"] = "noise",
    ) -> None:
        super().__init__()
        self.unet: Any = unet
        self.scheduler, self.steps, self.context = scheduler, steps, context
        config = unet.config
        self.channels = int(config.out_channels)
        if config.in_channels != 2 * self.channels + 1:
            raise SizeError(
                f"a UNet that completes {self.channels} channels takes {2 * self.channels + 1}: noisy image, mask, "
                f"visible pixels; this one takes {config.in_channels}"
            )
        told = getattr(config, "cross_attention_dim", None)
        self.text = text if text is not None or told is None else torch.zeros(1, 1, int(told))
        self.learnt = nn.ModuleList([unet.conv_in, unet.down_blocks, unet.mid_block])

    @property
    def encoder(self) -> nn.Module:  # type: ignore[override]
        """The layers before the decoder."""
        return self.learnt

    def draw(self, images: Images, generator: torch.Generator) -> Draw:
        """Times and noise."""
        high = self.scheduler.config.num_train_timesteps
        t = torch.randint(high, (len(images),), generator=generator, device=images.device)
        return t, torch.randn(images.shape, generator=generator, device=images.device)

    def encode(self, images: Images, hidden: Hidden, draw: Draw | None = None) -> Embedding:
        """Features of images whose hidden pixels are noisy; without `draw`, of noise of a fixed seed."""
        t, noise = draw if draw is not None else self._last(images)
        return self._features(images, self.scheduler.add_noise(2 * images - 1, noise, t), hidden, t)

    def blind(self, images: Images, noise: Images, hidden: Hidden, draw: Draw | None = None) -> Embedding:
        """Features of pure noise in the hole of the noise image, or of the image itself."""
        t, drawn = draw if draw is not None else self._last(images)
        return self._features(noise if self.context == "noise" else images, drawn, hidden, t)

    def loss(self, images: Images, hidden: Hidden, target: Images, generator: torch.Generator) -> Float[Tensor, ""]:
        """Denoising of hidden pixels."""
        t, noise = self.draw(images, generator)
        truth, kind = 2 * target - 1, self.scheduler.config.prediction_type
        said = self._say(images, self.scheduler.add_noise(truth, noise, t), hidden, t)
        wanted = {"epsilon": noise, "sample": truth}.get(kind)
        if wanted is None:
            wanted = self.scheduler.get_velocity(truth, noise, t)
        counted = hidden[:, None].to(said.dtype)
        return ((said - wanted).square() * counted).sum() / (counted.sum() * self.channels)

    def complete(self, images: Images, hidden: Hidden, generator: torch.Generator | None = None) -> Images:
        """Images with the hidden pixels filled in by the scheduler's steps."""
        x = torch.randn(images.shape, generator=generator, device=images.device)
        self.scheduler.set_timesteps(self.steps, device=images.device)
        for time in self.scheduler.timesteps:
            said = self._say(images, x, hidden, time.expand(len(x)))
            x = self.scheduler.step(said, time, x).prev_sample
        return pasted(images, (x + 1) / 2, hidden)

    def _features(self, images: Images, noisy: Tensor, hidden: Hidden, t: Tensor) -> Embedding:
        layers: list[Tensor] = []

        def keep(module: nn.Module, given: Any, output: Any) -> None:
            layers.append(output[0] if isinstance(output, tuple) else output)
            if module is self.unet.mid_block:
                raise _SeenEnoughError

        hooks = [block.register_forward_hook(keep) for block in (*self.unet.down_blocks, self.unet.mid_block)]
        try:
            self._say(images, noisy, hidden, t)
        except _SeenEnoughError:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return Embedding(tuple(layers))

    def _say(self, images: Images, noisy: Tensor, hidden: Hidden, t: Tensor) -> Tensor:
        check_size(images, self.channels, *images.shape[2:])
        mask = hidden[:, None]
        kept = torch.where(mask, 0.0, 2 * images - 1)
        given = torch.cat([torch.where(mask, noisy, kept), mask.to(kept.dtype), kept], 1)
        told = () if self.text is None else (self.text.to(given).expand(len(given), -1, -1),)
        found: Tensor = self.unet(given, t, *told).sample
        return found

    def _last(self, images: Images) -> Draw:
        generator = torch.Generator(images.device).manual_seed(0)
        t = torch.full((len(images),), self.scheduler.config.num_train_timesteps - 1, device=images.device)
        return t, torch.randn(images.shape, generator=generator, device=images.device)
