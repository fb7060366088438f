"""The blocks world: "a red cone on a blue box". Six colours, four shapes, 576 prompts; shapes and pictures are exact.

Every prompt names a block on top and one below it, each with a colour. The object stands upright around the y axis with
the two touching at the origin, and lies within 0.85 of it. Pictures are lit by a lamp at the camera (`shading`) on a
white background. A picture is kept as three maps, the light on the top, the light on the bottom and the share of
the background, from which it can be coloured in any way.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from glasshouse.vision.diffusion.text import PromptError
from glasshouse.vision.mesh.cameras import CameraRules, Cameras
from glasshouse.vision.mesh.prompt_sets import BLOCK_COLOURS, BLOCK_SHAPES, blocks
from glasshouse.vision.mesh.shading import BACKGROUND, shade
from glasshouse.vision.mesh.worlds.shapes import HALF, SHAPES
from glasshouse.vision.mesh.worlds.tracing import facing, trace

CAMERAS = CameraRules(
    elevation=(5.0, 45.0), distance=(3.0, 3.0), field_of_view=(40.0, 40.0), position_jitter=0, centre_jitter=0,
    up_jitter=0,
)  # fmt: skip
"""Where the cameras of training pictures stand."""
SCALES = (0.85, 1.0, 1.15)
"""Sizes of the object in training pictures."""
RGB: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.14, 0.12),
    "green": (0.15, 0.66, 0.20),
    "blue": (0.14, 0.28, 0.88),
    "yellow": (0.95, 0.82, 0.12),
    "purple": (0.58, 0.20, 0.72),
    "cyan": (0.12, 0.76, 0.82),
}
_PROMPT = re.compile(rf"a ({'|'.join(BLOCK_COLOURS)}) ({'|'.join(BLOCK_SHAPES)}) "
                     rf"on a ({'|'.join(BLOCK_COLOURS)}) ({'|'.join(BLOCK_SHAPES)})")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Blocks:
    """What a prompt of this world says."""

    top_colour: str
    top_shape: str
    bottom_colour: str
    bottom_shape: str

    @classmethod
    def of(cls, prompt: str) -> Blocks:
        """Raises `PromptError` for a prompt that is none of this world's."""
        found = _PROMPT.fullmatch(prompt.strip().lower())
        if found is None:
            raise PromptError(
                f"{prompt!r} is no prompt of the blocks world: say 'a COLOUR SHAPE on a COLOUR SHAPE' with colours "
                f"{', '.join(BLOCK_COLOURS)} and shapes {', '.join(BLOCK_SHAPES)}"
            )
        return cls(*found.groups())

    @property
    def shapes(self) -> tuple[str, str]:
        """Above and below."""
        return self.top_shape, self.bottom_shape

    @property
    def colours(self) -> Float[Tensor, "2 3"]:
        """Above and below, in [0, 1]."""
        return torch.tensor([RGB[self.top_colour], RGB[self.bottom_colour]])


def all_prompts() -> tuple[str, ...]:
    """All 576."""
    each = [f"{colour} {shape}" for colour in BLOCK_COLOURS for shape in BLOCK_SHAPES]
    return tuple(blocks(top, bottom) for top in each for bottom in each)


def parts(points: Float[Tensor, "... 3"], shapes: tuple[str, str], scale: float = 1.0) -> Float[Tensor, "... 2"]:
    """Signed distances to the block above and the block below."""
    lift = points.new_tensor([0.0, HALF, 0.0])
    top, bottom = (SHAPES[name] for name in shapes)
    return torch.stack([scale * top(points / scale - lift), scale * bottom(points / scale + lift)], -1)


def distance(points: Float[Tensor, "... 3"], prompt: str, scale: float = 1.0) -> Float[Tensor, ...]:
    """Signed distance to the object of a prompt (inside of it a bound where the blocks touch)."""
    return parts(points, Blocks.of(prompt).shapes, scale).amin(-1)


def colour(points: Float[Tensor, "... 3"], prompt: str, scale: float = 1.0) -> Float[Tensor, "... 3"]:
    """The colour of the nearer block."""
    said = Blocks.of(prompt)
    return said.colours.to(points)[parts(points, said.shapes, scale).argmin(-1)]


@torch.no_grad()
def light(
    shapes: tuple[str, str], cameras: Cameras, size: int = 32, scale: float = 1.0, samples: int = 3
) -> Float[Tensor, "n 3 size size"]:
    """Three maps per camera: light on the top, light on the bottom, share of the background.

    A pixel is the mean of `samples` x `samples` rays.
    """
    origins, directions = (part.reshape(-1, 3) for part in cameras.rays(size * samples))
    scene = functools.partial(parts, shapes=shapes, scale=scale)
    met, points = trace(scene, origins, directions, radius=2.3 * HALF * scale)
    maps = torch.zeros(len(origins), 3)
    maps[~met, 2] = 1
    which, cosine = facing(scene, points[met], directions[met])
    maps[torch.nonzero(met)[:, 0], which] = shade(cosine)
    whole = maps.reshape(len(cameras), size * samples, size * samples, 3).permute(0, 3, 1, 2)
    return functional.avg_pool2d(whole, samples)


def coloured(
    maps: Float[Tensor, "n 3 h w"], colours: Float[Tensor, "n 2 3"], background: float = BACKGROUND
) -> Float[Tensor, "n 3 h w"]:
    """Pictures in [0, 1] from maps of light and the colours above and below."""
    return torch.einsum("nphw,npc->nchw", maps[:, :2], colours) + background * maps[:, 2:]


def render(
    prompts: Sequence[str], cameras: Cameras, size: int = 32, scale: float = 1.0
) -> tuple[Float[Tensor, "n 3 size size"], Float[Tensor, "n size size"]]:
    """True pictures in [0, 1] and how much of each pixel the object covers. The cameras of one prompt follow another.

    Raises `ValueError` where the number of cameras is no multiple of the number of prompts.
    """
    if not prompts or len(cameras) % len(prompts):
        raise ValueError(f"{len(cameras)} cameras cannot be shared out among {len(prompts)} prompts")
    views = len(cameras) // len(prompts)
    pictures, coverage = [], []
    for number, prompt in enumerate(prompts):
        said = Blocks.of(prompt)
        maps = light(said.shapes, cameras[slice(number * views, (number + 1) * views)], size, scale)
        pictures.append(coloured(maps, said.colours.expand(views, -1, -1)))
        coverage.append(1 - maps[:, 2])
    return torch.cat(pictures), torch.cat(coverage)


__all__ = [
    "CAMERAS", "RGB", "SCALES", "Blocks", "all_prompts", "colour", "coloured", "distance", "light",
    "parts", "render",
]  # fmt: skip
