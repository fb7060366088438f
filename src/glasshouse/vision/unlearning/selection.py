"""What is to be forgotten: classes, listed images, or everything that came from an artifact; and what is to be kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from pydantic import Field, model_validator
from torch import Tensor

from glasshouse.store.configuration import Config
from glasshouse.vision.collection import ImageCollection

SHORTEST_ID = 12


class SplitError(ValueError):
    """A choice of images that cannot be made, or sets that overlap or are empty."""


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
        """Which images are meant. Raises `SplitError` for a class, an id or an artifact that there is not."""
        if unknown := [name for name in self.classes if name not in images.classes]:
            raise SplitError(f"there is no class {', '.join(unknown)}; there are {', '.join(images.classes)}")
        wanted = torch.zeros(len(images), dtype=torch.bool)
        for name in self.classes:
            wanted |= images.labels == images.classes.index(name)
        places = self._listed(images)
        for artifact in self.artifacts:
            found = [place for place, source in enumerate(images.sources) if source and source.startswith(artifact)]
            if not found:
                known = sorted({source[:SHORTEST_ID] for source in images.sources if source})
                raise SplitError(
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
                raise SplitError(f"no image is called {wanted!r}, and none has this hash")
            places += found
        return places


def listed_in(path: Path | str) -> Selection:
    """The images that a text file lists, an id or name on every line; empty lines and `#` lines are passed over."""
    lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    ids = tuple(line for line in lines if line and not line.startswith("#"))
    if not ids:
        raise SplitError(f"{path} lists no image; it takes one id or name on a line")
    return Selection(ids=ids)


class Split(Config):
    """What to forget and what to keep.

    Attributes:
        forget: the images whose completions are to carry no information.
        retain: those that are to be completed as before; None for all others.
        proxy: what stands in for `retain` while unlearning, when the real images are gone: other classes of images.
            `retain` is then only measured on.
    """

    forget: Selection
    retain: Selection | None = None
    proxy: Selection | None = None
    seed: int = Field(0, ge=0)


@dataclasses.dataclass(frozen=True)
class Parts:
    """Places of images.

    Attributes:
        forget, retain: what unlearning trains on (`retain` is the proxy, where there is one).
        forget_test, retain_test: what is measured on: held-out images of both kinds.
        forget_is_held_out: false where nothing of the forgotten kind was held out, as for listed images; then
            `forget_test` are the forgotten images themselves.
    """

    forget: Int[Tensor, " images"]
    retain: Int[Tensor, " images"]
    forget_test: Int[Tensor, " images"]
    retain_test: Int[Tensor, " images"]
    forget_is_held_out: bool


def parts_of(images: ImageCollection, split: Split) -> Parts:
    """The places of a split in a collection.

    Raises `SplitError` for sets that overlap (also by two copies of one image), or are empty.
    """
    forget = split.forget.chosen(images)
    retain = split.retain.chosen(images) if split.retain else ~forget
    if split.retain is None and split.proxy is not None:
        retain &= ~split.proxy.chosen(images)
    proxy = split.proxy.chosen(images) if split.proxy else retain
    _apart(images, "forget", forget, "retain", retain)
    _apart(images, "forget", forget, "proxy retain", proxy)
    seen = ~images.held_out
    return Parts(
        forget=_some("images to forget in the training images", forget & seen),
        retain=_some("images to retain in the training images", proxy & seen),
        forget_test=_places(forget & ~seen) if (forget & ~seen).any() else _places(forget & seen),
        retain_test=_some("held-out images to retain", retain & ~seen),
        forget_is_held_out=bool((forget & ~seen).any()),
    )


def _apart(images: ImageCollection, first: str, a: Tensor, second: str, b: Tensor) -> None:
    mine = {images.ids[place]: place for place in _places(a).tolist()}
    both = [(mine[images.ids[place]], place) for place in _places(b).tolist() if images.ids[place] in mine]
    if both:
        one, other = (images.names[place] for place in both[0])
        what = f"{one}" if one == other else f"{one} and {other}, which have the same pixels"
        raise SplitError(f"{len(both)} images stand both in the {first} set and in the {second} set, such as {what}")


def _places(chosen: Tensor) -> Tensor:
    return chosen.nonzero().flatten()


def _some(what: str, chosen: Tensor) -> Tensor:
    if not chosen.any():
        raise SplitError(f"there are no {what}: choose other classes or images")
    return _places(chosen)


def hashes(images: ImageCollection, places: Iterable[int]) -> list[str]:
    """Ids of some images, sorted."""
    return sorted(images.ids[place] for place in places)
