"""DeepFloyd IF and Stable Diffusion as teachers, from a folder on this machine.

    teacher = open_folder_teacher("models/IF-I-XL-v1.0")

The folder is one of diffusers' pipelines, with weights as safetensors. Nothing is ever fetched. Texts are encoded first
and kept on disk (`embedding_cache`); the text encoder, which is larger than the rest of IF, is freed before the UNet is
loaded. A teacher's fingerprint is a hash over the files it uses.

- IF (first stage): pixels at the UNet's own size. It predicts noise and variance in 6 channels; the first 3 are noise.
- Stable Diffusion: x is the mean of the encoder's latents times its scaling factor, and the gradient goes through the
  encoder. The UNet predicts eps or v, as its scheduler says.

Both are told the side that is seen in words (`prompts.with_views`). Tried on tiny models with random weights only.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glasshouse.vision.diffusion.schedule import Prediction
from glasshouse.vision.diffusion.text import PromptError
from glasshouse.vision.mesh.cameras import Cameras
from glasshouse.vision.mesh.embedding_cache import EmbeddingCache, Encode
from glasshouse.vision.mesh.folder_hash import folder_hash
from glasshouse.vision.mesh.prompts import with_views
from glasshouse.vision.mesh.teacher import TeacherError, resized

PIPELINES: dict[str, Literal["if", "sd"]] = {"IFPipeline": "if", "StableDiffusionPipeline": "sd"}
PARTS = {
    "if": ("tokenizer", "text_encoder", "unet", "scheduler"),
    "sd": ("tokenizer", "text_encoder", "unet", "scheduler", "vae"),
}
TEXT_PARTS = ("tokenizer", "text_encoder")
IF_TOKENS = 77
PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}


def default_cache() -> Path:
    """Where encoded texts are kept unless something else is said."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "glasshouse" / "encoded-texts"


