"""Some images of a collection: by class, by hash or name, or by the artifact they came from."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Bool
from pydantic import model_validator
from torch import Tensor

from glasshouse.store.configuration import Config
from glasshouse.vision.collection import ImageCollection

SHORTEST_ID = 12


class SelectionError(ValueError):
    """A class, an image or an artifact that there is not."""


class Selection(Config):
    """Images by class, by id (sha256 of the pixels, or its first 12 digits or more) or name, or by artifact.

    What any of the three names is chosen.
    """

    classes: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _not_empty(self) -> Selection:
        if not (self.classes or self.ids or self.artifacts):
            raise ValueError("a selection names classes, ids or artifacts")
        return self

    def chosen(self, images: ImageCollection) -> Bool[Tensor, " images"]:
        """Which images are meant. Raises `SelectionError` for a class, an id or an artifact that there is not."""
        if unknown := [name for name in self.classes if name not in images.classes]:
            raise SelectionError(f"there is no class {', '.join(unknown)}; there are {', '.join(images.classes)}")
        wanted = torch.zeros(len(images), dtype=torch.bool)
        for name in self.classes:
            wanted |= images.labels == images.classes.index(name)
        places = self._listed(images)
        for artifact in self.artifacts:
            found = [place for place, source in enumerate(images.sources) if source and source.startswith(artifact)]
            if not found:
                known = sorted({source[:SHORTEST_ID] for source in images.sources if source})
                raise SelectionError(
                    f"no image came from artifact {artifact!r}; images came from {', '.join(known) or 'none'}"
                )
            places += found
        wanted[places] = True
        return wanted

    def _listed(self, images: ImageCollection) -> list[int]:
        by_name: dict[str, list[int]] = {}
        for place, (name, one) in enumerate(zip(images.names, images.ids, strict=True)):
            by_name.setdefault(name, []).append(place)
            by_name.setdefault(one, []).append(place)
        places = []
        for wanted in self.ids:
            found = by_name.get(wanted, [])
            if not found and len(wanted) >= SHORTEST_ID:
                found = [place for place, one in enumerate(images.ids) if one.startswith(wanted)]
            if not found:
                raise SelectionError(f"no image is called {wanted!r}, and none has this hash")
            places += found
        return places


def listed_in(path: Path | str) -> Selection:
    """The images that a text file lists, an id or name on every line; empty lines and `#` lines are passed over."""
    lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    ids = tuple(line for line in lines if line and not line.startswith("#"))
    if not ids:
        raise SelectionError(f"{path} lists no image; it takes one id or name on a line")
    return Selection(ids=ids)
