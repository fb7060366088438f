"""Schedules and samplers against diffusers and closed forms; the model, its files and its training."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from glasshouse.store.configuration import ConfigurationError
from glasshouse.training.data import TensorRows
from glasshouse.vision.diffusion.denoising import Denoising, DenoisingSettings, train_diffusion
from glasshouse.vision.diffusion.files import DiffusionModelError, load_diffusion, save_diffusion
from glasshouse.vision.diffusion.guidance import guided
from glasshouse.vision.diffusion.model import DiffusionConfig, DiffusionModel
from glasshouse.vision.diffusion.sampler import ddim_step, sample, sampling_times
from glasshouse.vision.diffusion.schedule import Schedule
from glasshouse.vision.diffusion.text import PromptError, TextConfig, Vocabulary
from glasshouse.vision.diffusion.unet import UNet, UNetConfig

KINDS = {
    "linear": ({"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}, {}),
    "scaled_linear": (
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        {"first": 0.00085, "last": 0.012},
    ),
    "cosine": ({"beta_schedule": "squaredcos_cap_v2"}, {}),
}
THEIRS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}


def small(**changes: object) -> DiffusionConfig:
    text = TextConfig(words=("red", "green"), length=2, width=8, layers=1, heads=2)
    unet = UNetConfig(widths=(16, 16), heads=2, token_width=8, camera_width=3, image_channels=1)
    return DiffusionConfig(**({"size": 8, "unet": unet, "text": text} | changes))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_schedules_are_those_of_diffusers(kind: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs, ours = KINDS[kind]
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=1000, **theirs)
    schedule = Schedule(kind=kind, **ours)
    assert torch.allclose(schedule.alphas_cumprod.float(), scheduler.alphas_cumprod, rtol=0, atol=1e-6)
    x, e, t = noise(6, 3, 4, 4), noise(6, 3, 4, 4, seed=1), torch.tensor([0, 3, 100, 200, 700, 999])
    # where 1 - abar is small, the root of their single precision has lost digits
    tolerance = torch.tensor([5e-5, 5e-5, 2e-6, 2e-6, 2e-6, 2e-6])[:, None, None, None]
    assert ((schedule.noisy(x, e, t) - scheduler.add_noise(x, e, t)).abs() <= tolerance).all()
    assert ((schedule.target("v", x, e, t) - scheduler.get_velocity(x, e, t)).abs() <= tolerance).all()


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("kind", KINDS)
def test_predictions_give_each_other(kind: str, prediction: str) -> None:
    schedule = Schedule(kind=kind)
    t = torch.tensor([1, 10, 500, 900])
    x, e = noise(4, 1, 2, 2).double(), noise(4, 1, 2, 2, seed=1).double()
    x_t = schedule.noisy(x, e, t)
    said = schedule.target(prediction, x, e, t)
    assert torch.allclose(schedule.x_0(prediction, said, x_t, t), x, atol=1e-9)
    assert torch.allclose(schedule.eps(prediction, said, x_t, t), e, atol=1e-9)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_ddim_steps_are_those_of_diffusers(prediction: str, clip: float | None, eta: float) -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type=THEIRS[prediction],
        clip_sample=clip is not None, clip_sample_range=clip or 1.0, timestep_spacing="trailing",
    )  # fmt: skip
    scheduler.set_timesteps(10)
    schedule = Schedule(kind="scaled_linear", first=0.00085, last=0.012)
    times = sampling_times(schedule, 10)
    assert times == scheduler.timesteps.tolist()
    for place, (time, after) in enumerate(zip(times, [*times[1:], None], strict=True)):
        x_t, said, t = noise(2, 3, 4, 4, seed=place), noise(2, 3, 4, 4, seed=50 + place), torch.tensor([time, time])
        x_0 = schedule.x_0(prediction, said, x_t, t)
        ours = ddim_step(
            schedule, x_t, x_0, time, after, eta=eta, clip=clip, generator=torch.Generator().manual_seed(9)
        )
        theirs = scheduler.step(
            said, time, x_t, eta=eta, use_clipped_model_output=True, generator=torch.Generator().manual_seed(9)
        )
        # at x_999 their x_0 has lost digits to a division by alpha = 0.07
        assert torch.allclose(ours, theirs.prev_sample, atol=2e-5 if clip is None else 2e-6)


def test_the_sampler_draws_from_a_gaussian_whose_denoiser_is_known() -> None:
    """For x_0 ~ N(m, s^2): E[x_0 | x_t] = m + alpha s^2 (x_t - alpha m) / (alpha^2 s^2 + sigma^2)."""
    mean, spread = 0.3, 0.5

    class Known(DiffusionModel):
        def x_0(self, x: Tensor, t: Tensor, *_: Tensor | None, guidance: float = 1.0) -> Tensor:
            alpha, sigma = self.schedule.alpha(t, x), self.schedule.sigma(t, x)
            return mean + alpha * spread**2 * (x - alpha * mean) / (alpha**2 * spread**2 + sigma**2)

    model = Known(DiffusionConfig(size=16, unet=UNetConfig(channels=1, widths=(8,), attention=())))
    for eta in (0.0, 1.0):
        found = sample(model, 64, steps=200, eta=eta, clip=None, generator=torch.Generator().manual_seed(0))
        assert float(found.mean()) == pytest.approx(mean, abs=0.02)
        assert float(found.std()) == pytest.approx(spread, rel=0.03)


def test_guidance_has_one_convention() -> None:
    a, b = noise(3), noise(3, seed=1)
    assert torch.equal(guided(a, b, 0.0), a)
    assert torch.allclose(guided(a, b, 1.0), b)
    assert torch.allclose(guided(a, b, 3.0), 3 * b - 2 * a, atol=1e-6)


def test_both_sides_of_guidance_in_one_pass_are_two_passes() -> None:
    model = randomised(DiffusionModel(small()))
    x, t, camera, image = noise(2, 3, 8, 8), torch.tensor([5, 700]), noise(2, 3), noise(2, 1, 8, 8)
    tokens = model.tokens(["red", "green"])
    conditional = model(x, t, tokens, camera, image)
    unconditional = model(x, t, model.null_tokens(2), camera, image)
    assert not torch.allclose(conditional, unconditional, atol=1e-4)
    for scale in (0.0, 1.0, 4.0):
        found = model.predict(x, t, tokens, camera, image, guidance=scale)
        assert torch.allclose(found, unconditional + scale * (conditional - unconditional), atol=1e-5)


def randomised(model: DiffusionModel) -> DiffusionModel:
    """Layers that start at zero would hide what reaches the output."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for part in model.parameters():
            torch.nn.init.normal_(part, std=0.15)
    return model