@dataclasses.dataclass(frozen=True)
class FolderTeacher:
    """A diffusers pipeline behind the `Teacher` protocol; made by `open_folder_teacher`."""

    folder: Path
    kind: Literal["if", "sd"]
    cache: Path
    device: str
    dtype: torch.dtype
    camera_conditioned: bool = False

    @cached_property
    def fingerprint(self) -> str:
        return folder_hash(self.folder, PARTS[self.kind])

    @cached_property
    def unet(self) -> nn.Module:
        """The network, loaded when it is first needed."""
        return self._model("diffusers", "UNet2DConditionModel", "unet")

    @cached_property
    def vae(self) -> nn.Module:
        """The encoder of Stable Diffusion."""
        return self._model("diffusers", "AutoencoderKL", "vae")

    @cached_property
    def scheduler(self) -> Any:
        """Noise by time, and what the UNet predicts."""
        return _library("diffusers").DDPMScheduler.from_pretrained(self.folder / "scheduler", local_files_only=True)

    @property
    def image_size(self) -> int:
        size = int(self._config("unet")["sample_size"])
        return size if self.kind == "if" else size * 2 ** (len(self._config("vae")["block_out_channels"]) - 1)

    @cached_property
    def alphas_cumprod(self) -> Float[Tensor, " T"]:
        bars: Tensor = self.scheduler.alphas_cumprod
        return bars.to(self.device)

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        return {"unet": self.unet} | ({"vae": self.vae} if self.kind == "sd" else {})

    def tokens(self, prompts: Sequence[str], views: Sequence[str] | None = None) -> Float[Tensor, "n l d"]:
        for prompt in prompts:
            if not prompt.strip():
                raise PromptError(f"the prompt {prompt!r} is empty: say what to make")
        return self._encoded(list(prompts) if views is None else with_views(prompts, views))

    def null_tokens(self) -> Float[Tensor, "1 l d"]:
        return self._encoded([""])

    def prepare(self, rgb: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c s s"]:
        x = resized(rgb, self.image_size).to(self.device, self.dtype)
        if self.kind == "if":
            return x
        vae: Any = self.vae
        latents: Tensor = vae.encode(x).latent_dist.mean * vae.config.scaling_factor
        return latents

    @torch.no_grad()
    def eps(
        self,
        x_t: Float[Tensor, "n c s s"],
        t: Int[Tensor, " n"],
        tokens: Float[Tensor, "n l d"],
        cameras: Cameras | None = None,
    ) -> Float[Tensor, "n c s s"]:
        said: Tensor = self.unet(x_t.to(self.dtype), t, encoder_hidden_states=tokens.to(self.dtype)).sample
        said = said[:, : x_t.shape[1]].to(x_t.dtype)
        kind = PREDICTIONS[self.scheduler.config.prediction_type]
        if kind == "eps":
            return said
        bars = self.alphas_cumprod.to(x_t)[t].reshape(-1, 1, 1, 1)
        alpha, sigma = bars.sqrt(), (1 - bars).sqrt()
        return (x_t - alpha * said) / sigma if kind == "x0" else sigma * x_t + alpha * said

    def _encoded(self, texts: list[str]) -> Tensor:
        encoder = folder_hash(self.folder, TEXT_PARTS)
        found = EmbeddingCache(self.cache, encoder).get(texts, self._text_encoder)
        gc.collect()  # the text encoder goes before anything else is loaded
        return found.to(self.device, self.dtype)

    def _text_encoder(self) -> Encode:
        """The text encoder; it is freed with the function that is returned."""
        transformers = _library("transformers")
        tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder / "tokenizer", local_files_only=True)
        name = "T5EncoderModel" if self.kind == "if" else "CLIPTextModel"
        model = self._model("transformers", name, "text_encoder")
        length = IF_TOKENS if self.kind == "if" else int(tokenizer.model_max_length)

        @torch.no_grad()
        def encode(texts: Sequence[str]) -> Tensor:
            for text in texts:
                needed = len(tokenizer(text).input_ids)
                if needed > length:
                    raise PromptError(f"the prompt {text!r} has {needed} tokens, this model reads {length}: shorten it")
            found = []
            for text in texts:
                rows = tokenizer(text, padding="max_length", max_length=length, return_tensors="pt").to(self.device)
                mask = {"attention_mask": rows.attention_mask} if self.kind == "if" else {}
                found.append(model(rows.input_ids, **mask)[0][0].float().cpu())
            return torch.stack(found)

        return encode

    def _model(self, library: str, name: str, part: str) -> nn.Module:
        kind = getattr(_library(library), name)
        options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
        options["torch_dtype" if library == "diffusers" else "dtype"] = self.dtype
        try:
            model: nn.Module = kind.from_pretrained(self.folder / part, **options)
        except (OSError, ValueError) as error:
            raise TeacherError(f"{self.folder / part} cannot be read as {name} with safetensors: {error}") from None
        return model.to(self.device).eval().requires_grad_(False)

    def _config(self, part: str) -> dict[str, Any]:
        return _json(self.folder / part / "config.json")


def open_folder_teacher(
    folder: Path | str,
    *,
    cache: Path | str | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> FolderTeacher:
    """A teacher from a pipeline's folder.

    Args:
        cache: where encoded texts are kept; `default_cache()` if None.

    Raises:
        TeacherError: where the folder is missing, is not such a pipeline, or lacks a part.
    """
    home = Path(folder)
    if not home.is_dir():
        raise TeacherError(f"{home} is no folder: a teacher's weights have to be there already, none are fetched")
    name = str(_json(home / "model_index.json").get("_class_name"))
    if name not in PIPELINES:
        raise TeacherError(f"{home} holds a {name}; teachers are {', '.join(PIPELINES)}")
    kind = PIPELINES[name]
    missing = [part for part in PARTS[kind] if not (home / part).is_dir()]
    if missing:
        raise TeacherError(f"{home} lacks {', '.join(missing)}: fetch the whole pipeline, with safetensors weights")
    return FolderTeacher(home, kind, Path(cache) if cache is not None else default_cache(), device, dtype)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TeacherError(f"{path} cannot be read ({error}): is this a diffusers pipeline?") from None
    return dict(found)


def _library(name: str) -> Any:
    try:
        if name == "diffusers":
            import diffusers

            return diffusers
        import transformers
    except ImportError:
        raise ImportError(f"this teacher needs {name}: pip install 'glasshouse[diffusers]'") from None
    return transformers


__all__ = ["FolderTeacher", "default_cache", "open_folder_teacher"]
