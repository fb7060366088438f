"""A judge that knows which prompt a picture shows, independent of what made the picture.

A small convolutional network reads the caption off a picture, every word at its place on its own:

    p(caption | picture) ~ prod_l p_l(word_l | picture)
    p(j | picture, set)  = softmax_j log p(caption_j | picture)

For the blocks world this is a classifier of four attributes, since the other words never change; for captions of a
user's own world nothing else is needed. It plays the part of CLIP in the R-probability (`metrics`): trained on true
pictures only, from other seeds than the teacher, and on pictures that are moved, scaled, recoloured, blurred and noisy,
because it has to judge what is drawn in other ways than its training data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.store.configuration import Config, named_seed
from glasshouse.training.configuration import Training
from glasshouse.training.objective import Loss, Step
from glasshouse.training.trainer import TrainingResult, train
from glasshouse.vision.diffusion.text import TextConfig, Vocabulary
from glasshouse.vision.mesh.worlds.pictures import World

CONFIG, WEIGHTS = "judge.json", "judge.safetensors"


class JudgeError(ValueError):
    """A folder that holds no judge, or a damaged one."""


class JudgeConfig(Config):
    """A judge.

    Attributes:
        text: the vocabulary and the longest caption; width and layers do not matter.
        size: side of the pictures it looks at; others are resized.
        widths: channels after each halving of the side.
    """

    text: TextConfig
    size: int = Field(32, ge=8)
    widths: tuple[int, ...] = (24, 48, 96)

    @model_validator(mode="after")
    def _fits(self) -> JudgeConfig:
        if not self.widths or any(width % 8 for width in self.widths) or self.size % 2 ** len(self.widths):
            raise ValueError(f"widths are multiples of 8, and size={self.size} has to be halved for each of them")
        return self


class Judge(nn.Module):
    """Reads captions off pictures in [0, 1]."""

    def __init__(self, config: JudgeConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(named_seed(seed, "judge"))
            layers: list[nn.Module] = []
            before = 3
            for width in config.widths:
                layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.GroupNorm(8, width), nn.SiLU(),
                           nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.SiLU()]  # fmt: skip
                before = width
            side = config.size // 2 ** len(config.widths)
            self.layers = nn.Sequential(*layers, nn.Flatten())
            self.words = nn.Linear(before * side**2, config.text.length * len(Vocabulary(config.text)))
            self.vocabulary = Vocabulary(config.text)

    def forward(self, rgb: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n l words"]:
        """Log-probabilities of every word at every place."""
        size = self.config.size
        if rgb.shape[-2:] != (size, size):
            rgb = functional.interpolate(rgb, (size, size), mode="bilinear", antialias=True, align_corners=False)
        features = self.layers((2 * rgb - 1).contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.words(features)
        return logits.reshape(len(rgb), self.config.text.length, -1).log_softmax(-1)

    @torch.no_grad()
    def probabilities(
        self, rgb: Float[Tensor, "n 3 h w"], prompts: Sequence[str], *, batch: int = 256
    ) -> Float[Tensor, "n prompts"]:
        """Which of `prompts` each picture shows. Raises `PromptError` for prompts that the judge cannot read."""
        if len(rgb) == 0 or min(rgb.shape[-2:]) < 2:
            raise ValueError(f"there is nothing to judge in pictures of shape {list(rgb.shape)}")
        ids = self.vocabulary.ids(prompts).T.to(rgb.device)
        found = []
        for start in range(0, len(rgb), batch):
            said = self(rgb[start : start + batch])
            found.append(sum(said[:, place, numbers] for place, numbers in enumerate(ids)).softmax(-1))
        return torch.cat(found)


def save_judge(judge: Judge, folder: Path) -> None:
    """Write it as JSON and safetensors; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(judge.config.model_dump(mode="json"), indent=1, sort_keys=True)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    save_file({name: part.detach().cpu().contiguous() for name, part in judge.state_dict().items()}, folder / WEIGHTS)


def load_judge(folder: Path) -> Judge:
    """What `save_judge` wrote. Raises `JudgeError`."""
    try:
        judge = Judge(JudgeConfig(**json.loads((folder / CONFIG).read_text(encoding="utf-8"))))
        judge.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise JudgeError(f"{folder} holds no judge: {error}") from None
    bad = [name for name, part in judge.state_dict().items() if not torch.isfinite(part).all()]
    if bad:
        raise JudgeError(f"{folder / WEIGHTS} holds values that are not finite, in {bad[0]}: train it again")
    return judge.eval().requires_grad_(False)


