"""The judge and the scores that rest on it; teachers whose score is known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from glasshouse.store.configuration import ConfigurationError
from glasshouse.vision.diffusion.model import DiffusionConfig, DiffusionModel
from glasshouse.vision.diffusion.text import PromptError, TextConfig
from glasshouse.vision.diffusion.unet import UNetConfig
from glasshouse.vision.mesh.cameras import orbit
from glasshouse.vision.mesh.judge import Judge, JudgeConfig, JudgeSettings, disturbed, train_judge
from glasshouse.vision.mesh.metrics import retrieval
from glasshouse.vision.mesh.teacher import GaussianTeacher, OwnTeacher, Teacher, TeacherError
from glasshouse.vision.mesh.worlds.blocks_world import BlocksSettings, BlocksWorld


def distributions(rows: int, prompts: int, seed: int = 0) -> Tensor:
    return (3 * torch.randn(rows, prompts, generator=torch.Generator().manual_seed(seed))).softmax(1)


def test_scores_are_those_of_a_double_loop() -> None:
    views, objects, prompts = 4, 30, 12
    said = distributions(objects * views, prompts)
    truth = torch.randint(prompts, (objects,), generator=torch.Generator().manual_seed(1))
    found = retrieval(said, truth, views)
    total, right = 0.0, 0
    for number in range(objects):
        means = [sum(float(said[number * views + view, j]) for view in range(views)) / views for j in range(prompts)]
        total += means[int(truth[number])]
        right += max(range(prompts), key=lambda j, means=means: means[j]) == int(truth[number])
    assert found.r_probability == pytest.approx(total / objects, abs=1e-6)
    assert found.r_at_1 == right / objects
    assert found.chance == 1 / prompts


def test_the_order_of_prompts_does_not_matter() -> None:
    said, truth = distributions(20, 9), torch.arange(20) % 9
    order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    moved = retrieval(said[:, order], order.argsort()[truth])
    found = retrieval(said, truth)
    assert moved.r_probability == pytest.approx(found.r_probability, abs=1e-12)
    assert moved.r_at_1 == found.r_at_1


def test_sure_judges_and_shifted_sets() -> None:
    prompts = 40
    said = (12 * torch.eye(prompts)).softmax(1)
    assert retrieval(said, torch.arange(prompts)).r_probability > 0.99
    shifted = retrieval(said, (torch.arange(prompts) + 1) % prompts)
    assert shifted.r_probability <= 3 * shifted.chance
    assert shifted.r_at_1 == 0


def test_a_judge_that_cannot_tell_scores_chance() -> None:
    found = retrieval(torch.full((10, 5), 0.2), torch.arange(10) % 5)
    assert found.r_probability == pytest.approx(0.2)
    assert found.r_at_1 == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("said", "truth", "views", "message"),
    [
        (torch.full((3, 2), 0.5), torch.tensor([0]), 2, "as many pictures"),
        (torch.full((1, 2), 0.5), torch.tensor([2]), 1, r"numbered 0 \.\. 1"),
        (torch.full((1, 2), 0.7), torch.tensor([0]), 1, "sum to 1"),
        (torch.full((1, 2), torch.nan), torch.tensor([0]), 1, "finite"),
        (torch.full((0, 2), 0.5), torch.tensor([], dtype=torch.int64), 1, "as many pictures"),
    ],
)
def test_scores_of_nonsense_are_refused(said: Tensor, truth: Tensor, views: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        retrieval(said, truth, views)


def judge(words: tuple[str, ...] = ("a", "ball", "box", "red", "blue"), length: int = 3) -> Judge:
    return Judge(JudgeConfig(text=TextConfig(words=words, length=length), size=16, widths=(8, 8)))


def test_a_judge_multiplies_words_and_compares_prompts() -> None:
    reader, prompts = judge(), ["a red ball", "a blue box", "box"]
    rgb = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = reader.probabilities(rgb, prompts, batch=3)
    said = reader(rgb).exp()
    assert torch.allclose(said.sum(-1), torch.ones(4, 3))
    rows = reader.vocabulary.ids(prompts).tolist()
    weights = torch.stack(
        [said[:, 0, first] * said[:, 1, second] * said[:, 2, third] for first, second, third in rows], 1
    )
    assert torch.allclose(found, weights / weights.sum(1, keepdim=True), atol=1e-6)
    assert reader.probabilities(torch.rand(2, 3, 40, 24), prompts).shape == (2, 3)


def test_a_judge_says_what_it_cannot_read() -> None:
    with pytest.raises(PromptError, match="pig"):
        judge().probabilities(torch.rand(1, 3, 16, 16), ["a pig"])
    for shape in ((0, 3, 16, 16), (1, 3, 1, 1)):
        with pytest.raises(ValueError, match="nothing to judge"):
            judge().probabilities(torch.rand(*shape), ["a box"])
    with pytest.raises(ConfigurationError, match="halved"):
        JudgeConfig(text=TextConfig(words=("a",)), size=20)


def test_disturbed_pictures_keep_their_white_surroundings() -> None:
    rgb = torch.ones(6, 3, 16, 16)
    rgb[:, :, 6:10, 6:10] = torch.tensor([0.8, 0.1, 0.1])[:, None, None]
    still = JudgeSettings(tint=0, noise=0)
    moved = disturbed(rgb, still, torch.Generator().manual_seed(0))
    assert torch.allclose(moved[:, :, 0], torch.tensor(1.0), atol=1e-5)
    darkness = (1 - moved).sum((1, 2, 3))
    assert ((darkness / (1 - rgb).sum((1, 2, 3)) - 1).abs() < 0.5).all()
    assert darkness.std() > 1
    noisy = disturbed(rgb, JudgeSettings(), torch.Generator().manual_seed(0))
    assert 0 <= float(noisy.min()) <= float(noisy.max()) <= 1


def test_a_judge_learns_to_read_true_pictures(tmp_path: Path) -> None:
    """A short run on few cameras: far above chance on pictures from others."""
    world = BlocksWorld.built(BlocksSettings(size=16, azimuths=6, elevations=(15.0, 35.0), scales=(0.9, 1.1)))
    settings = JudgeSettings(steps=150, batch_size=32)
    made, _ = train_judge(world, settings, tmp_path / "run")
    held = world.held_out(4)
    found = retrieval(made.probabilities(held.rgb, world.prompts), held.prompt)
    assert found.r_at_1 > 0.3 > 100 * found.chance
    shifted = retrieval(made.probabilities(held.rgb, world.prompts), (held.prompt + 1) % len(world.prompts))
    assert shifted.r_at_1 < 0.1


def test_a_judges_run_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    world = BlocksWorld.built(BlocksSettings(size=16, azimuths=1, elevations=(25.0,), scales=(1.0,)))
    settings = JudgeSettings(steps=8, batch_size=8)
    whole, _ = train_judge(world, settings, tmp_path / "whole")
    train_judge(world, settings, tmp_path / "parts", stop=lambda step: step == 5)
    parts, result = train_judge(world, settings, tmp_path / "parts")
    assert result.resumed_from == 5
    assert all(torch.equal(part, parts.state_dict()[name]) for name, part in whole.state_dict().items())


def gaussian() -> GaussianTeacher:
    means = {"light": torch.full((3, 4, 4), 0.5), "dark": torch.full((3, 4, 4), -0.5)}
    return GaussianTeacher(means, 0.4)


def test_the_gaussian_teacher_is_the_score_of_its_density() -> None:
    """eps = -sigma grad log p(x_t), with p(x_t) = N(alpha mean, alpha^2 spread^2 + sigma^2) by autograd."""
    teacher = gaussian()
    assert isinstance(teacher, Teacher)
    t, tokens = torch.tensor([10, 500, 900]), teacher.tokens(["light", "dark", "light"])
    x = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    alpha, sigma = teacher.schedule.alpha(t, x), teacher.schedule.sigma(t, x)
    means = torch.stack([teacher.means[name] for name in ("light", "dark", "light")])
    density = torch.distributions.Normal(alpha * means, (alpha**2 * 0.4**2 + sigma**2).sqrt().expand_as(x))
    (score,) = torch.autograd.grad(density.log_prob(x).sum(), x)
    assert torch.allclose(teacher.eps(x.detach(), t, tokens), -sigma * score, atol=1e-5)
    assert torch.allclose(teacher.null_tokens(), torch.zeros(1, 1, 48), atol=1e-6)
    with pytest.raises(PromptError, match="does not know 'grey'; it knows light, dark"):
        teacher.tokens(["grey"])


def own(**unet: object) -> OwnTeacher:
    text = TextConfig(words=("red", "ball", ",", "front", "side", "view"), length=5, width=8, layers=1, heads=2)
    config = UNetConfig(**({"widths": (8, 8), "heads": 2, "token_width": 8} | unet))
    return OwnTeacher(DiffusionModel(DiffusionConfig(size=8, text=text, unet=config)))


def test_our_teacher_takes_cameras_or_words_for_them() -> None:
    told, blind = own(camera_width=4), own()
    assert isinstance(told, Teacher)
    assert told.camera_conditioned
    assert not blind.camera_conditioned
    x = told.prepare(torch.rand(2, 3, 16, 16))
    assert x.shape == (2, 3, 8, 8)
    t = torch.tensor([3, 700])
    assert told.eps(x, t, told.tokens(["red ball", "ball"]), orbit(torch.tensor([0.0, 90.0]))).shape == x.shape
    with pytest.raises(TeacherError, match="cameras"):
        told.eps(x, t, told.tokens(["red", "red"]))
    views = blind.tokens(["red ball"], ["front"])
    assert torch.equal(views, blind.tokens(["red ball, front view"]))
    assert blind.eps(x, t, views.expand(2, -1, -1)).shape == x.shape
    assert told.fingerprint != blind.fingerprint
    assert own(camera_width=4).fingerprint == told.fingerprint


def test_pictures_reach_the_teacher_with_their_gradient() -> None:
    rgb = torch.rand(1, 3, 16, 16, requires_grad=True)
    own().prepare(rgb).sum().backward()
    assert rgb.grad is not None
    assert float(rgb.grad.sum()) == pytest.approx(2 * 3 * 64, rel=1e-4)


def test_models_that_are_no_teachers_are_refused() -> None:
    with pytest.raises(TeacherError, match="three colours"):
        OwnTeacher(DiffusionModel(DiffusionConfig(size=8, unet=UNetConfig(widths=(8,), attention=()))))
    with pytest.raises(TeacherError, match="as 3 numbers, here they are 4"):
        own(camera_width=3)
