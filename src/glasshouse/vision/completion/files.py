"""A completion model as a folder: `config.json` says which kind it is, `model.safetensors` has the weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from glasshouse.store.configuration import ConfigurationError
from glasshouse.vision.completion.diffusion import DiffusionCompletion, DiffusionCompletionConfig
from glasshouse.vision.completion.mae import MaskedAutoencoder, MaskedAutoencoderConfig
from glasshouse.vision.completion.model import Completion
from glasshouse.vision.completion.vq import VqAutoencoder
from glasshouse.vision.completion.vq_prior import VqCompletion, VqCompletionConfig

CONFIG, WEIGHTS = "config.json", "model.safetensors"
CompletionConfig = MaskedAutoencoderConfig | VqCompletionConfig | DiffusionCompletionConfig
OwnCompletion = MaskedAutoencoder | VqCompletion | DiffusionCompletion
KINDS: dict[str, type[MaskedAutoencoderConfig] | type[VqCompletionConfig] | type[DiffusionCompletionConfig]] = {
    "masked auto-encoder": MaskedAutoencoderConfig,
    "vq prior": VqCompletionConfig,
    "diffusion": DiffusionCompletionConfig,
}


class CompletionModelError(ValueError):
    """A folder that holds no completion model of this house, or a damaged one."""


def kind_of(config: CompletionConfig) -> str:
    """What a configuration is called in files."""
    return next(name for name, kind in KINDS.items() if type(config) is kind)


def save_completion(model: Completion, folder: Path | str) -> None:
    """Write a model of this house; the folder is made. Raises `CompletionModelError` for an adapter."""
    foreign = isinstance(model, VqCompletion) and not isinstance(model.tokenizer, VqAutoencoder)
    if foreign or not isinstance(model, OwnCompletion):
        raise CompletionModelError(f"a {type(model).__name__} is saved by its own library, not here")
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    about = {"kind": kind_of(model.config), "config": model.config.model_dump(mode="json")}
    (home / CONFIG).write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    save_file({name: part.detach().cpu().contiguous() for name, part in model.state_dict().items()}, home / WEIGHTS)


def load_completion(folder: Path | str, device: torch.device | str = "cpu") -> OwnCompletion:
    """Read a model. Raises `CompletionModelError` naming what is missing or wrong."""
    home = Path(folder)
    try:
        about = json.loads((home / CONFIG).read_text(encoding="utf-8"))
        config = KINDS[about["kind"]](**about["config"])
    except (OSError, ValueError, TypeError, KeyError, ConfigurationError) as error:
        raise CompletionModelError(f"{home / CONFIG} does not describe a completion model: {error}") from None
    model = config.build(0)
    try:
        model.load_state_dict(load_file(home / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CompletionModelError(f"{home / WEIGHTS} are not the weights that {CONFIG} says: {error}") from None
    return model.to(device).eval()
