"""DDIM sampling (Song et al., arXiv 2010.02502, eq. 12 and 16).

    x_s = alpha_s x0_hat + sqrt(sigma_s^2 - e^2) eps_hat + e z
    e   = eta sqrt((1 - abar_s) / (1 - abar_t)) sqrt(1 - abar_t / abar_s)

From the last time on, the times are evenly spaced ("trailing", Lin et al., arXiv 2305.08891), and the last step goes to
abar = 1. Where x0_hat is clipped to the range of pictures, eps_hat is made to fit it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from glasshouse.vision.diffusion.model import DiffusionModel
from glasshouse.vision.diffusion.schedule import Schedule


def sampling_times(schedule: Schedule, steps: int) -> list[int]:
    """Times of a sampler of `steps` steps, from T - 1 downwards."""
    if not 1 <= steps <= schedule.steps:
        raise ValueError(f"steps must lie in 1 .. {schedule.steps}, the times of the schedule, got {steps}")
    ends = torch.linspace(schedule.steps, 0, steps + 1, dtype=torch.float64)[:-1]
    return [int(time) - 1 for time in ends.round()]


def ddim_step(
    schedule: Schedule,
    x_t: Float[Tensor, "n c h w"],
    x_0: Float[Tensor, "n c h w"],
    time: int,
    next_time: int | None,
    *,
    eta: float = 0.0,
    clip: float | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n c h w"]:
    """One step from `time` to `next_time` (None: to the picture itself), given what the picture is thought to be."""
    bars = schedule.alphas_cumprod
    bar = float(bars[time])
    after = 1.0 if next_time is None else float(bars[next_time])
    picture = x_0 if clip is None else x_0.clamp(-clip, clip)
    eps = (x_t - bar**0.5 * picture) / (1 - bar) ** 0.5
    spread = eta * ((1 - after) / (1 - bar) * (1 - bar / after)) ** 0.5
    found: Tensor = after**0.5 * picture + max(1 - after - spread**2, 0.0) ** 0.5 * eps
    if spread > 0:
        found = found + spread * _noise(x_t.shape, x_t, generator)
    return found


@torch.no_grad()
def sample(
    model: DiffusionModel,
    count: int | None = None,
    *,
    prompts: Sequence[str] | None = None,
    tokens: Float[Tensor, "n l d"] | None = None,
    camera: Float[Tensor, "n k"] | None = None,
    image: Float[Tensor, "n i h w"] | None = None,
    guidance: float = 1.0,
    steps: int = 20,
    eta: float = 0.0,
    clip: float | None = 1.0,
    noise: Float[Tensor, "n c h w"] | None = None,
    generator: torch.Generator | None = None,
    after_step: Callable[[int], None] | None = None,
) -> Float[Tensor, "n c h w"]:
    """Pictures in [-1, 1], as many as there are prompts, tokens, cameras or given images, or `count` of them.

    Args:
        noise: where to start; drawn from `generator` (on the CPU) by default.
        after_step: called with the number of steps done, e.g. for a progress bar.
    """
    if prompts is not None:
        tokens = model.tokens(prompts)
    given = {"prompts": tokens, "camera": camera, "image": image, "noise": noise}
    counts = {name: len(part) for name, part in given.items() if part is not None}
    if count is not None:
        counts["count"] = count
    if len(set(counts.values())) != 1:
        raise ValueError(f"how many pictures are to be made has to be said, once or alike everywhere; got {counts}")
    config = model.config
    shape = (next(iter(counts.values())), config.unet.channels, config.size, config.size)
    like = next(model.parameters())
    x = _noise(shape, like, generator) if noise is None else noise.to(like)
    times = sampling_times(config.schedule, steps)
    for number, time in enumerate(times):
        t = torch.full((len(x),), time, dtype=torch.int64, device=like.device)
        picture = model.x_0(x, t, tokens, camera, image, guidance=guidance)
        following = times[number + 1] if number + 1 < steps else None
        x = ddim_step(config.schedule, x, picture, time, following, eta=eta, clip=clip, generator=generator)
        if after_step is not None:
            after_step(number + 1)
    return x


def _noise(shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Noise drawn on the CPU, so that one seed gives the same pictures on every device."""
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32).to(like)


__all__ = ["ddim_step", "sample", "sampling_times"]