class JudgeSettings(Config):
    """How a judge is trained."""

    steps: int = Field(700, ge=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    move: float = Field(0.12, ge=0, description="largest shift, as a share of half the side")
    scale: float = Field(0.15, ge=0, lt=1)
    tint: float = Field(0.12, ge=0)
    noise: float = Field(0.08, ge=0)
    seed: int = Field(1, ge=0, description="other than the teacher's")

    def training(self) -> Training:
        """For the shared trainer."""
        return Training.small(
            steps=self.steps, batch_size=self.batch_size, learning_rate=self.learning_rate, seed=self.seed,
            warmup=min(20, self.steps - 1), weight_decay=0.01, betas=(0.9, 0.99), schedule="cosine",
            final_fraction=0.02, checkpoint_every=200,
        )  # fmt: skip


class Judging:
    """The objective: cross-entropy of every word of the caption."""

    unit = "pictures"

    def __init__(self, judge: Judge, settings: JudgeSettings) -> None:
        self.judge, self.settings = judge, settings
        self.learns: Mapping[str, nn.Module] = {"layers": judge.layers, "words": judge.words}
        self.carries: Mapping[str, nn.Module] = {}
        self.frozen: Mapping[str, nn.Module] = {}
        self.configuration = {"settings": settings, "judge": judge.config}

    def weight(self, batch: Mapping[str, Tensor]) -> float:
        return float(len(batch["picture"]))

    def loss(self, batch: Mapping[str, Tensor], step: Step) -> Loss:
        rgb = disturbed((batch["picture"] + 1) / 2, self.settings, step.generator)
        said, words = self.judge(rgb), batch["words"]
        value = functional.nll_loss(said.flatten(0, 1), words.flatten()) * words.shape[1]
        right = (said.argmax(-1) == words).all(1).float().mean()
        return Loss(value, {"captions read": right.detach()})


def disturbed(
    rgb: Float[Tensor, "n 3 h w"], settings: JudgeSettings, generator: torch.Generator
) -> Float[Tensor, "n 3 h w"]:
    """Pictures moved, scaled, recoloured, noisy, and every second one blurred; what moves in is what the edge was."""
    count, device = len(rgb), rgb.device
    draws = 2 * torch.rand(count, 6, generator=generator, device=device) - 1
    frames = torch.zeros(count, 2, 3, device=device)
    frames[:, 0, 0] = frames[:, 1, 1] = 1 + settings.scale * draws[:, 0]
    frames[:, :, 2] = settings.move * draws[:, 1:3]
    grid = functional.affine_grid(frames, list(rgb.shape), align_corners=False)
    moved = functional.grid_sample(rgb, grid, padding_mode="border", align_corners=False)
    blurred = functional.avg_pool2d(functional.pad(moved, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    chosen = torch.rand(count, 1, 1, 1, generator=generator, device=device) < 0.5
    tinted = torch.where(chosen, blurred, moved) * (1 + settings.tint * draws[:, 3:, None, None])
    noise = torch.randn(rgb.shape, generator=generator, device=device)
    amount = settings.noise * torch.rand(count, 1, 1, 1, generator=generator, device=device)
    return (tinted + amount * noise).clamp(0, 1)


def train_judge(
    world: World, settings: JudgeSettings, directory: Path | str, *, device: torch.device | str = "cpu", **options: Any
) -> tuple[Judge, TrainingResult]:
    """Train a judge of a world; `options` go to the trainer."""
    judge = Judge(JudgeConfig(text=TextConfig.of(world.prompts), size=world.size), settings.seed).to(device)
    data = world.pictures(judge.vocabulary, seed=settings.seed)
    result = train(Judging(judge, settings), data, settings.training(), directory, **options)
    return judge.eval().requires_grad_(False), result


__all__ = [
    "Judge",
    "JudgeConfig",
    "JudgeError",
    "JudgeSettings",
    "Judging",
    "disturbed",
    "load_judge",
    "save_judge",
    "train_judge",
]
