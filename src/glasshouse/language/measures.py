"""What can be measured of a language model, and measuring it while it learns.

The measures themselves stand a floor above (`glasshouse.evaluation`); here is what they and pre-training agree on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from glasshouse.store.panels import Curves, Panel
from glasshouse.store.progress import Bar, SilentBar

if TYPE_CHECKING:
    from glasshouse.language.model import LoadedModel


class CausalModel(Protocol):
    """A model to be scored: `LoadedModel`, or any causal model with any tokenizer.

    Attributes:
        transformer: token ids `[batch, seq]` -> an object with `.logits`, in evaluation mode.
        tokenizer: a `tokenizers` or a `transformers` tokenizer.
        end_of_sequence: id of the token between documents; it also stands before a text.
        context: longest input, in tokens.
    """

    @property
    def transformer(self) -> nn.Module: ...

    @property
    def tokenizer(self) -> Any: ...

    @property
    def end_of_sequence(self) -> int: ...

    @property
    def context(self) -> int: ...


class Measure(Protocol):
    """Something to find out about a model.

    `measure` returns JSON data with `values` (name -> number), which claims are checked on, and whatever else its
    panels need. `curves`, where there are any, say how values are drawn when there are some for every checkpoint: each
    has `title`, `y` (the axis), `series` (label -> name of a value) and perhaps `bands` (label -> names of a lower and
    an upper value), `levels` (label -> name of a value that stays the same) and `log_y`.
    """

    def measure(self, model: LoadedModel, bar: Callable[[str, float | None], Bar]) -> dict[str, Any]: ...


class InTheLoop:
    """Measures taken of a model in training, as `evaluate` would take them of the finished one.

    They run in float32 whatever the precision of training, without compiled blocks, and draw no random numbers that
    training uses: the numbers of a run are the same with and without them, and those of its last update are the ones
    that `evaluate` finds.

    Attributes:
        seconds, times: what it cost so far, and how often it ran.
        curves: how the values are drawn, once they were measured.
    """

    def __init__(self, measures: Sequence[Measure], model: LoadedModel) -> None:
        self._measures, self._model = tuple(measures), model
        self.seconds, self.times = 0.0, 0
        self.curves: list[dict[str, Any]] = []

    def __call__(self) -> dict[str, float]:
        """All values of all measures by name."""
        started = time.perf_counter()
        module, kind = self._model.transformer, next(self._model.transformer.parameters()).device.type
        training = module.training
        module.eval()
        try:
            with torch.no_grad(), torch.autocast(kind, enabled=False), torch.compiler.set_stance("force_eager"):
                outcomes = [measure.measure(self._model, _silent) for measure in self._measures]
        finally:
            module.train(training)
        self.curves = [curve for outcome in outcomes for curve in outcome.get("curves", [])]
        self.seconds += time.perf_counter() - started
        self.times += 1
        return {name: value for outcome in outcomes for name, value in outcome["values"].items()}


def _silent(_: str, __: float | None) -> Bar:
    return SilentBar()


def measured_curves(
    curves: Sequence[Mapping[str, Any]], points: Sequence[tuple[float, Mapping[str, float]]], x: str = "update"
) -> list[Panel]:
    """Curves of measured values over updates or checkpoints: `points` are `(x, values by name)` in the order of x."""

    def line(name: str) -> list[tuple[float, float]]:
        return [(place, values[name]) for place, values in points if name in values]

    panels: list[Panel] = []
    for curve in curves:
        bands = {}
        for label, (low, high) in curve.get("bands", {}).items():
            pairs = zip(line(low), line(high), strict=True)
            bands[label] = [(place, below, above) for (place, below), (_, above) in pairs]
        levels = {label: found[-1][1] for label, name in curve.get("levels", {}).items() if (found := line(name))}
        series = {label: found for label, name in curve["series"].items() if (found := line(name))}
        if series:
            panels.append(
                Curves(
                    curve["title"], x, curve["y"], series,
                    log_y=bool(curve.get("log_y")), bands=bands, levels=levels, note=curve.get("note", ""),
                )
            )  # fmt: skip
    return panels
