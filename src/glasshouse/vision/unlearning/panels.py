"""What a report shows of unlearning: grids, tables, curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glasshouse.store.panels import Curves, Numbers, Panel, Pictures, Table
from glasshouse.vision.unlearning.audit import ORIGINAL

FIGURES = ("mse ratio", "psnr", "frechet", "mmd", "cosine", "nearest")
HEADS = (
    "error over the original's",
    "PSNR, dB",
    "Fréchet distance",
    "kernel MMD",
    "cosine to the image",
    "nearest is of its class",
)


def comparison_panels(found: Mapping[str, Any], pictures: Mapping[str, bytes]) -> list[Panel]:
    """Grids, a table for every mask, errors by class, and forgetting against retention over alpha."""
    rows = ", ".join(["the image", "what is seen of it", *found["shown"]])
    kinds = {part: ", ".join(names) for part, names in found["classes"].items()}
    held = "held-out images" if found["held out"] else "the forgotten images themselves"
    panels: list[Panel] = [
        Pictures(
            f"Completions of images to {part} ({kinds[part]})",
            [(name.partition(", ")[2], content) for name, content in pictures.items() if name.startswith(part)],
            note=f"Rows from above: {rows}. {held.capitalize() if part == 'forget' else 'Held-out images'}.",
        )
        for part in ("forget", "retain")
    ]
    panels += [_table(found, part, mask) for mask in found["masks"] for part in ("forget", "retain")]
    panels.append(_by_class(found))
    if found["sweep"]:
        panels += _sweep(found)
    return panels


def _compared(found: Mapping[str, Any]) -> list[str]:
    return [name for name in found["models"] if name.removeprefix("alpha ") not in found["sweep"]]


def _table(found: Mapping[str, Any], part: str, mask: str) -> Panel:
    values, floor = found["values"], found["floors"][part]
    rows = [(name, *(values[f"{name}/{part}/{mask}/{figure}"] for figure in FIGURES)) for name in _compared(found)]
    return Table(
        f"Images to {part}, mask {mask}",
        ["model", *HEADS],
        rows,
        note=(
            f"Distances to real training images of the same classes, by {found['features']}; as many real held-out "
            f"images are at Fréchet distance {floor['frechet']:.2f}, MMD {floor['mmd']:.3f}. This is not FID."
        ),
    )


def _by_class(found: Mapping[str, Any]) -> Panel:
    mask, values = found["masks"][0], found["values"]
    columns = [(part, name) for part in ("forget", "retain") for name in found["classes"][part]]
    rows = [
        (model, *(values[f"{model}/{part}/{mask}/mse of {name}"] for part, name in columns))
        for model in _compared(found)
    ]
    return Table(
        f"Mean square error by class, mask {mask}", ["model", *(f"{name} ({part})" for part, name in columns)], rows
    )


def _sweep(found: Mapping[str, Any]) -> list[Panel]:
    values, mask = found["values"], found["masks"][0]
    points = {
        part: [(float(alpha), values[f"alpha {alpha}/{part}/{mask}/mse ratio"]) for alpha in found["sweep"]]
        for part in ("forget", "retain")
    }
    against = sorted((r, f) for (_, f), (_, r) in zip(points["forget"], points["retain"], strict=True))
    others = {name: values[f"{name}/forget/{mask}/mse ratio"] for name in _compared(found) if name in found["shown"]}
    return [
        Curves(
            f"Error over the original's, by alpha, mask {mask}", "alpha", "ratio of errors",
            {f"images to {part}": line for part, line in points.items()},
        ),
        Curves(
            f"Forgetting against retention, mask {mask}", "error on retained images over the original's",
            "on forgotten images", {"alpha from small to large": against}, levels=others,
            note="Up is more forgetting, to the right is damage. Levels are how much other models forget.",
        ),
    ]  # fmt: skip


def audit_panels(found: Mapping[str, Any]) -> list[Panel]:
    """Checks by model, curves of relearning, what leaks."""
    models = found["looked"]["models"]
    checks = [
        (name, "passes" if all(item["holds"] for item in items) else "fails",
         "; ".join(f"{item['name']}: {item['measured']} ({item['expected']})" for item in items if not item["holds"]))
        for name, items in found["checks"].items()
    ]  # fmt: skip
    recovery = {
        name: sorted((float(step), error) for step, error in item["recovery"].items()) for name, item in models.items()
    }
    leaks = [(name, item["probe"], item["membership"]) for name, item in models.items()]
    return [
        Table("Audit", ["model", "verdict", "where it fails"], checks),
        Curves(
            "Relearning from a few forgotten images", "updates", "error on others of their kind", recovery, log_y=True,
            note="Any model learns from them; what counts is whether it is faster than the one retrained without them.",
        ),
        Table(
            "What can still be told", ["model", "class, by a linear probe", "membership, AUC"], leaks,
            note=f"Of images of the forgotten kind. A membership of 0.5 says nothing; {ORIGINAL} is before unlearning.",
        ),
    ]  # fmt: skip


def certificate_panels(document: Mapping[str, Any]) -> list[Panel]:
    """The verdict, every check, what was not shown."""
    rows = [(item["name"], item["measured"], item["expected"], "holds" if item["holds"] else "fails")
            for item in document["findings"]]  # fmt: skip
    name = document["model"]["name"]
    panels: list[Panel] = [Numbers(f"Certificate of the model by {name}", {"verdict": document["verdict"]})]
    panels.append(Table(f"Checks of {name}", ["check", "measured", "expected", ""], rows))
    if "not shown" in document:
        lines = [(line,) for line in document["not shown"]]
        panels.append(Table(f"What the certificate of {name} does not show", [""], lines))
    return panels
