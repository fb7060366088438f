"""Steps that bring images into the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from glasshouse.data.quarantine import Quarantine
from glasshouse.store.artifact import Artifact
from glasshouse.store.panels import Panel, Pictures, Table
from glasshouse.store.step import Run, step
from glasshouse.vision.collection import ImageCollection, ImageError, digits, load_collection
from glasshouse.vision.image_folder import ImageFolder, folder_fingerprint, read_folder
from glasshouse.vision.pictures import grid_png

SHOWN = 12


class ImageSet(Artifact):
    """Images of one size with their classes; `quarantine.jsonl` says what could not be read."""

    def load(self) -> ImageCollection:
        """The images; those that were read here have this artifact's id as their source."""
        found = load_collection(self.path)
        own = tuple(source or self.id for source in found.sources)
        return dataclasses.replace(found, sources=own)

    def panels(self) -> list[Panel]:
        """How many there are of each class, and some of them."""
        found = load_collection(self.path)
        rows, shown = [], []
        for place, name in enumerate(found.classes):
            mine = (found.labels == place).nonzero().flatten()
            held = int(found.held_out[mine].sum())
            rows.append((name, len(mine) - held, held))
            shown.append(found.images[mine[:SHOWN].repeat(SHOWN)[:SHOWN]])
        picture = (f"{SHOWN} of every class", grid_png(shown))
        return [
            Table("Images", ["class", "to train on", "held out"], rows),
            Pictures("Images, a class in each row", [picture]),
        ]


@step()
def read_digits(run: Run, holdout: float = 0.28, seed: int = 0) -> ImageSet:
    """The handwritten digits that come with scikit-learn."""
    digits(holdout, seed).save(run.output)
    return ImageSet(run.output)


@step(observe=folder_fingerprint)
def read_images(run: Run, folder: ImageFolder) -> ImageSet:
    """Images from a folder whose sub-folders are classes; what is no image goes to quarantine."""
    with Quarantine(run.output / "quarantine.jsonl") as quarantine:
        found = read_folder(folder, quarantine)
    found.save(run.output)
    run.measure(images=len(found), seen=quarantine.rows_seen, quarantined=quarantine.rows_quarantined)
    return ImageSet(run.output)


@step()
def gather_images(run: Run, sets: Sequence[ImageSet]) -> ImageSet:
    """Several sets as one; every image keeps the id of the artifact that it was read into, for forgetting by origin."""
    gathered(sets).save(run.output)
    return ImageSet(run.output)


def gathered(sets: Sequence[ImageSet]) -> ImageCollection:
    """Images of several artifacts; classes of one name are one class."""
    found = [one.load() for one in sets]
    if not found:
        raise ImageError("there are no image sets to gather")
    if len(kinds := {(one.size, one.levels) for one in found}) > 1:
        raise ImageError(f"the sets have images of different sizes or levels: {sorted(kinds)}")
    classes = tuple(sorted({name for one in found for name in one.classes}))
    labels = [torch.tensor([classes.index(name) for name in one.classes])[one.labels] for one in found]
    return ImageCollection(
        pixels=torch.cat([one.pixels for one in found]),
        levels=found[0].levels,
        labels=torch.cat(labels),
        classes=classes,
        names=tuple(name for one in found for name in one.names),
        ids=tuple(name for one in found for name in one.ids),
        sources=tuple(name for one in found for name in one.sources),
        held_out=torch.cat([one.held_out for one in found]),
    )