def test_every_condition_reaches_the_output_and_every_weight_a_gradient() -> None:
    model = randomised(DiffusionModel(small()))
    given = [noise(2, 3, 8, 8), torch.tensor([5, 5]), model.tokens(["red", "red"]), noise(2, 3), noise(2, 1, 8, 8)]
    before = model(*given)
    other = [noise(2, 3, 8, 8, seed=7), torch.tensor([9, 9]), model.tokens(["green red", "green"]), noise(2, 3, seed=8),
             noise(2, 1, 8, 8, seed=9)]  # fmt: skip
    for place in range(5):
        changed = [*given[:place], other[place], *given[place + 1 :]]
        assert not torch.allclose(model(*changed), before, atol=1e-4), place
    before.square().sum().backward()
    assert [name for name, part in model.named_parameters() if part.grad is None or not part.grad.any()] == []


def test_encoder_and_decoder_are_the_network() -> None:
    unet = UNet(UNetConfig(channels=1, widths=(8, 16), depth=2, attention=(), patch=1))
    x, t = noise(2, 1, 12, 8), torch.tensor([1, 2])
    features, condition = unet.encode(x, t)
    assert [tuple(skip.shape[2:]) for skip in features.skips] == [(12, 8), (12, 8), (6, 4), (6, 4)]
    assert torch.equal(unet.decoder(features, condition, None), unet(x, t))


@pytest.mark.parametrize(
    ("shape", "image", "message"),
    [((1, 3, 9, 8), None, "multiples of 4"), ((1, 1, 8, 8), None, "3, h, w"), ((1, 3, 8, 8), 2, "0 channels")],
)
def test_wrong_pictures_are_refused(shape: tuple[int, ...], image: int | None, message: str) -> None:
    unet = UNet(UNetConfig(widths=(8, 8), attention=()))
    given = None if image is None else noise(1, image, 8, 8)
    with pytest.raises(ValueError, match=message):
        unet(noise(*shape), torch.tensor([0]), image=given)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: UNetConfig(widths=(12,)), "multiples of 8"),
        (lambda: UNetConfig(attention=(3,)), "levels below 2"),
        (lambda: DiffusionConfig(size=30), "multiple of 4"),
        (lambda: small(text=TextConfig(words=("a",), width=16)), "token_width"),
        (lambda: Schedule(first=0.5, last=0.1), "betas rise"),
        (lambda: TextConfig(words=("a", "a")), "repeat"),
    ],
)
def test_wrong_configurations_are_refused(build: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("", "empty"), ("  ", "empty"), ("red pig", "never saw: pig; it knows red, green"), ("red red green", "3 words")],
)
def test_prompts_that_are_not_understood_are_refused_by_name(prompt: str, message: str) -> None:
    encoder = Vocabulary(small().text)
    with pytest.raises(PromptError, match=message):
        encoder.ids(["red", prompt])


