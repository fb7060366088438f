"""A folder of meshes as a world: prompts, training pictures, true pictures, and a round trip through files."""

import numpy as np
import pytest
import torch
import trimesh

from glasshouse.data.quarantine import Quarantine
from glasshouse.store.configuration import ConfigurationError
from glasshouse.vision.diffusion.text import PromptError, TextConfig, Vocabulary
from glasshouse.vision.mesh.cameras import orbit
from glasshouse.vision.mesh.captioned_meshes import MeshFolder, read_meshes
from glasshouse.vision.mesh.mesh import Mesh, MeshError
from glasshouse.vision.mesh.worlds.own import OwnWorld, OwnWorldSettings, draw

SETTINGS = OwnWorldSettings(size=24, azimuths=4, elevations=(10.0, 40.0))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("meshes")
    shapes = {
        "red box-1": (trimesh.creation.box([1, 1, 1]), [220, 30, 30, 255]),
        "red box-2": (trimesh.creation.box([1, 2, 1]), [220, 30, 30, 255]),
        "green ball": (trimesh.creation.icosphere(subdivisions=3), [30, 200, 30, 255]),
    }
    for name, (made, colour) in shapes.items():
        made.visual.vertex_colors = colour
        made.export(folder / f"{name}.ply")
    return OwnWorld.built(SETTINGS, read_meshes(MeshFolder(path=str(folder)), Quarantine()))


def test_prompts_are_the_captions_each_once(world):
    assert world.prompts == ("green ball", "red box")
    assert [found.caption for found in world.meshes] == ["green ball", "red box", "red box"]


def test_training_pictures_carry_caption_camera_and_words(world):
    vocabulary = Vocabulary(TextConfig.of(world.prompts))
    data = world.pictures(vocabulary)
    assert data.rows == 3 * 8
    batch = data.batch(np.array([0, 8, 23]))
    assert batch["picture"].shape == (3, 3, 24, 24)
    assert torch.equal(batch["words"], vocabulary.ids(["green ball", "red box", "red box"]))
    middle = batch["picture"][:, :, 12, 12] / 2 + 0.5
    assert middle[0].argmax() == 1
    assert middle[1].argmax() == 0
    corners = batch["picture"][:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert bool((corners == 1).all())  # white, so nothing touches the edge
    torch.testing.assert_close(batch["camera"][:, :3].norm(dim=-1), torch.ones(3))
    assert torch.equal(batch["camera"][0], batch["camera"][1])
    assert "green ball" in data.describe(np.array([0]))[0]


def test_every_mesh_is_seen_whole_from_every_camera(world):
    border = torch.cat([world.rgb[:, :, 0], world.rgb[:, :, -1], world.rgb[:, :, :, 0], world.rgb[:, :, :, -1]])
    assert bool((border == 255).all())


def test_true_pictures_of_prompts(world):
    cameras = orbit(torch.tensor([0.0, 90.0, 0.0, 90.0]), 20.0, 3.0)
    rgb, coverage = world.render(("red box", "green ball"), cameras, 32)
    assert rgb.shape == (4, 3, 32, 32)
    radius = 1 / (9 - 1) ** 0.5 / np.tan(np.radians(20))  # the ball's outline, in half-widths of the picture
    scale = world.mesh("green ball").vertices.norm(dim=-1).max().item()
    radius = scale / (9 - scale**2) ** 0.5 / np.tan(np.radians(20))
    assert coverage[2].mean().item() == pytest.approx(np.pi * radius**2 / 4, rel=0.02)
    assert world.inside("green ball", 32).float().mean().item() == pytest.approx(np.pi / 6 * scale**3, rel=0.03)
    with pytest.raises(PromptError, match="no mesh of this world has the caption 'blue box'"):
        world.render(("blue box",), cameras, 32)
    with pytest.raises(ValueError, match="4 cameras cannot be shared"):
        world.render(("red box",) * 3, cameras, 32)


def test_held_out_pictures_are_seeded_and_other_than_those_of_training(world):
    held = world.held_out(5, seed=1)
    assert held.rgb.shape == (15, 3, 24, 24)
    assert held.prompt.tolist() == [0] * 5 + [1] * 10
    assert torch.equal(held.rgb, world.held_out(5, seed=1).rgb)
    ours = {picture.numpy().tobytes() for picture in world.rgb}
    assert not ours & {picture.mul(255).round().to(torch.uint8).numpy().tobytes() for picture in held.rgb}


def test_a_world_comes_back_from_its_files(world, tmp_path):
    world.write(tmp_path)
    back = OwnWorld.read(tmp_path, SETTINGS)
    assert torch.equal(back.rgb, world.rgb)
    assert back.prompts == world.prompts
    assert back.pictures(None).fingerprint == world.pictures(None).fingerprint
    assert back.mesh("red box").about == world.mesh("red box").about


def test_the_faces_of_a_box_are_flat(world):
    """With the lamp at the camera, a face seen straight on has one brightness, up to its edge."""
    box = Mesh(*(torch.tensor(np.array(part)) for part in _parts(trimesh.creation.box([1, 1, 1]))))
    rgb, coverage = draw(box, orbit(0.0, 0.0, 30.0, 3.0), 32, 35.0)
    seen = rgb[0, 0][coverage[0] == 1]
    assert (seen.max() - seen.min()).item() < 0.01
    smooth, _ = draw(box, orbit(0.0, 0.0, 30.0, 3.0), 32, 180.0)
    assert (smooth[0, 0][coverage[0] == 1].max() - smooth[0, 0][coverage[0] == 1].min()).item() > 0.05


def _parts(made):
    return made.vertices, made.faces


def test_bad_settings_are_refused():
    with pytest.raises(MeshError, match="at least one"):
        OwnWorld.built(SETTINGS, [])
    for wrong in ({"elevations": ()}, {"elevations": (99.0,)}, {"distance": 1.0}, {"size": 2}):
        with pytest.raises(ConfigurationError):
            OwnWorldSettings(**wrong)
