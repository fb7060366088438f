"""What is to be forgotten, what is to be kept, and what stands in for it, as sets of images that do not overlap."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from glasshouse.store.configuration import Config
from glasshouse.vision.collection import ImageCollection
from glasshouse.vision.selection import Selection


class SplitError(ValueError):
    """Sets that overlap or are empty."""


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
