"""Looking at what a generator makes: pictures of its meshes, and what a judge says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from glasshouse.store.configuration import Config, named_seed
from glasshouse.vision.mesh.cameras import orbit
from glasshouse.vision.mesh.generator import MeshGenerator
from glasshouse.vision.mesh.judge import Judge
from glasshouse.vision.mesh.metrics import Retrieval, retrieval
from glasshouse.vision.mesh.shading import BACKGROUND, shaded_pictures
from glasshouse.vision.mesh.tets import tetrahedral_grid
from glasshouse.vision.mesh.truth import Closeness, closeness
from glasshouse.vision.mesh.worlds.pictures import World

COMPARED = 32
"""Cells of the grid's side for meshes that are compared with true shapes."""


class Looking(Config):
    """How meshes are looked at to be judged.

    Attributes:
        views: pictures of a mesh, at equal steps around it.
        elevation, distance, field_of_view: of the cameras, in degrees and scene units.
        size: side of a picture.
        resolution: cells of the tetrahedral grid's side.
        seen, unseen: most prompts that are judged at the end of a run.
        watched: most prompts of those trained on that are judged while it goes on.
        compared: most prompts of either half whose meshes are compared with the true shapes.
    """

    views: int = Field(4, ge=1)
    elevation: float = Field(25.0, ge=-90, le=90)
    distance: float = Field(3.0, gt=0)
    field_of_view: float = Field(40.0, gt=0, lt=180)
    size: int = Field(32, ge=2)
    resolution: int = Field(20, ge=4)
    seen: int = Field(72, ge=1)
    unseen: int = Field(96, ge=0)
    watched: int = Field(14, ge=1)
    compared: int = Field(6, ge=0)


@torch.no_grad()
def pictures(
    generator: MeshGenerator,
    tokens: Float[Tensor, "prompts length text"],
    looking: Looking,
    *,
    background: float = BACKGROUND,
    together: int = 8,
) -> Float[Tensor, "n 3 h w"]:
    """Pictures of every prompt's mesh, prompt after prompt, made a few prompts at a time."""
    grid = tetrahedral_grid(looking.resolution).to(tokens.device)
    around = torch.arange(looking.views, device=tokens.device) * (360 / looking.views)
    found = []
    for start in range(0, len(tokens), together):
        part = tokens[start : start + together]
        surfaces = generator.shapes(part).surfaces(grid)
        cameras = orbit(around.repeat(len(part)), looking.elevation, looking.distance, looking.field_of_view)
        found.append(shaded_pictures(surfaces.meshes, surfaces.colours, cameras, looking.size, background)[0])
    return torch.cat(found)


def judged(
    generator: MeshGenerator,
    tokens: Float[Tensor, "prompts length text"],
    prompts: Sequence[str],
    judge: Judge,
    every: Sequence[str],
    looking: Looking,
) -> Retrieval:
    """How well a judge finds the prompts of meshes among `every` prompt of the world."""
    truth = torch.tensor([every.index(prompt) for prompt in prompts])
    said = judge.probabilities(pictures(generator, tokens, looking), every)
    return retrieval(said, truth.to(said.device), looking.views)


def compared(
    generator: MeshGenerator, tokens: Float[Tensor, "prompts length text"], prompts: Sequence[str], world: World
) -> Closeness:
    """How close meshes are to the true shapes of their prompts."""
    with torch.no_grad():
        surfaces = generator.shapes(tokens).surfaces(tetrahedral_grid(COMPARED).to(tokens.device))
    return closeness(surfaces.separate({}), prompts, world)


def some(prompts: Sequence[str], most: int, use: str) -> list[int]:
    """Numbers of at most so many prompts, drawn once and for all."""
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(named_seed(0, "judged", use)))
    return sorted(order[:most].tolist())


def scores(name: str, found: Retrieval) -> Mapping[str, float]:
    """Values by name."""
    return {f"{name}/r_probability": found.r_probability, f"{name}/r_at_1": found.r_at_1}


def distances(name: str, found: Closeness) -> Mapping[str, float]:
    """Values by name."""
    return {f"{name}/overlap": found.mean_overlap, f"{name}/chamfer": found.mean_chamfer}
