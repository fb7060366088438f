"""`glasshouse evaluate` and `glasshouse compare`: tasks and perplexity of models, and two runs item by item."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glasshouse.cli.options import READS, reporting

if TYPE_CHECKING:
    from glasshouse.evaluation.intervals import Paired
    from glasshouse.evaluation.running import Task
    from glasshouse.evaluation.scoreboard import Scored
    from glasshouse.evaluation.scorers import Scorer
    from glasshouse.store.panels import Table


@click.command()
@click.argument("model")
@click.option(
    "--task", "--tasks", "tasks", multiple=True, metavar="PATH|NAME",
    help="A file of questions, a folder in the layout of OLMo's oe_eval_tasks, generated ones by name (colours, "
    "arithmetic, brackets) or `generated` for all of these, context:NAME of the context benchmark, lm_eval:NAME or "
    "lm_eval:FILE.yaml. May be given again.",
)  # fmt: skip
@click.option("--data", metavar="FOLDER", help="Where the data sets of the context benchmark are, in a folder each.")
@click.option(
    "--perplexity", "held_out", multiple=True, metavar="PATH",
    help="Documents nobody trained on, in any form that curation reads; bits per byte by source. May be given again.",
)  # fmt: skip
@click.option("--against", metavar="MODEL", help="Another model, compared on the same items.")
@click.option("--limit", type=click.IntRange(min=1), help="A seeded sample of this many items or documents of each.")
@click.option("--shots", type=click.IntRange(min=0), help="Examples before every item; else as many as the task says.")
@click.option("--seed", default=0, show_default=True, help="Of samples, examples, generated items and intervals.")
@click.option("--device", default="cpu", show_default=True, help="Where the model runs.")
@click.option("--key-variable", metavar="NAME", help="Environment variable with the key of a served model.")
@click.option("--chat", is_flag=True, help="A served model answers in a conversation: texts, no likelihoods.")
@click.option(
    "--output", type=click.Path(file_okay=False), metavar="FOLDER",
    help="Write tasks' results and samples here in the harness's form. After a kill the same command goes on.",
)  # fmt: skip
@click.option("--json", "document", type=click.Path(dir_okay=False), help="Write everything that was measured here.")
@READS
def evaluate(
    model: str,
    tasks: tuple[str, ...],
    data: str | None,
    held_out: tuple[str, ...],
    against: str | None,
    limit: int | None,
    shots: int | None,
    seed: int,
    device: str,
    key_variable: str | None,
    chat: bool,
    output: str | None,
    document: str | None,
    location: str,
) -> None:
    """Measure a MODEL: an id, a pin or a recipe of the store; a Hugging Face folder with a tokenizer.json; hf:NAME for
    one in the local cache; or http://HOST/v1#NAME, a served one.

    Scores stand beside what trivial methods reach, with their 95 % intervals and what is left to gain.
    """
    from glasshouse.evaluation.catalogue import NoSuchTaskError, tasks_named
    from glasshouse.evaluation.scoreboard import compare as compare_scored

    if not tasks and not held_out:
        raise click.UsageError("nothing to measure: give --task, --perplexity or both")
    names = list(dict.fromkeys([model] if against is None else [model, against]))
    if held_out and any(map(is_served, names)):
        raise click.UsageError("--perplexity reads the tokens of a model in memory: a served one has tasks only")
    try:
        asked = tasks_named(tasks, limit=limit, seed=seed, shots=shots, data=data)
    except NoSuchTaskError as error:
        raise click.BadParameter(str(error)) from None
    measured: dict[str, list[dict[str, Any]]] = {}
    answered: dict[str, Mapping[str, Scored]] = {}
    for name in names:
        opened = open_any(location, name, device, key_variable, chat)
        folder = None if output is None else Path(output) / (f"model-{names.index(name)}" if len(names) > 1 else "")
        answered[name] = answer(asked, opened, name, folder, seed)
        measured[name] = outcomes(opened, answered[name], held_out, limit, seed)
        if len(names) > 1:
            click.echo(f"\n== {name}")
        show(measured[name])
    written: dict[str, Any] = {"models": measured, "seed": seed, "limit": limit, "shots": shots}
    if len(names) > 1 and asked:
        one, other = (answered[name] for name in names)
        pairs = {task.name: compare_scored(one[task.name], other[task.name], seed) for task in asked}
        written["compared"] = {task: {m: pair._asdict() for m, pair in of.items()} for task, of in pairs.items()}
        click.echo(f"\n{model} beside {against}, item by item")
        show_pairs({task: dict([next(iter(of.items()))]) for task, of in pairs.items()})
    if document is not None:
        Path(document).write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def answer(tasks: list[Task], model: Any, name: str, folder: Path | None, seed: int) -> Mapping[str, Scored]:
    """All tasks answered, in memory or into a folder."""
    from glasshouse.evaluation.results import evaluate_into
    from glasshouse.evaluation.running import run
    from glasshouse.evaluation.scoreboard import scored
    from glasshouse.evaluation.scorers import LocalScorer

    scorer: Scorer = model if hasattr(model, "batches") else LocalScorer(model)
    with reporting() as reporter:
        if folder is not None:
            return evaluate_into(folder, tasks, scorer, model=name, seed=seed, bar=reporter.bar)
        found = {}
        for task in tasks:
            with reporter.bar(f"answering {task.name}", None) as shown:
                found[task.name] = scored(task, run(task, scorer, shown.advance), seed)
        return found


def outcomes(
    model: Any, answered: Mapping[str, Scored], held_out: tuple[str, ...], limit: int | None, seed: int
) -> list[dict[str, Any]]:
    """What was measured of a model: bits per byte of documents, and tasks."""
    from glasshouse.evaluation.held_out import text_files
    from glasshouse.evaluation.perplexity import perplexity
    from glasshouse.evaluation.scoreboard import outcome_of

    found: list[dict[str, Any]] = []
    if held_out:
        measure = perplexity(text_files(*held_out), per_domain=limit, seed=seed)
        with reporting() as reporter:
            found.append({"measure": type(measure).__name__, **measure.measure(model, reporter.bar)})
    if answered:
        found.append({"measure": "Scoreboard", **outcome_of(answered)})
    return found


def is_served(name: str) -> bool:
    """Whether a model is named by an address."""
    return name.startswith(("http://", "https://"))


def open_any(location: str, name: str, device: str, key_variable: str | None, chat: bool) -> Any:
    """A model in memory, or a served one."""
    if is_served(name):
        from glasshouse.evaluation.endpoints import EndpointScorer

        url, _, served = name.partition("#")
        return EndpointScorer(url, served, key_variable=key_variable, form="chat" if chat else "completions")
    from glasshouse.evaluation.models import open_named

    return open_named(name, store=location, device=device)


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--seed", default=0, show_default=True, help="Of intervals and of the exchanges of the test.")
@click.option("--json", "document", type=click.Path(dir_okay=False), help="Write the comparison here.")
def compare(first: str, second: str, seed: int, document: str | None) -> None:
    """Compare two runs item by item.

    FIRST and SECOND are folders of `glasshouse evaluate --output`, or of `lm_eval --log_samples`.

    A positive difference means that FIRST has the higher value. p is of McNemar's exact test for answers that are right
    or wrong, of random exchanges else.
    """
    from glasshouse.evaluation.catalogue import metrics_of
    from glasshouse.evaluation.runs import compare_runs, read_run

    one, other = read_run(first), read_run(second)
    found = compare_runs(one, other, {task: metrics_of(task) for task in one.records}, seed=seed)
    show_pairs(found)
    if document is not None:
        rows = {task: {metric: pair._asdict() for metric, pair in of.items()} for task, of in found.items()}
        Path(document).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def show_pairs(found: Mapping[str, Mapping[str, Paired]]) -> None:
    """One line per task and metric."""
    for task, of in found.items():
        for metric, pair in of.items():
            apart = f"only the first right {pair.only_first}, only the second {pair.only_second}, exact p {pair.p:.3g}"
            if pair.test != "McNemar":
                apart = f"p {pair.p:.3g} by {pair.test}"
            click.echo(
                f"  {task:<20} {metric:<12} {pair.difference:+.3f} ({pair.low:+.3f} to {pair.high:+.3f}), {apart}"
            )


def show(found: list[dict[str, Any]]) -> None:
    """The tables of measures, as text."""
    from glasshouse.evaluation.steps import PANELS
    from glasshouse.store.panels import Table

    for outcome in found:
        for panel in PANELS[outcome["measure"]](outcome):
            if isinstance(panel, Table):
                click.echo(f"\n{panel.title}\n{text_of(panel)}\n{panel.note}")


def text_of(table: Table) -> str:
    """A table as text, a line per row; of few rows with many columns, a line per column."""
    lines = [list(table.columns), *([_cell(value) for value in row] for row in table.rows)]
    if len(table.rows) < 4 < len(table.columns):
        lines = [list(line) for line in zip(*lines, strict=True)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    padded = [
        [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
        for line in lines
    ]
    return "\n".join("  " + "  ".join(line).rstrip() for line in padded)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
