"""A diffusion model as a folder: `config.json` and `model.safetensors`."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from glasshouse.store.configuration import ConfigurationError
from glasshouse.vision.diffusion.model import DiffusionConfig, DiffusionModel

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class DiffusionModelError(ValueError):
    """A folder that holds no diffusion model of this project, or a damaged one."""


def save_diffusion(model: DiffusionModel, folder: Path | str) -> None:
    """Write a model; the folder is made."""
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    text = json.dumps(model.config.model_dump(mode="json"), indent=1, sort_keys=True)
    (home / CONFIG).write_text(text + "\n", encoding="utf-8")
    save_file({name: part.detach().cpu().contiguous() for name, part in model.state_dict().items()}, home / WEIGHTS)


def load_diffusion(folder: Path | str, device: torch.device | str = "cpu") -> DiffusionModel:
    """Read a model, ready to sample. Raises `DiffusionModelError` naming what is missing or wrong."""
    home = Path(folder)
    try:
        config = DiffusionConfig(**json.loads((home / CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, ConfigurationError) as error:
        raise DiffusionModelError(f"{home / CONFIG} does not describe a diffusion model: {error}") from None
    model = DiffusionModel(config)
    try:
        weights = load_file(home / WEIGHTS)
        model.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DiffusionModelError(f"{home / WEIGHTS} are not the weights that {CONFIG} says: {error}") from None
    bad = [name for name, part in weights.items() if not torch.isfinite(part).all()]
    if bad:
        raise DiffusionModelError(f"{home / WEIGHTS} holds values that are not finite, in {bad[0]}: train it again")
    return model.to(device).eval().requires_grad_(False)


__all__ = ["DiffusionModelError", "load_diffusion", "save_diffusion"]
