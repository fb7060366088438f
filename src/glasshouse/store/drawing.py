"""Pictures as SVG: curves, bars and the lineage graph. Colours come from the page's style sheet, or a file's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from glasshouse.store.manifest import short
from glasshouse.store.panels import Bars, Curves, Panel

STYLE = (
    "svg{background:#fff}text{font:12px system-ui,sans-serif;fill:#5d6a64}.axis{font-size:12.5px}"
    ".grid{stroke:#dfe4e0}.line{fill:none;stroke-width:1.8}.point{opacity:0}"
    ".band{opacity:.16;stroke:none}.level{stroke:#5d6a64;stroke-width:1.4;stroke-dasharray:5 4}"
)
INKS = ("#1f7a4d", "#c2591f", "#3a66b0", "#8d4a9e", "#7a7f2a", "#2a8a94")
"""For files of their own, which no page gives its colours: those of the report in daylight."""
WIDTH, HEIGHT = 760, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 14, 44
COLOURS = 6


def number(value: float) -> str:
    """A number as short as it can be read: 1 234 567 -> 1.23M, 0.000123 -> 1.23e-04."""
    if value == 0 or not math.isfinite(value):
        return str(value) if value else "0"
    size = abs(value)
    for bound, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= bound:
            return f"{value / (1e3 if letter == 'k' else bound):.3g}{letter}"
    if size >= 999.5:
        return f"{value:.0f}"
    return f"{value:.3g}" if size >= 1e-3 else f"{value:.2e}"


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round values between low and high, about `wanted` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / wanted
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(step * index, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _text(kind: str, x: float, y: float, text: str, anchor: str = "start") -> str:
    return f"<text class='{kind}' x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}'>{escape(text)}</text>"


def curves(panel: Curves) -> str:
    """The lines of a `Curves` panel; each point can be read by pointing at it."""
    if not any(panel.series.values()):
        return "<p class='note'>nothing was recorded</p>"
    return f"<svg viewBox='0 0 {WIDTH} {HEIGHT}'{_label(panel)}>{_curves(panel)}</svg>{legend(panel.series)}"


def curves_file(panel: Curves) -> str:
    """The same as an SVG file that stands alone, its style and the names of its lines in it."""
    names = list(panel.series)
    extra = 20 * len(names) if len(names) > 1 else 0
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT + extra}' width='{WIDTH}'"
    inks = "".join(f".line.c{i}{{stroke:{ink}}}.key.c{i},.band.c{i}{{fill:{ink}}}" for i, ink in enumerate(INKS))
    keys = []
    for row, name in enumerate(names if extra else []):
        y = HEIGHT + 20 * row
        keys.append(f"<rect class='key c{row % COLOURS}' x='{LEFT}' y='{y}' width='12' height='12' rx='3'/>")
        keys.append(_text("axis", LEFT + 20, y + 11, name))
    return f"{head}{_label(panel)}><style>{STYLE}{inks}</style>{_curves(panel)}{''.join(keys)}</svg>\n"


def _label(panel: Panel) -> str:
    return f" role='img' aria-label='{escape(panel.title, quote=True)}'"


def _curves(panel: Curves) -> str:
    points = [point for line in panel.series.values() for point in line]
    scale = math.log10 if panel.log_y else float
    edges = [edge for band in panel.bands.values() for point in band for edge in point[1:]]
    xs, ys = [p[0] for p in points], [scale(y) for y in (*(p[1] for p in points), *edges, *panel.levels.values())]
    x_low, x_high = min(xs), max(xs)
    pad = (max(ys) - min(ys)) * 0.05 or abs(max(ys)) * 0.1 or 1.0
    y_low, y_high = min(ys) - pad, max(ys) + pad

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low or 1)
        up = (scale(y) - y_low) / (y_high - y_low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = []
    for value in ticks(y_low, y_high):
        y = place(x_low, 10**value if panel.log_y else value)[1]
        label = number(10**value if panel.log_y else value)
        parts.append(f"<line class='grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y:.1f}' y2='{y:.1f}'/>")
        parts.append(_text("tick", LEFT - 8, y + 4, label, "end"))
    for value in ticks(x_low, x_high, 7):
        x = place(value, points[0][1])[0]
        parts.append(_text("tick", x, HEIGHT - BOTTOM + 18, number(value), "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(_text("axis", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, panel.x, "middle"))
    parts.append(f"<g transform='translate(14 {middle}) rotate(-90)'>{_text('axis', 0, 0, panel.y, 'middle')}</g>")
    for name, level in panel.levels.items():
        y = place(x_low, level)[1]
        parts.append(f"<line class='level' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y:.1f}' y2='{y:.1f}'/>")
        parts.append(_text("tick", WIDTH - RIGHT - 4, y - 5, f"{name} {number(level)}", "end"))
    for index, (name, line) in enumerate(panel.series.items()):
        if band := panel.bands.get(name):
            there = [(place(x, low), place(x, high)) for x, low, high in band]
            outline = [low for low, _ in there] + [high for _, high in reversed(there)]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline)
            parts.append(f"<polygon class='band c{index % COLOURS}' points='{path}'/>")
        parts += _line(name, [(x, y, *place(x, y)) for x, y in line], index % COLOURS)
    return "".join(parts)


def _line(name: str, points: Sequence[tuple[float, float, float, float]], colour: int) -> list[str]:
    path = " ".join(f"{'M' if i == 0 else 'L'}{x:.1f} {y:.1f}" for i, (_, _, x, y) in enumerate(points))
    dots = []
    every = max(1, len(points) // 200)
    for given_x, given_y, x, y in points[::every]:
        title = f"{escape(name)}: {number(given_y)} at {number(given_x)}"
        dots.append(f"<circle class='point c{colour}' cx='{x:.1f}' cy='{y:.1f}' r='4'><title>{title}</title></circle>")
    return [f"<path class='line c{colour}' d='{path}'/>", *dots]


def legend(names: Mapping[str, Any] | Sequence[str]) -> str:
    """Names with their colours; nothing for a single one."""
    if len(names) < 2:
        return ""
    items = "".join(f"<span class='key'><i class='c{i % COLOURS}'></i>{escape(n)}</span>" for i, n in enumerate(names))
    return f"<div class='legend'>{items}</div>"


def bars(panel: Bars) -> str:
    """Grouped horizontal bars of a `Bars` panel, each with its value written at its end."""
    names = list(dict.fromkeys(name for group in panel.groups.values() for name in group))
    ends = [high for group in panel.intervals.values() for _, high in group.values()]
    values = [value for group in panel.groups.values() for value in group.values()]
    largest = max([*values, *ends, *panel.levels.values()], default=1) or 1
    height = sum(20 * len(group) + 16 for group in panel.groups.values()) + 8
    left, y, parts = 150, 8.0, []
    for title, group in panel.groups.items():
        middle = y + 10 * len(group)
        parts.append(_text("axis", left - 10, middle + 4, title, "end"))
        top, across = y, (WIDTH - left - 90) / largest
        for name, value in group.items():
            width = across * value
            place = f"x='{left}' y='{y:.1f}' width='{width:.1f}' height='16' rx='2'"
            title_of_bar = f"<title>{escape(name)}</title>"
            parts.append(f"<rect class='bar c{names.index(name) % COLOURS}' {place}>{title_of_bar}</rect>")
            end = left + width
            if (interval := panel.intervals.get(title, {}).get(name)) is not None:
                low, end = (left + across * bound for bound in interval)
                parts.append(f"<path class='interval' d='M{low:.1f} {y + 8:.1f} H{end:.1f}'/>")
            parts.append(_text("tick", end + 6, y + 12, f"{number(value)} {panel.unit}".strip()))
            y += 20
        if (level := panel.levels.get(title)) is not None:
            x = left + across * level
            parts.append(f"<line class='level' x1='{x:.1f}' x2='{x:.1f}' y1='{top - 3:.1f}' y2='{y - 1:.1f}'/>")
        y += 16
    return f"<svg viewBox='0 0 {WIDTH} {height}'{_label(panel)}>{''.join(parts)}</svg>{legend(names)}"


def lineage(manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """Boxes for artifacts, sources on the left, arrows to what was made from them."""
    column: dict[str, int] = {}
    for name, manifest in manifests.items():
        inputs = [source["artifact"] for source in manifest["inputs"].values() if source["artifact"] in column]
        column[name] = max((column[i] for i in inputs), default=-1) + 1
    columns = [[name for name in manifests if column[name] == index] for index in range(max(column.values()) + 1)]
    box_width, box_height, gap_x, gap_y = 148, 54, 44, 22
    rows = max(len(names) for names in columns)
    width, height = len(columns) * (box_width + gap_x) - gap_x + 4, rows * (box_height + gap_y) - gap_y + 4
    spot = {}
    for index, names in enumerate(columns):
        offset = (height - len(names) * (box_height + gap_y) + gap_y) / 2
        for row, name in enumerate(names):
            spot[name] = (2 + index * (box_width + gap_x), offset + row * (box_height + gap_y))
    arrows, lowest = [], float(height)
    for name, manifest in manifests.items():
        for source in sorted({entry["artifact"] for entry in manifest["inputs"].values()} & spot.keys()):
            x1, y1 = spot[source][0] + box_width, spot[source][1] + box_height / 2
            x2, y2 = spot[name][0] - 6, spot[name][1] + box_height / 2
            skipped = column[name] - column[source] - 1
            bend, dip = (28, box_height * (0.8 + 0.3 * skipped)) if skipped else ((x2 - x1) / 2, 0)
            lowest = max(lowest, max(y1, y2) + 0.75 * dip + 4)
            curve = f"M{x1} {y1} C{x1 + bend} {y1 + dip} {x2 - bend} {y2 + dip} {x2} {y2}"
            arrows.append(f"<path class='edge' marker-end='url(#arrow)' d='{curve}'/>")
    parts = [
        f"<svg class='lineage' viewBox='0 0 {width} {lowest:.0f}' role='img' aria-label='Lineage'>",
        "<defs><marker id='arrow' viewBox='0 0 8 8' refX='4' refY='4' markerWidth='7' markerHeight='7' orient='auto'>"
        "<path class='head' d='M0 0 L8 4 L0 8 z'/></marker></defs>",
        *arrows,
    ]
    for name, manifest in manifests.items():
        x, y = spot[name]
        seconds = f"{manifest['resources']['wall_seconds']:.1f} s"
        place = f"x='{x}' y='{y}' width='{box_width}' height='{box_height}' rx='8'"
        parts.append(f"<a href='#{escape(name)}'><rect class='box' {place}/>")
        parts.append(_text("name", x + 12, y + 22, manifest["type"]))
        parts.append(_text("tick", x + 12, y + 41, f"{manifest['step']} · {seconds}"))
        parts.append(f"<title>{short(manifest['id'])}</title></a>")
    return "".join([*parts, "</svg>"])
