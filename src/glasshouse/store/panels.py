"""Panels: what an artifact wants a person to see. Plain data; `report` turns them into a page, others may too."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

PNG, GIF = b"\x89PNG\r\n\x1a\n", b"GIF8"
PICTURE_TYPES = (PNG, GIF)
"""How the files begin that a panel of pictures takes."""


@dataclasses.dataclass(frozen=True)
class Panel:
    """A titled part of a report, with an optional sentence that says how to read it."""

    title: str
    note: str = dataclasses.field(default="", kw_only=True)


@dataclasses.dataclass(frozen=True)
class Numbers(Panel):
    """A few headline figures: label -> value in words, with its unit."""

    values: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Table(Panel):
    """Rows under column names. A row's `details` (label, text) unfold below it, for examples."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | int | None]]
    details: Mapping[int, Sequence[tuple[str, str]]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Curves(Panel):
    """Lines over a shared x axis: series name -> points (x, y) in the order of x.

    `bands` are intervals around a series, (x, low, high); `levels` are values that stay the same, such as chance.
    """

    x: str
    y: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    log_y: bool = False
    bands: Mapping[str, Sequence[tuple[float, float, float]]] = dataclasses.field(default_factory=dict)
    levels: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Bars(Panel):
    """Grouped horizontal bars: group -> series name -> value.

    `intervals` of some bars are (low, high); `levels` are a value for a group, such as chance, drawn across its bars.
    """

    unit: str
    groups: Mapping[str, Mapping[str, float]]
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] = dataclasses.field(default_factory=dict)
    levels: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Samples(Panel):
    """Pieces of text with what they came from; the first part (a prompt) may be set apart from the rest."""

    samples: Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Pictures(Panel):
    """PNG or GIF files, each with a caption; small ones are enlarged without smoothing.

    Raises:
        ValueError: where a picture is neither PNG nor GIF.
    """

    pictures: Sequence[tuple[str, bytes]]

    def __post_init__(self) -> None:
        """A page shows whatever it is given, so what is no picture is refused here."""
        for caption, content in self.pictures:
            if not content.startswith(PICTURE_TYPES):
                raise ValueError(f"the picture {caption!r} starts with {content[:8]!r}, as no PNG or GIF file does")
