"""Vision on a GPU: the same pictures, meshes and losses as on a processor; skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from glasshouse.training.data import TensorRows
from glasshouse.training.trainer import train
from glasshouse.vision.diffusion.denoising import Denoising, DenoisingSettings
from glasshouse.vision.diffusion.model import DiffusionConfig, DiffusionModel
from glasshouse.vision.diffusion.sampler import sample
from glasshouse.vision.diffusion.text import TextConfig
from glasshouse.vision.diffusion.unet import UNetConfig
from glasshouse.vision.mesh.batch import MeshBatch
from glasshouse.vision.mesh.cameras import CameraRules, orbit
from glasshouse.vision.mesh.conditioning import CAMERA_WIDTH
from glasshouse.vision.mesh.critic import ScoreDistillation
from glasshouse.vision.mesh.decoder import Decoder
from glasshouse.vision.mesh.generator import GeneratorConfig, MeshGenerator
from glasshouse.vision.mesh.marching import marching_tetrahedra
from glasshouse.vision.mesh.neus import render_volume
from glasshouse.vision.mesh.objectives import MeshTraining, TextToMesh, prompt_rows
from glasshouse.vision.mesh.raster import render
from glasshouse.vision.mesh.teacher import OwnTeacher
from glasshouse.vision.mesh.tets import tetrahedral_grid
from glasshouse.vision.mesh.triplane import Planes
from glasshouse.vision.mesh.two_stage import MeshStage, Stages, VolumeStage

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
PROMPTS = ("red ball", "green box")
CAMERAS = orbit(torch.tensor([10.0, 130.0]), elevation=25.0, distance=3.0)
RULES = CameraRules(
    elevation=(0, 40), distance=(3, 3), field_of_view=(40, 40), position_jitter=0, centre_jitter=0, up_jitter=0
)


def bumpy(device: str) -> MeshBatch:
    grid = tetrahedral_grid(16).to(device)
    x = grid.vertices
    distance = x.norm(dim=-1) - 0.6 + 0.1 * torch.sin(7 * x).prod(-1)
    return marching_tetrahedra(grid, distance[None])


def teacher(device: str) -> OwnTeacher:
    words = TextConfig(words=("red", "green", "ball", "box"), length=2, width=16, layers=1, heads=2)
    unet = UNetConfig(widths=(16, 16), heads=2, token_width=16, camera_width=CAMERA_WIDTH)
    return OwnTeacher(DiffusionModel(DiffusionConfig(size=16, unet=unet, text=words), 0).to(device))


def test_meshes_and_their_pictures_are_those_of_a_processor() -> None:
    here, there = bumpy("cpu"), bumpy("cuda")
    assert torch.equal(here.faces, there.faces.cpu())
    torch.testing.assert_close(there.vertices.cpu(), here.vertices, atol=1e-5, rtol=0)
    pictures, slopes = [], []
    for meshes in (here, there):
        device = meshes.vertices.device
        moved = MeshBatch(
            meshes.vertices.detach().requires_grad_(), meshes.faces, meshes.vertex_counts, meshes.face_counts
        )
        seen = render(moved, moved.vertices * 0.5 + 0.5, CAMERAS.to(device), 48)
        (slope,) = torch.autograd.grad(seen.coverage.sum(), moved.vertices)
        pictures.append(seen.image.detach().cpu())
        slopes.append(slope.cpu())
    assert ((pictures[0] - pictures[1]).abs() > 1e-3).float().mean() < 1e-3
    torch.testing.assert_close(slopes[0].sum(0), slopes[1].sum(0), atol=0.05, rtol=0.02)


def test_a_volume_is_rendered_as_on_a_processor() -> None:
    def field(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return points.norm(dim=-1) - 0.5, points * 0.5 + 0.5

    pictures = [render_volume(field, CAMERAS.to(d), 24, samples=32).image.cpu() for d in ("cpu", "cuda")]
    torch.testing.assert_close(pictures[0], pictures[1], atol=1e-4, rtol=0)


def test_diffusion_learns_and_samples(tmp_path: Path) -> None:
    names = TextConfig(words=("dark", "light"), length=1, width=8, layers=1, heads=2)
    settings = DenoisingSettings(steps=150, batch_size=32, checkpoint_every=150)
    config = DiffusionConfig(size=8, unet=UNetConfig(channels=1, widths=(16, 16), heads=2, token_width=8), text=names)
    objective = Denoising(DiffusionModel(config, 0).to("cuda"), settings)
    words = objective.model.text.vocabulary.ids(["dark"] * 32 + ["light"] * 32)
    level = torch.cat([torch.full((32, 1, 8, 8), -0.8), torch.full((32, 1, 8, 8), 0.8)])
    train(objective, TensorRows({"picture": level, "words": words}), settings.training(), tmp_path)
    generator = torch.Generator().manual_seed(0)
    dark, light = sample(objective.average.eval(), prompts=["dark", "light"], steps=10, generator=generator)
    assert dark.device.type == "cuda"
    assert dark.mean() < -0.4 < 0.4 < light.mean()


def test_text_to_mesh_trains_in_both_stages(tmp_path: Path) -> None:
    stages = Stages(
        volume=VolumeStage(updates=6, rays=8, samples=8, eikonal_points=16),
        mesh=MeshStage(updates=6, resolution=8, size=16), views=2,
    )  # fmt: skip
    settings = MeshTraining(stages=stages, prompts=2, warmup=1)
    config = GeneratorConfig(planes=Planes(width=8, channels=4, levels=2), decoder=Decoder(width=16))
    generator = MeshGenerator.seeded(config, 2, 16, seed=1).to("cuda")
    before = [parameter.detach().clone() for parameter in generator.parameters()]
    critic = teacher("cuda")
    objective = TextToMesh(
        generator, critic.tokens(PROMPTS), ScoreDistillation(critic, PROMPTS), settings, cameras=RULES
    )
    result = train(objective, prompt_rows(PROMPTS), settings.training(), tmp_path)
    assert result.step == 12
    assert any(not torch.equal(one, other) for one, other in zip(before, generator.parameters(), strict=True))
    assert all(parameter.isfinite().all() for parameter in generator.parameters())
