"""A trained text-to-mesh model: words in, a coloured mesh out; a folder of plain files.

    model = TextToMeshModel.load(folder)
    surfaces = model.make(["a red cone on a blue box"], resolution=32)

The folder holds the generator, the text encoder of the teacher it was trained with, and where it came from. The teacher
itself is not needed, unless its texts are read by an encoder from elsewhere (`encode`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from glasshouse.store.configuration import ConfigurationError
from glasshouse.vision.diffusion.text import TextConfig, TextEncoder
from glasshouse.vision.mesh.generator import MeshGenerator, Surfaces, finite_weights
from glasshouse.vision.mesh.interpolation import between
from glasshouse.vision.mesh.teacher import OwnTeacher, Teacher
from glasshouse.vision.mesh.tets import tetrahedral_grid

TEXT, TEXT_WEIGHTS, ORIGIN = "text.json", "text.safetensors", "origin.json"
FINEST = 192


Encode = Callable[[Sequence[str]], Float[Tensor, "n length width"]]


@dataclasses.dataclass(frozen=True)
class TextToMeshModel:
    """A generator behind the text encoder it was trained with.

    Attributes:
        encode: prompts to tokens: a `TextEncoder`'s, which is saved with the model, or a teacher's.
        origin: teacher, prompts, seed and settings, as they go into the meshes it makes.
        encoder: the closed vocabulary, where there is one.
    """

    generator: MeshGenerator
    encode: Encode
    origin: dict[str, Any]
    encoder: TextEncoder | None = None

    @classmethod
    def of(cls, generator: MeshGenerator, teacher: Teacher, origin: dict[str, Any]) -> TextToMeshModel:
        """With the text encoder of the teacher it was trained with."""
        own = teacher.model.text if isinstance(teacher, OwnTeacher) else None
        return cls(generator, own.encode if own is not None else teacher.tokens, origin, own)

    @torch.no_grad()
    def tokens(self, prompts: Sequence[str]) -> Float[Tensor, "n length width"]:
        """Prompts encoded. Raises `PromptError` for an empty or too long prompt and for words it does not know."""
        return self.encode(prompts)

    def make(self, prompts: Sequence[str], resolution: int = 32, dual: bool = False) -> Surfaces:
        """A mesh for every prompt, on a grid of so many cells a side; `dual` as in `Shapes.surfaces`."""
        return self.surfaces(self.tokens(prompts), resolution, dual)

    def make_between(
        self, start: str, end: str, shares: Sequence[float], resolution: int = 32, dual: bool = False
    ) -> Surfaces:
        """Meshes between two prompts; share 0 is the first one, 1 the second."""
        first, last = self.tokens([start, end])
        return self.surfaces(between(first, last, torch.tensor(list(shares))), resolution, dual)

    @torch.no_grad()
    def surfaces(self, tokens: Float[Tensor, "n length width"], resolution: int, dual: bool = False) -> Surfaces:
        """Meshes of encoded texts."""
        if not 4 <= resolution <= FINEST:
            raise ConfigurationError(f"a mesh has a resolution of 4 to {FINEST} cells a side, got {resolution}")
        grid = tetrahedral_grid(resolution).to(tokens.device)
        return self.generator.shapes(tokens).surfaces(grid, dual)

    def save(self, folder: Path | str) -> None:
        """Write it into a folder, which is made."""
        home = Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        self.generator.save(home)
        if self.encoder is not None:
            text = json.dumps(self.encoder.config.model_dump(mode="json"), indent=1)
            (home / TEXT).write_text(text + "\n", encoding="utf-8")
            weights = {name: part.detach().cpu().contiguous() for name, part in self.encoder.state_dict().items()}
            save_file(weights, home / TEXT_WEIGHTS)
        (home / ORIGIN).write_text(json.dumps(self.origin, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str, teacher: Teacher | None = None) -> TextToMeshModel:
        """What `save` wrote; a model whose texts are read by an encoder from elsewhere needs the `teacher` it had.

        Raises `ConfigurationError` naming what is missing or does not fit, and weights that are not finite.
        """
        home = Path(folder)
        generator = MeshGenerator.load(home)
        if not (home / ORIGIN).is_file():
            raise ConfigurationError(f"{home} holds no text-to-mesh model: {ORIGIN} is missing; train it again")
        origin = json.loads((home / ORIGIN).read_text(encoding="utf-8"))
        if (home / TEXT).is_file() and (home / TEXT_WEIGHTS).is_file():
            encoder = TextEncoder(TextConfig(**json.loads((home / TEXT).read_text(encoding="utf-8"))))
            encoder.load_state_dict(finite_weights(home / TEXT_WEIGHTS))
            encoder.eval().requires_grad_(False)
            return cls(generator, encoder.encode, origin, encoder)
        if teacher is None or teacher.fingerprint != origin["teacher"]:
            given = "none was given" if teacher is None else f"{teacher.fingerprint[:16]} was given"
            raise ConfigurationError(
                f"{home} reads texts with the encoder of the teacher {origin['teacher'][:16]}, and {given}: give "
                "its folder"
            )
        return cls(generator, teacher.tokens, origin)
