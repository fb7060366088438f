"""Commands that make a corpus from raw documents: signals, curate, dedupe."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glasshouse.cli.options import executor_of, on_workers, printable
from glasshouse.cli.parts import families_of, methods_of

if TYPE_CHECKING:
    from glasshouse.data.sources.inputs import InputShard

PATHS = click.argument("paths", nargs=-1, required=True)
OUT = click.option("--out", required=True, type=click.Path(file_okay=False), help="A new or empty directory.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
SHARD_BYTES = click.option("--shard-bytes", type=click.IntRange(min=1), metavar="N",
                           help="Cut files that can be cut into shards of about this size.")  # fmt: skip


def how_to_read(command: Any) -> Any:
    """The options that say what the files are."""
    for option in (
        click.option("--form", default="auto", show_default=True,
                     type=click.Choice(["auto", "jsonl", "parquet", "arrow", "warc", "wiki", "text", "code"]),
                     help="What the files are; by their names and contents unless it is said."),
        click.option("--text-key", default="text", show_default=True, help="Rows: the field that holds the text."),
        click.option("--id-key", default="id", show_default=True, help="Rows: the field that holds the id."),
        click.option("--make-ids", is_flag=True, help="Rows: give those without an id one of their content."),
        click.option("--source", default="unknown", show_default=True, help="Of documents that do not say theirs."),
        click.option("--extractor", default="resiliparse", show_default=True,
                     type=click.Choice(["resiliparse", "trafilatura"]), help="Web archives: what finds the main text."),
        SHARD_BYTES,
    ):  # fmt: skip
        command = option(command)
    return command


def planned(paths: tuple[str, ...], out: str, reading: dict[str, Any]) -> list[InputShard]:
    """The shards of PATHS, read as the options say."""
    from glasshouse.data.sources.inputs import plan_inputs
    from glasshouse.data.sources.settings import Reading

    form, shard_bytes = reading.pop("form"), reading.pop("shard_bytes")
    refuse_inside(out, paths)
    return plan_inputs(list(paths), form, shard_bytes=shard_bytes, reading=Reading(**reading))


def refuse_inside(out: str, paths: tuple[str, ...]) -> None:
    """Results in a directory of inputs would be read as inputs the next time."""
    for path in map(Path, paths):
        if path.is_dir() and Path(out).resolve().is_relative_to(path.resolve()):
            raise click.UsageError(f"--out {out} lies in the input directory {path}: choose a directory outside it")


@contextmanager
def shown(description: str, shards: Sequence[InputShard], quiet: bool) -> Iterator[Callable[[int], None] | None]:
    """A progress bar over bytes of text, when somebody looks; the total is known where files are not compressed."""
    if quiet:
        yield None
        return
    from rich.console import Console

    from glasshouse.console import ConsoleReporter

    plain = all(not shard.compression and shard.form in ("jsonl", "text", "code") for shard in shards)
    total = float(sum(shard.size for shard in shards)) if plain else None
    with ConsoleReporter(Console(stderr=True)) as reporter, reporter.bar(description, total) as bar:
        yield bar.advance


@click.command()
@PATHS
@OUT
@click.option(
    "--families",
    metavar="NAMES",
    help="Families of signals, by commas (see --list); settings after a colon: toxicity:model=DIR,threshold=0.5.",
)
@click.option("--list", "list_families", is_flag=True, is_eager=True, expose_value=False,
              callback=lambda context, _, wanted: print_families(context) if wanted else None,
              help="List the families and their columns, and leave.")  # fmt: skip
@how_to_read
@on_workers
@JSON
def signals(
    paths: tuple[str, ...],
    out: str,
    families: str | None,
    workers: int | None,
    on_ray: bool,
    ray_address: str | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Measure every document of PATHS once, into columns.

    PATHS are files, directories, patterns or URLs. Thresholds are chosen later (`curate --signals`, `mix`, `whatif`).
    A killed run goes on where it stopped.
    """
    from glasshouse.data.signals.measuring import measure_signals

    chosen = families_of(families)
    shards = planned(paths, out, reading)
    with executor_of(workers, on_ray, ray_address) as executor, shown("measuring", shards, as_json) as progress:
        about = measure_signals(shards, out, chosen, executor=executor, progress=progress)
    if as_json:
        click.echo(json.dumps(about))
        return
    click.echo(
        f"{about['documents']:,} documents, {about['bytes'] / 1e6:.1f} MB of text, {len(about['columns'])} columns"
    )
    if about["quarantined"]:
        click.echo(f"{about['quarantined']:,} records in quarantine: {out}/quarantine.jsonl")
    click.echo(f"columns in {out}; next: glasshouse curate … --signals {out}")


