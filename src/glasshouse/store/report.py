"""The report of a run: one HTML file with everything in it, made from manifests and the artifacts' own panels."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from glasshouse.store import drawing
from glasshouse.store.files import full_disk_explained
from glasshouse.store.lineage import ancestors
from glasshouse.store.manifest import short
from glasshouse.store.panels import PNG, Bars, Curves, Numbers, Panel, Pictures, Samples, Table
from glasshouse.store.store import Store

MARKS = {"holds": "good", "does not hold": "bad", "not measured": "open"}


def write_report(store: Store, name: str, title: str, summary: str, run: Mapping[str, Any] | None = None) -> Path:
    """Write the report of an artifact and everything behind it to `<store>/reports/<artifact>.html`.

    Args:
        name: the artifact (id, directory name, pin or recipe).
        title: heading, usually the recipe's name.
        summary: a sentence or two under it.
        run: the recorded run, whose arguments and time are shown.
    """
    name = store.resolve(name)
    manifests = ancestors(store, name)
    sections = []
    claims = claims_of(store, name)
    if claims:
        sections.append(_section("Claims", claims_table(claims)))
    for child in reversed(manifests):
        panels = store.open(child).panels()
        if panels:
            body = "".join(_panel(panel) for panel in panels)
            sections.append(_section(f"{manifests[child]['type']}", body, short(manifests[child]["id"])))
    sections.append(_section("Lineage", drawing.lineage(manifests) + _steps(manifests)))
    sections.append(_section("Machine", _machine(manifests[name], manifests.values())))
    sections.append(_section("Manifests", "".join(_manifest(n, m) for n, m in manifests.items())))
    given = (run or {}).get("arguments", {})
    arguments = " ".join(_option(key, value) for key, value in given.items() if value != "")
    path = store.root / "reports" / f"{name}.html"
    return _written(path, title, summary, f"glasshouse run {title} {arguments}".strip(), "".join(sections))


def write_panels(path: Path, title: str, summary: str, command: str, panels: Sequence[Panel]) -> Path:
    """One HTML file of panels alone, for what no artifact stands behind."""
    return _written(path, title, summary, command, _section(title, "".join(_panel(panel) for panel in panels)))


def _written(path: Path, title: str, summary: str, command: str, body: str) -> Path:
    page = (files("glasshouse.store") / "report.html").read_text(encoding="utf-8")
    for mark, text in (
        ("{{title}}", escape(title)),
        ("{{summary}}", escape(summary)),
        ("{{command}}", escape(command)),
        ("{{body}}", body),
    ):
        page = page.replace(mark, text)
    with full_disk_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    return path


def claims_of(store: Store, name: str) -> list[dict[str, Any]]:
    """The decided claims an artifact carries in `claims.json`, or none."""
    path = store.open(name).path / "claims.json"
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


def claims_table(claims: Sequence[Mapping[str, Any]]) -> str:
    """Claims with their verdicts, measured and expected values."""
    rows = "".join(
        f"<tr><td><span class='mark {MARKS[claim['status']]}'>{escape(claim['status'])}</span></td>"
        f"<td>{escape(claim['statement'])}<br><small>{escape(claim['source'])}</small></td>"
        f"<td class='n'>{escape(claim['measured'])}</td><td class='n'>{escape(claim['expected'])}</td></tr>"
        for claim in claims
    )
    head = "<tr><th>verdict</th><th>statement</th><th class='n'>measured</th><th class='n'>expected</th></tr>"
    return f"<div class='scroll'><table class='claims'><thead>{head}</thead><tbody>{rows}</tbody></table></div>"


def _option(key: str, value: Any) -> str:
    flag = key.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {value}"


def _section(title: str, body: str, tag: str = "") -> str:
    mark = f" <code>{escape(tag)}</code>" if tag else ""
    return f"<section><h2>{escape(title)}{mark}</h2>{body}</section>"


def _panel(panel: Panel) -> str:
    match panel:
        case Numbers():
            cells = (f"<div><b>{escape(v)}</b><span>{escape(k)}</span></div>" for k, v in panel.values.items())
            body = f"<div class='numbers'>{''.join(cells)}</div>"
        case Table():
            body = _table(panel)
        case Curves():
            body = drawing.curves(panel)
        case Bars():
            body = drawing.bars(panel)
        case Samples():
            body = "".join(
                f"<figure><figcaption>{escape(s)}</figcaption><pre>{escape(t)}</pre></figure>" for s, t in panel.samples
            )
        case Pictures():
            body = f"<div class='pictures'>{''.join(_picture(*picture) for picture in panel.pictures)}</div>"
        case _:
            raise TypeError(f"the report cannot show a {type(panel).__name__}")
    note = f"<p class='note'>{escape(panel.note)}</p>" if panel.note else ""
    return f"<h3>{escape(panel.title)}</h3>{note}{body}"


def _picture(caption: str, content: bytes) -> str:
    kind = "png" if content.startswith(PNG) else "gif"
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return f"<figure><img src='{source}' alt='{escape(caption)}'><figcaption>{escape(caption)}</figcaption></figure>"


def _table(panel: Table) -> str:
    def cell(value: Any) -> str:
        if isinstance(value, bool | str) or value is None:
            return f"<td>{escape('' if value is None else str(value))}</td>"
        text = f"{value:,}" if isinstance(value, int) else f"{value:,.3f}" if abs(value) < 1000 else f"{value:,.0f}"
        return f"<td class='n'>{text}</td>"

    numeric = [bool(panel.rows) and isinstance(value, int | float) for value in (panel.rows[0] if panel.rows else [])]
    head = "".join(
        f"<th{' class=n' if index < len(numeric) and numeric[index] else ''}>{escape(name)}</th>"
        for index, name in enumerate(panel.columns)
    )
    lines = []
    for index, row in enumerate(panel.rows):
        lines.append(f"<tr>{''.join(cell(value) for value in row)}</tr>")
        if examples := panel.details.get(index):
            quoted = "".join(f"<dt>{escape(label)}</dt><dd><pre>{escape(text)}</pre></dd>" for label, text in examples)
            count = "an example" if len(examples) == 1 else f"{len(examples)} examples"
            unfold = f"<details><summary>{count}</summary><dl>{quoted}</dl></details>"
            lines.append(f"<tr class='more'><td colspan='{len(panel.columns)}'>{unfold}</td></tr>")
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def _steps(manifests: Mapping[str, Mapping[str, Any]]) -> str:
    rows: list[Sequence[str | float | int | None]] = []
    for manifest in manifests.values():
        used = manifest["resources"]
        size = sum(file["bytes"] for file in manifest["files"].values())
        energy = f"{used['energy']['joules'] / 3600:.3g} Wh" + (" (estimate)" if used["energy"]["estimate"] else "")
        memory = f"{used['peak_memory_bytes'] / 2**20:,.0f} MiB"
        row = (manifest["step"], manifest["type"], short(manifest["id"]), used["wall_seconds"], used["cpu_seconds"])
        rows.append((*row, memory, energy, f"{size / 1e6:,.2f} MB"))
    columns = ("step", "made", "id", "wall s", "cpu s", "peak memory", "energy", "size")
    return _table(Table("Steps", columns, rows))


def _machine(manifest: Mapping[str, Any], manifests: Any) -> str:
    hardware, system = manifest["hardware"], manifest["environment"]
    joules = sum(item["resources"]["energy"]["joules"] for item in manifests)
    energy = manifest["resources"]["energy"]
    rows = {
        "processor": f"{hardware['processor']}, {hardware['cores']} cores",
        "memory": f"{(hardware['memory_bytes'] or 0) / 2**30:.1f} GiB",
        "accelerators": ", ".join(hardware["accelerators"]) or "none",
        "system": f"{system['system']}, {system['implementation']} {system['python']}",
        "code": _code(manifest["code"]),
        "energy of all steps": f"{joules / 3600:.3g} Wh ({_energy_source(energy)})",
    }
    body = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in rows.items())
    return f"<div class='scroll'><table class='facts'><tbody>{body}</tbody></table></div>"


def _energy_source(energy: Mapping[str, Any]) -> str:
    return f"{energy['source']}, {'an estimate good to a factor of two' if energy['estimate'] else energy['note']}"


def _code(code: Mapping[str, Any]) -> str:
    commit = f", commit {code['commit'][:12]}" if code["commit"] else ""
    return f"Glasshouse {code['version']}{commit}{' with local changes' if code['modified'] else ''}"


def _manifest(name: str, manifest: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in manifest.items() if key not in ("files", "environment")}
    text = escape(json.dumps(shown, indent=2, ensure_ascii=False))
    return f"<details id='{escape(name)}'><summary>{escape(name)}</summary><pre>{text}</pre></details>"
