"""Features of a user's own network: a folder of a vision model of transformers, such as CLIP's, DINO's or a ViT.

With CLIP's vision tower the cosine of `glasshouse.vision.unlearning.measures` is the paper's CLIP similarity. FID
proper needs the weights of one Inception network in a form without pickle; with other weights the Fréchet distance
carries the name of the model, never that one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from glasshouse.store.files import hash_file

CHUNK = 64


class WeightsError(ValueError):
    """A folder that holds no vision model in safetensors."""


class PretrainedFeatures:
    """A vision model as a source of features. Nothing is fetched, no code of the folder is run, no pickle is read.

    Args:
        folder: with `config.json`, weights in safetensors and, for mean and deviation of pixels, if it has one,
            `preprocessor_config.json`.

    Raises `WeightsError` when there is no such model.
    """

    def __init__(self, folder: Path | str, device: torch.device | str = "cpu") -> None:
        from transformers import AutoConfig, AutoModel, CLIPVisionModelWithProjection

        home = Path(folder)
        weights = sorted(home.glob("*.safetensors"))
        if not (home / "config.json").is_file() or not weights:
            raise WeightsError(f"{home} needs config.json and weights in *.safetensors; other forms are not read")
        config = AutoConfig.from_pretrained(str(home), trust_remote_code=False, local_files_only=True)
        kind: Any = CLIPVisionModelWithProjection if config.model_type in ("clip", "clip_vision_model") else AutoModel
        model: Any = kind.from_pretrained(str(home), use_safetensors=True, local_files_only=True)
        if not hasattr(model.config, "image_size"):
            raise WeightsError(f"{home} holds a {type(model).__name__}, which takes no images of a known size")
        self.model = model.to(device).eval().requires_grad_(False)
        self.device, self.size = torch.device(device), int(model.config.image_size)
        prepared = home / "preprocessor_config.json"
        known = json.loads(prepared.read_text(encoding="utf-8")) if prepared.is_file() else {}
        self.mean, self.deviation = (
            torch.tensor(known.get(name, [0.5] * 3), device=self.device).view(1, 3, 1, 1)
            for name in ("image_mean", "image_std")
        )
        self.name = f"{type(model).__name__} of {home.name}, sha256 {hash_file(weights[0])[:12]}"

    @torch.no_grad()
    def features(self, images: Float[Tensor, "images channels height width"]) -> Float[Tensor, "images features"]:
        """Projected or pooled features, or the mean over places where a model has neither; on the host."""
        parts = []
        for start in range(0, len(images), CHUNK):
            chunk = images[start : start + CHUNK].to(self.device).expand(-1, 3, -1, -1)
            scaled = functional.interpolate(chunk, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
            found = self.model(pixel_values=(scaled - self.mean) / self.deviation)
            picked = getattr(found, "image_embeds", None)
            if picked is None:
                picked = getattr(found, "pooler_output", None)
            parts.append((picked if picked is not None else found.last_hidden_state.mean(1)).cpu())
        return torch.cat(parts)