@click.command()
@PATHS
@OUT
@click.option("--rules", default="dolma", show_default=True, metavar="NAME|FILE",
              help="A named set of rules, 'none', a file with one rule per line (word_count < 50), or a .yaml or .toml "
                   "with a section for every source.")  # fmt: skip
@click.option("--remove", multiple=True, metavar="RULE", help="One more rule, e.g. 'word_count < 50'; may be repeated.")
@click.option("--dedupe", default="exact,minhash", show_default=True, metavar="METHODS",
              help="Methods in their order, by commas, or 'none'; with settings: minhash:bands=20,rows=5.")  # fmt: skip
@click.option("--cut", multiple=True, metavar="COLUMN[>=SCORE]", help="Cut the spans of a column out of what is kept.")
@click.option("--mask/--no-mask", default=True, show_default=True, help="Mask personal information.")
@click.option(
    "--families", metavar="NAMES", help="Families of signals, by commas, as in `glasshouse signals --families`."
)
@click.option("--signals", "measured", type=click.Path(exists=True, file_okay=False),
              help="Signals measured before from the same files: nothing is measured again.")  # fmt: skip
@how_to_read
@on_workers
@JSON
def curate(
    paths: tuple[str, ...],
    out: str,
    rules: str,
    remove: tuple[str, ...],
    dedupe: str,
    cut: tuple[str, ...],
    mask: bool,
    families: str | None,
    measured: str | None,
    workers: int | None,
    on_ray: bool,
    ray_address: str | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Make a corpus of PATHS: measure, remove by rules, mask, remove duplicates; every removal has its reason.

    The result is the same, byte for byte, with any number of workers, on Ray, and after a kill.
    """
    from glasshouse.data.curation.configuration import Curation
    from glasshouse.data.curation.rules_file import rules_named
    from glasshouse.data.signals.pii import pii

    curation = Curation(
        keep=rules_named(rules, remove),
        mask=pii if mask else None,
        cut=tuple(cut_of(text) for text in cut),
        deduplicate=methods_of(dedupe),
        families=families_of(families) or (),
    )
    run_curation(planned(paths, out, reading), out, curation, measured, (workers, on_ray, ray_address), as_json)


@click.command()
@PATHS
@OUT
@click.option(
    "--by",
    default="exact",
    show_default=True,
    metavar="METHODS",
    help="Methods in their order, by commas; settings after a colon: ngrams:ngram_length=6,overlap_threshold=0.5.",
)
@how_to_read
@on_workers
@JSON
def dedupe(
    paths: tuple[str, ...],
    out: str,
    by: str,
    workers: int | None,
    on_ray: bool,
    ray_address: str | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Remove duplicates from PATHS and nothing else: documents, addresses, paragraphs, n-grams.

    The first of a group stays: the smallest file, then the smallest row, whatever the number of workers.
    """
    from glasshouse.data.curation.configuration import Curation

    curation = Curation(keep=None, mask=None, deduplicate=methods_of(by))
    run_curation(planned(paths, out, reading), out, curation, None, (workers, on_ray, ray_address), as_json)


def run_curation(
    shards: list[InputShard], out: str, curation: Any, measured: str | None, where: tuple[Any, ...], as_json: bool
) -> None:
    """Curate and tell what happened."""
    from dataclasses import asdict

    from glasshouse.data.curation.curate import curate as curate_documents

    curation.check()
    with executor_of(*where) as executor, shown("curating", shards, as_json) as progress:
        summary = curate_documents(shards, out, curation, executor=executor, signals=measured, progress=progress)
    if as_json:
        click.echo(json.dumps(asdict(summary)))
        return
    click.echo(f"{summary.input:,} records in")
    order = ["rules", "pii", "cut", *(method.name for method in curation.deduplicate)]
    for name in sorted(summary.stages, key=order.index):
        tally = summary.stages[name]
        click.echo(f"  {tally.documents:>12,}  removed by {name} ({tally.bytes / 1e6:.1f} MB)")
    if summary.quarantined:
        reasons = ", ".join(f"{count} {reason}" for reason, count in summary.quarantine_reasons.items())
        click.echo(f"  {summary.quarantined:>12,}  in quarantine ({reasons})")
    idle = [name for name in rule_names(curation.keep) if name not in summary.rules]
    if idle:
        more = f" and {len(idle) - 6} more" if idle[6:] else ""
        click.echo(f"rules that matched no document: {', '.join(idle[:6])}{more}")
    if absent := absent_sources(curation.keep, summary.sources):
        click.echo(f"rules are given for sources that no document is of: {', '.join(absent)}")
    lost = sum(summary.cut_bytes.values()) / 1e6
    after = f", {summary.kept.bytes / 1e6 - lost:.1f} MB without what is cut" if lost else ""
    click.echo(f"  {summary.kept.documents:>12,}  kept ({summary.kept.bytes / 1e6:.1f} MB{after})")
    if summary.masked_documents:
        click.echo(
            f"{sum(summary.masked_spans.values()):,} personal spans masked in {summary.masked_documents:,} documents"
        )
    for name, count in summary.cut_spans.items():
        what = "named by --cut" if name == "cut" else f"found by {name}"
        click.echo(f"{count:,} spans {what} are cut ({summary.cut_bytes.get(name, 0) / 1e6:.1f} MB)")
    click.echo(f"corpus in {out}; next: glasshouse whatif {out}, explain {out} ID, datasheet {out}")


def rule_names(keep: Any) -> list[str]:
    """The rules of all sets, each once."""
    sets = () if keep is None else keep.sets() if hasattr(keep, "sets") else (keep,)
    return list(dict.fromkeys(rule.name for rule_set in sets for rule in rule_set.rules))


def absent_sources(keep: Any, sources: Any) -> list[str]:
    """Sources with rules of their own of which no document came in; the published rules name more than anybody has."""
    from glasshouse.data.curation.rules import dolma_rules

    named = getattr(keep, "by_source", {})
    return [printable(name) for name in named if name not in sources and name not in dolma_rules.by_source]


def cut_of(text: str) -> Any:
    """`toxic_spans>=0.4` or `toxic_spans` (then every span)."""
    from glasshouse.data.curation.configuration import CutSpans

    name, at_least, score = text.partition(">=")
    try:
        return CutSpans(signal=name.strip(), minimum_score=float(score) if at_least else 0.0)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not COLUMN or COLUMN>=SCORE", param_hint="--cut") from None


def print_families(context: click.Context) -> None:
    """Every family with its columns, or what is missing to use it."""
    from glasshouse.data.signals.families import FAMILIES, family

    for name in sorted(FAMILIES):
        click.echo(click.style(name, bold=True))
        try:
            columns = family(name).signals
        except (ValueError, ImportError) as error:
            click.echo(f"  {error}")
            continue
        for signal in columns:
            click.echo(f"  {signal.name:<52} {signal.unit:<12} {signal.doc}")
    context.exit()
