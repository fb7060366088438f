"""Both stages as one run of the shared trainer: what is drawn when, and going on after a kill in either stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from glasshouse.store.configuration import ConfigurationError
from glasshouse.training.checkpoint import ResumeRefusedError
from glasshouse.training.guards import TrainingStoppedError
from glasshouse.training.trainer import TrainingResult, train
from glasshouse.vision.mesh.active import Choosing, PromptChoice
from glasshouse.vision.mesh.cameras import CameraRules, Cameras
from glasshouse.vision.mesh.critic import DirectLoss, ScoreDistillation
from glasshouse.vision.mesh.decoder import Decoder
from glasshouse.vision.mesh.generator import GeneratorConfig, MeshGenerator
from glasshouse.vision.mesh.ledger import account
from glasshouse.vision.mesh.objectives import MeshTraining, TextToMesh, prompt_rows
from glasshouse.vision.mesh.sds import Distillation
from glasshouse.vision.mesh.triplane import Planes
from glasshouse.vision.mesh.two_stage import MeshStage, Stages, VolumeStage, draw_views

PROMPTS = ("a red ball", "a blue box", "a green can")
RULES = CameraRules(
    elevation=(0, 40), distance=(3, 3), field_of_view=(40, 40), position_jitter=0, centre_jitter=0, up_jitter=0
)
SMALL = GeneratorConfig(planes=Planes(width=8, channels=4, levels=2), decoder=Decoder(width=16))
STAGES = Stages(
    volume=VolumeStage(updates=4, rays=6, samples=6, eikonal_points=8), mesh=MeshStage(updates=4, resolution=6, size=8),
    views=2,
)  # fmt: skip
SETTINGS = MeshTraining(stages=STAGES, prompts=2, warmup=1, seed=3)


class Teacher(nn.Module):
    """One linear layer as a teacher, in the form that distillation asks for."""

    image_size, camera_conditioned, fingerprint = 8, True, "linear"

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.layer = nn.Linear(4, 3)
        self.alphas_cumprod = torch.linspace(0.99, 0.01, 20)
        self.asked: list[tuple[int, ...]] = []

    @property
    def frozen(self) -> dict[str, nn.Module]:
        return {"teacher": self}

    def tokens(self, prompts: list[str], views: list[str] | None = None) -> Tensor:
        words = views or [""] * len(prompts)
        seeds = [sum(map(ord, prompt + word)) for prompt, word in zip(prompts, words, strict=True)]
        return torch.stack([torch.randn(2, 4, generator=torch.Generator().manual_seed(seed)) for seed in seeds])

    def null_tokens(self) -> Tensor:
        return torch.zeros(1, 2, 4)

    def prepare(self, rgb: Tensor) -> Tensor:
        return nn.functional.interpolate(2 * rgb - 1, (8, 8), mode="bilinear")

    def eps(self, x_t: Tensor, t: Tensor, tokens: Tensor, cameras: Cameras | None) -> Tensor:
        self.asked.append(tuple(x_t.shape))
        return x_t * self.layer(tokens.mean(1))[:, :, None, None]


def objective(settings: MeshTraining = SETTINGS, **given: object) -> TextToMesh:
    teacher = Teacher()
    tokens = teacher.tokens(list(PROMPTS))
    generator = MeshGenerator.seeded(SMALL, 2, 4, seed=1)
    critic = ScoreDistillation(teacher, PROMPTS)
    return TextToMesh(generator, tokens, critic, settings, cameras=RULES, **given)


def trained(home: Path, settings: MeshTraining = SETTINGS, **given: object) -> TrainingResult:
    return train(objective(settings), prompt_rows(PROMPTS), settings.training(), home, **given)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return trained(tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("killed", [2, 4, 6], ids=["in stage 1", "between", "in stage 2"])
def test_a_run_killed_anywhere_goes_on_bit_for_bit(tmp_path: Path, whole: TrainingResult, killed: int) -> None:
    half = trained(tmp_path / "run", stop=lambda step: step == killed)
    assert (half.step, half.finished) == (killed, False)
    resumed = trained(tmp_path / "run")
    assert resumed.resumed_from == killed
    assert resumed.weights_hash == whole.weights_hash
    assert resumed.metrics.read_bytes() == whole.metrics.read_bytes()


def test_going_on_with_other_stages_or_another_teacher_is_refused(tmp_path: Path) -> None:
    trained(tmp_path / "run", stop=lambda step: step == 4)
    other = SETTINGS.but(stages=STAGES.but(mesh=STAGES.mesh.but(resolution=7)))
    with pytest.raises(ResumeRefusedError, match="resolution"):
        trained(tmp_path / "run", other)
    otherwise = objective()
    otherwise = TextToMesh(
        otherwise.generator, otherwise.tokens + 1, otherwise.criticism, SETTINGS, cameras=otherwise.cameras
    )
    with pytest.raises(ResumeRefusedError, match="tokens"):
        train(otherwise, prompt_rows(PROMPTS), SETTINGS.training(), tmp_path / "run")


def test_stages_and_what_the_critic_sees() -> None:
    assert [STAGES.stage_of(update) for update in (1, 4, 5, 8)] == ["volume", "volume", "mesh", "mesh"]
    assert STAGES.sharpness_at(1) == pytest.approx(10)
    assert STAGES.sharpness_at(4) == pytest.approx(60)
    one_stage = STAGES.but(volume=STAGES.volume.but(updates=0))
    assert one_stage.stage_of(1) == "mesh"
    assert SETTINGS.images == 8 * 2 * 2
    assert SETTINGS.times(2).images == 2 * SETTINGS.images
    with pytest.raises(ConfigurationError, match="no updates"):
        Stages(volume=VolumeStage(updates=0), mesh=MeshStage(updates=0))


def test_guidance_asks_with_and_without_text_at_once_and_its_limits_ask_once(tmp_path: Path) -> None:
    for guidance, pictures in ((4.0, 8), (1.0, 4), (0.0, 4)):
        teacher = Teacher()
        critic = ScoreDistillation(teacher, PROMPTS, Distillation(guidance=guidance))
        cameras = draw_views(2, 2, torch.Generator().manual_seed(0), RULES)
        noise = critic.noise(torch.tensor([0, 0, 2, 2]), cameras)
        x_t, t = torch.randn(4, 3, 8, 8), torch.tensor([3, 5, 7, 9])
        found = noise(x_t, t)
        assert teacher.asked == [(pictures, 3, 8, 8)]
        texts = teacher.tokens([PROMPTS[0]] * 2 + [PROMPTS[2]] * 2)
        nothing = teacher.eps(x_t, t, torch.zeros(4, 2, 4), cameras)
        expected = nothing + guidance * (teacher.eps(x_t, t, texts, cameras) - nothing)
        assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("perp_neg", [False, True])
def test_a_teacher_without_cameras_is_told_the_view_in_words(perp_neg: bool) -> None:
    teacher = Teacher()
    teacher.camera_conditioned = False
    critic = ScoreDistillation(teacher, PROMPTS, Distillation(perp_neg=perp_neg))
    assert set(critic.tokens) == {"front", "side", "back", "overhead"}
    cameras = draw_views(1, 4, torch.Generator().manual_seed(0), RULES)
    x_t, t = torch.randn(4, 3, 8, 8), torch.tensor([3, 5, 7, 9])
    assert critic.noise(torch.zeros(4, dtype=torch.long), cameras)(x_t, t).isfinite().all()
    assert teacher.asked == [(16 if perp_neg else 8, 3, 8, 8)]


def test_perp_neg_is_refused_for_a_teacher_with_cameras() -> None:
    with pytest.raises(ValueError, match="takes cameras"):
        ScoreDistillation(Teacher(), PROMPTS, Distillation(perp_neg=True))


def test_views_are_a_function_of_the_generator_and_spread_over_the_circle() -> None:
    first, again = (draw_views(3, 4, torch.Generator().manual_seed(7), RULES) for _ in range(2))
    assert torch.equal(first.azimuth, again.azimuth)
    assert len(first) == 12
    for prompt in range(3):
        around = (first.azimuth[4 * prompt : 4 * prompt + 4] % 360).sort().values
        assert float((around.roll(-1) - around)[:-1].max()) < 180
    assert 0 <= float(first.elevation.min()) <= float(first.elevation.max()) <= 40


def test_direct_loss_makes_the_shapes_of_true_pictures(tmp_path: Path) -> None:
    def truth(prompts: list[str], cameras: Cameras) -> Tensor:
        colours = {"a red ball": (1.0, 0, 0), "a blue box": (0, 0, 1.0), "a green can": (0, 1.0, 0)}
        return torch.tensor([colours[prompt] for prompt in prompts])[:, :, None, None].expand(-1, -1, 16, 16)

    settings = MeshTraining(
        stages=STAGES.but(mesh=STAGES.mesh.but(updates=40)), prompts=3, warmup=2, learning_rate=1e-2
    )
    generator = MeshGenerator.seeded(SMALL, 2, 4, seed=1)
    tokens = Teacher().tokens(list(PROMPTS))
    direct = TextToMesh(generator, tokens, DirectLoss(PROMPTS, truth, "colours"), settings, cameras=RULES)
    train(direct, prompt_rows(PROMPTS), settings.training(), tmp_path / "run")
    with torch.no_grad():
        surfaces = generator.shapes(tokens).surfaces(direct.grid)
    means = torch.stack([part.mean(0) for part in surfaces.meshes.split(surfaces.colours)])
    assert means.argmax(1).tolist() == [0, 2, 1]
    assert float(means.amax(1).min()) > 0.6


def test_measuring_is_recorded_and_taken_off_the_costs(tmp_path: Path) -> None:
    settings = SETTINGS.but(measure_every=4)
    watched = objective(settings, watch=lambda generator: {"r_probability": 0.25})
    result = train(watched, prompt_rows(PROMPTS), settings.training(), tmp_path / "run")
    cost = account("run", 3, result, watching=0.0, quality="r_probability")
    assert cost.reached == ((16.0, 0.25), (32.0, 0.25))
    assert cost.images == 32
    dearer = account("run", 3, result, watching=result.cpu_seconds / 2, quality="r_probability")
    assert dearer.cpu_seconds == pytest.approx(cost.cpu_seconds / 2)


def test_prompts_that_the_critic_would_change_most_come_more_often_and_unseen_ones_first() -> None:
    choice = PromptChoice(6, Choosing(temperature=0.2, memory=0.5))
    generator = torch.Generator().manual_seed(0)
    choice.observe(torch.tensor([0, 1]), torch.tensor([3.0, 1.0]))
    assert choice.means[:2].tolist() == pytest.approx([1.5, 0.5])
    assert set(choice.draw(4, generator).tolist()) == {2, 3, 4, 5}
    choice.observe(torch.tensor([2, 3, 4, 5]), torch.ones(4))
    choice.observe(torch.tensor([0, 1]), torch.tensor([1.0, 1.0]))
    assert choice.means[:2].tolist() == pytest.approx([1.25, 0.75])
    drawn = torch.stack([choice.draw(1, generator) for _ in range(2000)]).flatten().bincount(minlength=6) / 2000
    expected = (choice.means / 0.2).softmax(0)
    assert float((drawn - expected).abs().max()) < 0.04
    with pytest.raises(ValueError, match="7 different prompts was asked of 6"):
        choice.draw(7, generator)


def test_a_run_that_chooses_goes_on_as_it_would_have(tmp_path: Path, whole: TrainingResult) -> None:
    settings = SETTINGS.but(choosing=Choosing())
    through = trained(tmp_path / "through", settings)
    trained(tmp_path / "half", settings, stop=lambda step: step == 5)
    resumed = trained(tmp_path / "half", settings)
    assert resumed.weights_hash == through.weights_hash
    assert through.weights_hash != whole.weights_hash


def test_another_length_than_the_stages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the stages have 8 updates and the run 9"):
        train(objective(), prompt_rows(PROMPTS), SETTINGS.training().but(steps=9), tmp_path / "run")


def test_a_generator_that_is_not_finite_stops_the_run_and_names_the_prompts(tmp_path: Path) -> None:
    broken = objective()
    with torch.no_grad():
        broken.generator.decoder.heads["colour"].weight.fill_(float("nan"))
    with pytest.raises(TrainingStoppedError, match=r"a (red ball|blue box|green can)"):
        train(broken, prompt_rows(PROMPTS), SETTINGS.training(), tmp_path / "run")


def test_a_generator_goes_through_a_folder(tmp_path: Path) -> None:
    made = objective().generator
    made.save(tmp_path)
    again = MeshGenerator.load(tmp_path)
    tokens = Teacher().tokens(["x"])
    points = torch.rand(1, 20, 3)
    assert torch.equal(again.shapes(tokens).at(points)[1], made.eval().shapes(tokens).at(points)[1])
    with torch.no_grad():
        made.decoder.heads["sdf"].bias.fill_(float("inf"))
    made.save(tmp_path)
    with pytest.raises(ConfigurationError, match=r"decoder.heads.sdf.bias has numbers that are not finite"):
        MeshGenerator.load(tmp_path)
    with pytest.raises(ConfigurationError, match=r"holds no generator: generator\.safetensors is missing"):
        MeshGenerator.load(tmp_path / "nothing")
