"""The step `compare_models`: completions of several models of one split, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from glasshouse.store.artifact import Artifact
from glasshouse.store.panels import Panel
from glasshouse.store.step import Run, step
from glasshouse.vision.completion.steps import CompletionModel
from glasshouse.vision.feature_steps import Features
from glasshouse.vision.image_steps import ImageSet
from glasshouse.vision.unlearning.audit import ORIGINAL, AuditSettings
from glasshouse.vision.unlearning.comparison import compare
from glasshouse.vision.unlearning.panels import comparison_panels
from glasshouse.vision.unlearning.split import Split, parts_of


class Found(Artifact):
    """Figures and pictures of several models."""

    @cached_property
    def found(self) -> dict[str, Any]:
        """Everything that was measured."""
        read: dict[str, Any] = json.loads(self.file("found.json").read_text(encoding="utf-8"))
        return read

    @property
    def values(self) -> dict[str, float]:
        """All figures by name, for claims."""
        values: dict[str, float] = self.found["values"]
        return values

    def pictures(self) -> dict[str, bytes]:
        """Grids as PNG, by name."""
        return {path.stem: path.read_bytes() for path in sorted(self.path.glob("*.png"))}


class Comparison(Found):
    """What models complete, side by side."""

    def panels(self) -> list[Panel]:
        """Grids, the table of models, and the curve over alpha."""
        return comparison_panels(self.found, self.pictures())


@step()
def compare_models(
    run: Run,
    images: ImageSet,
    split: Split,
    features: Features,
    original: CompletionModel,
    models: Mapping[str, CompletionModel],
    settings: AuditSettings = AuditSettings(),  # noqa: B008 (frozen)
    sweep: Mapping[str, CompletionModel] | None = None,
    shown: tuple[str, ...] = (),
    device: str = "cpu",
) -> Comparison:
    """Measure completions of several models of one split.

    Args:
        models: by name; `shown` of them stand in the grids.
        sweep: models by their alpha, as text.
    """
    collection = images.load()
    every = {ORIGINAL: original, **models, **{f"alpha {alpha}": model for alpha, model in (sweep or {}).items()}}
    with run.bar("comparing completions", len(every)) as bar:
        found, pictures = compare(
            {name: model.load(device) for name, model in every.items()}, collection, parts_of(collection, split),
            features.load(), settings, shown=(ORIGINAL, *shown), bar=bar,
        )  # fmt: skip
    found["sweep"] = list(sweep or {})
    found["values"] |= {f"{name}/flops": float(model.training["flops"]) for name, model in every.items()}
    found["values"] |= {
        f"{name}/decoder unchanged": float(model.training["decoder unchanged"])
        for name, model in every.items() if "decoder unchanged" in model.training
    }  # fmt: skip
    found["features"] = features.told
    (run.output / "found.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for name, content in pictures.items():
        (run.output / f"{name}.png").write_bytes(content)
    return Comparison(run.output)
