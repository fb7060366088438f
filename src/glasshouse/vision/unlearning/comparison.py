"""Models side by side: errors over the original's, distances of features, and grids of what they complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from glasshouse.store.progress import Bar
from glasshouse.vision.collection import ImageCollection
from glasshouse.vision.completion.masks import Mask
from glasshouse.vision.completion.model import Completion
from glasshouse.vision.feature_network import Extractor
from glasshouse.vision.pictures import grid_png, masked
from glasshouse.vision.unlearning.audit import ORIGINAL, AuditSettings
from glasshouse.vision.unlearning.measures import completions, kinds, measure_all, ruler, same_masks
from glasshouse.vision.unlearning.split import Parts

COLUMNS = 10
SEEN = 32
"""Pixels that small images are enlarged to, so that a person sees them."""
OUTPAINT = Mask(kind="outpaint", share=0.75)
FREE_FORM = Mask(kind="free-form", share=0.4)


def compare(
    models: Mapping[str, Completion],
    images: ImageCollection,
    parts: Parts,
    extractor: Extractor,
    settings: AuditSettings,
    *,
    shown: Sequence[str],
    bar: Bar | None = None,
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What was measured (`values` by name, `models`, `floors`) and grids by name; `ORIGINAL` is one of the models."""
    rulers = {
        "forget": ruler(images, parts.forget_test, extractor),
        "retain": ruler(images, parts.retain_test, extractor),
    }
    measured = {}
    for name, model in models.items():
        measured[name] = measure_all(model, rulers, settings.masks, settings.seed)
        if bar is not None:
            bar.advance()
    values: dict[str, float] = {}
    for name, sets in measured.items():
        for part, masks in sets.items():
            for mask, figures in masks.items():
                values |= {f"{name}/{part}/{mask}/{what}": value for what, value in figures.items()}
                before = measured[ORIGINAL][part][mask]
                for what in ("mse", "frechet"):
                    values[f"{name}/{part}/{mask}/{what} ratio"] = figures[what] / max(before[what], 1e-12)
    floors = {part: held.floor for part, held in rulers.items()}
    values |= {f"floor/{part}/{what}": value for part, floor in floors.items() for what, value in floor.items()}
    kept = [name for name in models if name in shown]
    pictures = {}
    for mask in (*settings.masks, *(kind.but(cell=settings.masks[0].cell) for kind in (OUTPAINT, FREE_FORM))):
        for part, places in (("forget", parts.forget_test), ("retain", parts.retain_test)):
            pixels = images.images[_spread(images, places)]
            pictures[f"{part}, {mask.name}"] = _grid({name: models[name] for name in kept}, pixels, mask, settings.seed)
    found = {
        "masks": [mask.name for mask in settings.masks],
        "models": list(models),
        "shown": kept,
        "extractor": extractor.name,
        "held out": parts.forget_is_held_out,
        "classes": {part: [images.classes[label] for label in kinds(held.labels)] for part, held in rulers.items()},
        "floors": floors,
        "values": values,
    }
    return found, pictures


def _grid(models: Mapping[str, Completion], pixels: Tensor, mask: Mask, seed: int) -> bytes:
    hidden = same_masks(mask, pixels, seed)
    rows = [pixels, masked(pixels, hidden), *(completions(model, pixels, hidden, seed) for model in models.values())]
    return grid_png(rows, scale=max(1, SEEN // pixels.shape[2]))


def _spread(images: ImageCollection, places: Tensor) -> Tensor:
    """Some images of every class, as many of each as can be, class by class."""
    labels = images.labels[places].tolist()
    order = sorted(range(len(places)), key=lambda place: (labels[:place].count(labels[place]), labels[place]))
    chosen = sorted(order[:COLUMNS], key=lambda place: labels[place])
    return places[(chosen * COLUMNS)[:COLUMNS]]
