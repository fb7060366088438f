"""Models of a sensible size for images of a size, by name: what recipes and a person without wishes start from."""

from __future__ import annotations

from glasshouse.store.configuration import ConfigurationError
from glasshouse.vision.completion.diffusion import DiffusionCompletionConfig
from glasshouse.vision.completion.files import CompletionConfig
from glasshouse.vision.completion.mae import MaskedAutoencoderConfig
from glasshouse.vision.completion.training import CompletionTraining
from glasshouse.vision.completion.visible import GridTransformer
from glasshouse.vision.completion.vq import VqConfig
from glasshouse.vision.completion.vq_prior import VqCompletionConfig

SMALL = GridTransformer(width=64, heads=4, layers=2, decoder_layers=1, expansion=2)
LARGER = GridTransformer(width=128, heads=4, layers=4, decoder_layers=2)


def completion_model(model: str, size: int, channels: int) -> CompletionConfig:
    """A model for images of a size: very small for digits."""
    patch, transformer = (2, SMALL) if size <= 8 else (4, LARGER)
    if model == "mae":
        return MaskedAutoencoderConfig(channels=channels, height=size, width=size, patch=patch, transformer=transformer)
    if model == "vq":
        vq = VqConfig(channels=channels, patch=patch, codes=64 if size <= 8 else 256)
        return VqCompletionConfig(autoencoder=vq, height=size, width=size, transformer=transformer)
    if model == "diffusion":
        widths = (32, 48) if size <= 8 else (64, 96, 128)
        return DiffusionCompletionConfig(channels=channels, size=size, patch=1 if size <= 8 else 2, widths=widths)
    raise ConfigurationError(f"model got {model!r}: it is mae, vq or diffusion")


def patch_of(config: CompletionConfig) -> int:
    """Side of the cells that masks are drawn on: a model's patches, or 2 where it has none."""
    if isinstance(config, VqCompletionConfig):
        return config.autoencoder.patch
    return config.patch if isinstance(config, MaskedAutoencoderConfig) else 2


def completion_training(model: str, updates: int, seed: int) -> CompletionTraining:
    """How a model is trained: an auto-encoder of patches by Muon, the others by AdamW."""
    plain = CompletionTraining(steps=updates, seed=seed)
    return plain if model == "mae" else plain.but(optimizer="adamw", learning_rate=2e-3)