def test_a_vocabulary_is_that_of_its_prompts() -> None:
    config = TextConfig.of(["A red cone, side view", "a blue box"])
    assert config.words == (",", "a", "blue", "box", "cone", "red", "side", "view")
    assert config.length == 6


def test_files_keep_every_bit(tmp_path: Path) -> None:
    model = randomised(DiffusionModel(small()))
    save_diffusion(model, tmp_path)
    again = load_diffusion(tmp_path)
    assert again.config == model.config
    assert all(torch.equal(part, model.state_dict()[name]) for name, part in again.state_dict().items())
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(DiffusionModelError, match="not the weights"):
        load_diffusion(tmp_path)
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    save_diffusion(model, tmp_path)
    with pytest.raises(DiffusionModelError, match="not finite"):
        load_diffusion(tmp_path)
    with pytest.raises(DiffusionModelError, match="does not describe"):
        load_diffusion(tmp_path / "nowhere")


def colours() -> tuple[DiffusionConfig, TensorRows]:
    """Plain pictures, red or green by their word."""
    text = TextConfig(words=("red", "green"), length=1, width=8, layers=1, heads=2)
    config = DiffusionConfig(
        size=4, text=text, unet=UNetConfig(widths=(16,), attention=(0,), token_width=8, heads=2, patch=2)
    )
    red = torch.arange(64) % 2 == 0
    words = Vocabulary(text).ids(["red" if one else "green" for one in red.tolist()])
    picture = torch.where(red[:, None], torch.tensor([0.8, -0.8, -0.8]), torch.tensor([-0.8, 0.8, -0.8]))
    return config, TensorRows({"picture": picture[:, :, None, None].expand(-1, -1, 4, 4).clone(), "words": words})


def test_a_model_learns_what_words_mean_and_guidance_insists(tmp_path: Path) -> None:
    config, data = colours()
    settings = DenoisingSettings(steps=250, batch_size=32, learning_rate=4e-3, average=0.95, drop_text=0.2)
    model, result = train_diffusion(config, data, settings, tmp_path / "run")
    assert result.finished
    found = sample(
        model, prompts=["red"] * 8 + ["green"] * 8, guidance=2.0, steps=10, generator=torch.Generator().manual_seed(0)
    ).mean((2, 3))
    wanted = torch.tensor([[0.8, -0.8, -0.8]] * 8 + [[-0.8, 0.8, -0.8]] * 8)
    assert (found - wanted).abs().max() < 0.6  # the two colours are 1.6 apart
    # without words both colours are drawn
    nothing = model.null_tokens(32)
    either = sample(model, tokens=nothing, steps=10, generator=torch.Generator().manual_seed(0)).mean((2, 3))
    assert 4 <= int((either[:, 0] > either[:, 1]).sum()) <= 28


def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    config, data = colours()
    settings = DenoisingSettings(steps=12, batch_size=8, checkpoint_every=4)
    whole, _ = train_diffusion(config, data, settings, tmp_path / "whole")
    train_diffusion(config, data, settings, tmp_path / "parts", stop=lambda step: step == 5)
    parts, result = train_diffusion(config, data, settings, tmp_path / "parts")
    assert result.resumed_from == 5
    assert all(torch.equal(part, parts.state_dict()[name]) for name, part in whole.state_dict().items())


def test_the_average_follows_its_formula() -> None:
    config, _ = colours()
    objective = Denoising(DiffusionModel(config), DenoisingSettings(average=0.5))
    slow, fast = next(objective.average.parameters()), next(objective.model.parameters())
    before = slow.detach().clone()
    with torch.no_grad():
        fast += 1
    with torch.no_grad():
        objective.after_step(type("At", (), {"number": 1})())
    assert torch.allclose(slow, before + 9 / 11, atol=1e-6)  # rate (1 + 1) / (10 + 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [({}, "how many"), ({"count": 2, "camera": torch.zeros(3, 3)}, "how many"), ({"count": 1, "steps": 0}, "steps")],
)
def test_a_sampler_says_what_it_lacks(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(DiffusionModel(DiffusionConfig(size=8, unet=UNetConfig(widths=(8,), attention=()))), **given)
