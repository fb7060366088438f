"""Orbit cameras against closed forms: where they stand, what they see in the middle, and that rays undo projection."""

import math

import pytest
import torch

from glasshouse.store.configuration import ConfigurationError
from glasshouse.vision.mesh.cameras import CameraRules, orbit, sample_cameras, turntable


def test_front_is_plus_z_and_azimuth_grows_towards_plus_x():
    cameras = orbit(torch.tensor([0.0, 90.0, 180.0]), 0.0, 3.0)
    expected = torch.tensor([[0.0, 0, 3], [3, 0, 0], [0, 0, -3]])
    torch.testing.assert_close(cameras.position, expected, atol=1e-5, rtol=0)
    assert torch.allclose(cameras[[1]].position, expected[1:2], atol=1e-5)


def test_a_point_above_the_origin_is_up_and_one_to_the_right_is_right():
    clip = orbit(0.0, 20.0, 4.0, 40.0).project(torch.tensor([[[0.0, 0, 0], [0, 0.5, 0], [0.5, 0, 0]]]))[0]
    ndc = clip[:, :3] / clip[:, 3:]
    torch.testing.assert_close(ndc[0, :2], torch.zeros(2), atol=1e-5, rtol=0)
    assert ndc[1, 1] > 0.2
    assert abs(ndc[1, 0]) < 1e-5
    assert ndc[2, 0].item() == pytest.approx(0.5 / (4 * math.tan(math.radians(20))), rel=1e-5)


@pytest.mark.parametrize("size", [(7, 7), (6, 9), (1, 1)])
def test_rays_meet_the_pixels_they_are_named_for(size):
    cameras = sample_cameras(5, torch.Generator().manual_seed(1)).to(dtype=torch.float64)
    height, width = size
    if height != width:
        cameras = orbit(torch.linspace(-180, 180, 5).double(), 30.0, 4.0, 50.0, aspect=width / height)
    origins, directions = cameras.rays(height, width)
    points = (origins + 2.5 * directions).reshape(5, -1, 3)
    clip = cameras.project(points)
    x = (clip[..., 0] / clip[..., 3] + 1) * width / 2
    y = (1 - clip[..., 1] / clip[..., 3]) * height / 2
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    torch.testing.assert_close(x, columns.double().reshape(1, -1).expand(5, -1), atol=1e-6, rtol=0)
    torch.testing.assert_close(y, rows.double().reshape(1, -1).expand(5, -1), atol=1e-6, rtol=0)


def test_a_camera_at_the_pole_still_has_an_upright_picture_turned_by_azimuth():
    for azimuth in (0.0, 90.0, -45.0):
        clip = orbit(azimuth, 90.0, 4.0).project(_towards(azimuth)[None, None])[0, 0]
        assert clip[1] < -0.1  # what lies on the camera's side is at the bottom of the picture
        assert abs(clip[0]) < 1e-3


def _towards(azimuth: float) -> torch.Tensor:
    angle = math.radians(azimuth)
    return torch.tensor([0.5 * math.sin(angle), 0.0, 0.5 * math.cos(angle)])


def test_sampling_keeps_its_rules_and_its_seed():
    rules = CameraRules(elevation=(-10, 60), distance=(3.5, 4), field_of_view=(40, 45))
    cameras = sample_cameras(400, torch.Generator().manual_seed(3), rules)
    assert cameras.elevation.min() >= -10 - 1e-4
    assert cameras.elevation.max() <= 60 + 1e-4
    sectors = ((cameras.azimuth + 180) / (360 / 400)).floor()
    assert torch.equal(sectors, torch.arange(400).float())
    again = sample_cameras(400, torch.Generator().manual_seed(3), rules)
    assert torch.equal(cameras.view, again.view)
    # A half is uniform in angle (mean 25), a half uniform in height (mean of asin): above 25 in neither case by much.
    sines = torch.linspace(math.sin(math.radians(-10)), math.sin(math.radians(60)), 100_001).asin().rad2deg().mean()
    assert cameras.elevation.mean().item() == pytest.approx((25 + sines.item()) / 2, abs=3)


def test_bad_cameras_are_refused():
    with pytest.raises(ValueError, match="distances must be positive"):
        orbit(0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="between 0 and 180"):
        orbit(0.0, 0.0, 1.0, 180.0)
    with pytest.raises(ConfigurationError, match="low to high"):
        CameraRules(distance=(4, 3))


def test_turntable_starts_at_the_front():
    assert torch.allclose(turntable(4).azimuth, torch.tensor([0.0, 90, 180, 270]))
