"""Commands that look at a finished corpus: whatif, explain, datasheet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glasshouse.cli.options import READS, existing_path, printable, printable_json

if TYPE_CHECKING:
    from glasshouse.data.description.whatif import Correlation, Verdicts, WhatIf

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("corpus")
@click.argument("rules", nargs=-1)
@click.option(
    "--set", "settings", multiple=True, metavar="RULE=NUMBER", help="Another threshold for a rule of the corpus."
)
@click.option("--without", multiple=True, metavar="RULE", help="Leave a rule out.")
@click.option("--only", is_flag=True, help="Use the given RULES for every source, and no others.")
@click.option(
    "--curve", "curves", multiple=True, metavar="RULE", help="What would be kept at every threshold of a rule."
)
@click.option(
    "--samples", default=3, show_default=True, type=click.IntRange(min=0), help="Documents shown of each kind."
)
@click.option("--correlation", "correlated", is_flag=True, help="Also print how much the filters agree.")
@click.option("--html", "page", type=FILE, help="Write one page with a slider for every rule.")
@JSON
@READS
def whatif(
    corpus: str, rules: tuple[str, ...], settings: tuple[str, ...], without: tuple[str, ...], only: bool,
    curves: tuple[str, ...], samples: int, correlated: bool, page: Path | None, as_json: bool, location: str,
) -> None:  # fmt: skip
    """What a CORPUS would keep under other RULES, without reading its documents again.

    A rule removes the documents for which it holds, such as "word_count < 30": it replaces the threshold of the
    corpus's rule on the same signal, or is added to every source's rules. CORPUS: a directory, or an artifact.
    """
    from glasshouse.data.description.datasheet import write_whole
    from glasshouse.data.description.whatif import Verdicts, rules_only, what_if
    from glasshouse.data.description.whatif_page import whatif_page
    from glasshouse.data.description.whatif_rules import changed_rules, parse_rule, rules_of
    from glasshouse.data.description.whatif_table import SignalTable

    table = SignalTable(existing_path(location, corpus))
    if only:
        if settings or without:
            raise click.UsageError("--only takes no --set and no --without: the given rules are all there are")
        asked = rules_only([parse_rule(rule) for rule in rules])
    else:
        asked = changed_rules(
            rules_of(table.corpus), thresholds=_thresholds(settings), without=without, rules_asked=rules
        )
    verdicts = Verdicts(table, asked)
    answer = what_if(table, asked, samples=samples)
    drawn = {rule: verdicts.curve(rule).points() for rule in curves}
    if page is not None:
        write_whole(page, whatif_page(verdicts, answer, Path(corpus).name).encode(errors="replace"))
    if as_json:
        click.echo(printable_json(answer.as_json() | {"curves": drawn}, indent=2))
        return
    _print_answer(answer, verdicts, drawn, correlated)
    if page is not None:
        click.echo(f"\nwrote {page}")


@click.command()
@click.argument("corpus")
@click.argument("identifier", metavar="ID")
@click.option("--source", help="The document's source, where several have that id.")
@JSON
@READS
def explain(corpus: str, identifier: str, source: str | None, as_json: bool, location: str) -> None:
    """Say why the document ID is in a CORPUS or is not: every signal, every rule, masks and duplicates."""
    from glasshouse.data.description import explain as room
    from glasshouse.data.description.explain_text import explanation_text

    found = room.explain(existing_path(location, corpus), identifier, source)
    click.echo(printable_json(found.as_json(), indent=2) if as_json else explanation_text(found))


@click.command()
@click.argument("corpus", required=False)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Directory to write into.")
@click.option(
    "--answers", type=click.Path(exists=True, dir_okay=False), help="YAML or JSON: what only a person can say."
)
@click.option("--questions", is_flag=True, help="Print an empty file of answers, and stop.")
@click.option("--shards", multiple=True, metavar="PATH", help="Token shards made from it, for tokens per source.")
@click.option("--contamination", type=click.Path(exists=True, dir_okay=False), help="JSON report on evaluation data.")
@click.option("--diff", nargs=2, metavar="OLD NEW", help="Instead, say what changed from one corpus to another.")
@JSON
@READS
def datasheet(
    corpus: str | None, out: Path | None, answers: str | None, questions: bool, shards: tuple[str, ...],
    contamination: str | None, diff: tuple[str, str] | None, as_json: bool, location: str,
) -> None:  # fmt: skip
    """Write the datasheet of a CORPUS: Markdown, HTML and Croissant metadata; or what changed between two versions."""
    from glasshouse.data.description import datasheet as room
    from glasshouse.data.description.datasheet_answers import answers_template, load_answers

    if questions:
        click.echo(answers_template(), nl=False)
        return
    if (corpus is None) == (not diff):
        raise click.UsageError("name a CORPUS, or two with --diff OLD NEW")
    if diff:
        _write_difference(existing_path(location, diff[0]), existing_path(location, diff[1]), out, as_json)
        return
    if out is None:
        raise click.UsageError("say where to write with --out DIRECTORY")
    report = _contamination_report(contamination) if contamination else None
    said = load_answers(answers) if answers else None
    homes = [existing_path(location, shard) for shard in shards]
    sheet = room.datasheet(existing_path(location, str(corpus)), said, shards=homes, contamination=report)
    written = room.write_datasheet(sheet, out)
    _print_datasheet(sheet, written, as_json)


def _contamination_report(file: str) -> Any:
    try:
        return json.loads(Path(file).read_bytes())
    except ValueError as error:  # of no JSON, or of no text at all
        raise click.BadParameter(f"{file} is not a JSON report: {error}", param_hint="--contamination") from error


def _print_datasheet(sheet: Any, written: list[Path], as_json: bool) -> None:
    from glasshouse.data.description.croissant import croissant_problems

    problems = croissant_problems(sheet.metadata)
    if as_json:
        paths = [str(path) for path in written]
        click.echo(
            json.dumps({"files": paths, "merkle_root": sheet.merkle_root, "croissant_problems": problems}, indent=2)
        )
        return
    for path in written:
        click.echo(f"wrote {path}")
    click.echo(f"Merkle root of {len(sheet.files)} files: {sheet.merkle_root}")
    if problems:
        click.echo(f"Croissant needs more: {'; '.join(problems)}. State it in --answers (see --questions).")


def _write_difference(old: str, new: str, out: Path | None, as_json: bool) -> None:
    from glasshouse.data.description.datasheet import write_whole
    from glasshouse.data.description.difference import difference, difference_markdown

    found = difference(old, new)
    text, values = difference_markdown(found), printable_json(found.as_json(), indent=2) + "\n"
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in (("difference.md", text), ("difference.json", values)):
            click.echo(f"wrote {write_whole(out / name, content.encode(errors='replace'))}", err=as_json)
    if as_json:
        click.echo(values, nl=False)
    elif out is None:
        click.echo("\n".join(map(printable, text.split("\n"))), nl=False)
    else:
        click.echo(
            f"{found.added:,} added, {found.removed:,} removed, {found.changed:,} changed, {found.same:,} the same"
        )


def _thresholds(settings: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for setting in settings:
        rule, _, number = setting.rpartition("=")
        try:
            found[rule] = float(number)
        except ValueError:
            rule = ""
        if not rule:
            raise click.BadParameter(f"{setting!r} is not RULE=NUMBER, such as 'word_count<50=30'", param_hint="--set")
    return found


def _print_answer(answer: WhatIf, verdicts: Verdicts, curves: dict[str, list[Any]], correlated: bool) -> None:
    for unit in ("documents", "bytes", "words"):
        all_, made, kept = (getattr(amount, unit) for amount in (answer.input, answer.kept_as_made, answer.kept))
        if all_ is not None:
            click.echo(
                f"{unit:<10} {all_:>15,} in  {kept:>15,} kept  {_percent(kept, all_)}  (as made {_percent(made, all_)})"
            )
    click.echo(
        f"newly dropped {answer.newly_dropped.documents:,}, newly kept {answer.newly_kept.documents:,} documents"
    )
    width = max([len(effect.rule) for effect in answer.rules] + [6])
    click.echo(f"\n{'rule':<{width}} {'removes':>12} {'':>8} {'by it alone':>12}")
    for effect in answer.rules:
        share = _percent(effect.removed.documents, answer.input.documents)
        counts = f"{effect.removed.documents:>12,} {share:>8} {effect.alone.documents:>12,}"
        click.echo(f"{effect.rule:<{width}} {counts}  {effect.remark}".rstrip())
    for stage, amount in answer.removed_later.items():
        share = _percent(amount.documents, answer.input.documents)
        click.echo(f"{f'later: {stage}':<{width}} {amount.documents:>12,} {share:>8}")
    _print_sources(answer)
    for title, samples in (("newly dropped", answer.dropped_samples), ("newly kept", answer.kept_samples)):
        for sample in samples:
            click.echo(f"\n{title}: {printable(sample.id)} ({printable(sample.source)}): {'; '.join(sample.rules)}")
            click.echo(f"  {printable(' '.join(sample.excerpt.split()))[:160]}")
    for rule, points in curves.items():
        click.echo(f"\nkept by the threshold of {rule}")
        for threshold, documents, size in points[:: max(1, len(points) // 24)]:
            bar = "█" * round(40 * documents)
            of_bytes = "" if size is None else f"{100 * size:6.2f} % bytes"
            click.echo(f"  {threshold:>12.6g}  {100 * documents:6.2f} %  {of_bytes}  {bar}")
    if correlated and answer.correlation is not None:
        _print_correlation(answer.correlation)
    for note in answer.notes:
        click.echo(f"\nnote: {note}")


def _print_sources(answer: WhatIf) -> None:
    width = max([len(printable(effect.source)) for effect in answer.sources] + [6])
    click.echo(f"\n{'source':<{width}} {'documents':>12} {'kept':>12} {'%':>8} {'as made':>8}")
    for effect in sorted(answer.sources, key=lambda effect: (-effect.input.documents, effect.source)):
        before, made, kept = effect.input.documents, effect.kept_as_made.documents, effect.kept.documents
        shares = f"{_percent(kept, before):>8} {_percent(made, before):>8}"
        click.echo(f"{printable(effect.source):<{width}} {before:>12,} {kept:>12,} {shares}")


def _print_correlation(found: Correlation) -> None:
    used = [number for number in range(len(found.filters)) if found.documents[number][number] is not None]
    width = max([len(found.filters[number]) for number in used] + [6])
    click.echo(f"\n{'correlation':<{width}}    " + "".join(f"{place + 1:>6}" for place in range(len(used))))
    for place, row in enumerate(used):
        cells = (found.documents[row][column] for column in used)
        click.echo(f"{found.filters[row]:<{width}} {place + 1:>2} " + "".join(f"{cell:>6.2f}" for cell in cells))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "–"
