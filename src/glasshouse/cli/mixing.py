"""The command that mixes documents: filters, weights, replaced spans, Dolma's mixing files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glasshouse.cli.options import executor_of, on_workers, printable_json

if TYPE_CHECKING:
    from glasshouse.data.mixing.dolma_findings import Finding
    from glasshouse.data.mixing.mixture import Mixture
    from glasshouse.data.mixing.summary import MixSummary

FORMS = ("jsonl.zst", "jsonl.gz", "jsonl", "parquet")


@click.command()
@click.argument("paths", nargs=-1)
@click.option("--out", type=click.Path(file_okay=False), help="A new directory to write into.")
@click.option("--include", multiple=True, metavar="RULE", help="Keep documents for which RULE (or another) holds.")
@click.option("--exclude", multiple=True, metavar="RULE", help="Leave out documents for which RULE holds.")
@click.option("--weights", metavar="NAME=SHARE,…", help="Shares of bytes; NAME=PATH names the streams.")
@click.option("--weigh-by", default="bytes", show_default=True, help="bytes, documents, or a column of numbers.")
@click.option("--total", type=float, help="What the result holds; by default as much as needs no document twice.")
@click.option("--attributes", multiple=True, metavar="SET", help="A Dolma attribute set beside the documents.")
@click.option("--signals", metavar="DIRECTORY", help="Signals measured from the same PATHS (`glasshouse signals`).")
@click.option("--repeat", type=click.FloatRange(min=0), default=1.0, show_default=True, help="How often each comes.")
@click.option("--form", type=click.Choice(FORMS), help="Form of the output files.  [default: jsonl.zst]")
@click.option("--shard-bytes", type=click.IntRange(min=1), help="Most bytes of text in an output file.")
@click.option("--seed", type=int, help="Of every choice of documents.  [default: 0]")
@click.option("--import-dolma", "imported", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
              help="Mix as a mixing file of Dolma's says.")  # fmt: skip
@click.option("--fix", is_flag=True, help="With --import-dolma: put misspelt keys and unread attribute sets right.")
@click.option("--check", is_flag=True, help="Only say what is wrong; exit status 1 when a rule cannot work.")
@on_workers
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def mix(
    paths: tuple[str, ...],
    out: str | None,
    imported: str | None,
    fix: bool,
    check: bool,
    workers: int | None,
    on_ray: bool,
    ray_address: str | None,
    as_json: bool,
    **quick: Any,
) -> None:
    """Filter, weigh, mask and re-shard documents into a new set of files.

    PATHS is one mixture file (.yaml, .json, .toml), or files, directories and patterns of documents, or corpora, each
    NAME=PATH where streams are weighted. RULE is an expression over signals and fields of documents:

    \b
      word_count < 50 or fraction_of_duplicate_lines > 30%
      source == "web" and not has_javascript
      count(email_spans) > 5        metadata.stars >= 3

    Rules are checked against the columns there are, their units and bounds before anything is read.
    """
    findings: list[Finding] = []
    if imported is not None:
        from glasshouse.data.mixing.dolma import import_dolma

        if paths or rules_given(quick):
            raise click.UsageError("--import-dolma says what is mixed: give no PATHS, rules or weights beside it")
        mixture, findings = import_dolma(imported, fix=fix)
        mixture = mixture.but(**output_of(quick))
        if not as_json:
            tell_findings(findings)
    else:
        if fix:
            raise click.UsageError("--fix goes with --import-dolma")
        mixture = mixture_of(paths, quick)
    if check:
        sys.exit(check_only(mixture, findings, as_json, must_exist=imported is None))
    if any(finding.kind == "not_understood" for finding in findings):
        raise click.UsageError("some rules were not understood (see above): the mixture would not be the file's")
    if out is None:
        raise click.UsageError("say where to write with --out, or only --check")
    run(mixture, out, (workers, on_ray, ray_address), as_json)


def run(mixture: Mixture, out: str, where: tuple[Any, ...], as_json: bool) -> None:
    """Mix and tell what happened."""
    from glasshouse.data.mixing.mix import mix as mix_documents

    try:
        with executor_of(*where) as executor:
            summary = mix_documents(mixture, out, executor)
    except ModuleNotFoundError:
        raise  # the house's own words
    except ImportError as error:  # fsspec's, for a URL of a kind whose package is missing
        raise click.ClickException(f"{error} (pip install it), or look at the mixture alone with --check") from error
    if as_json:
        click.echo(printable_json(summary.as_json()))
    else:
        tell(summary, out)


def mixture_of(paths: tuple[str, ...], quick: dict[str, Any]) -> Mixture:
    """The mixture of a file, or of paths and options."""
    from glasshouse.data.mixing.mixture import Mixture, read_mixture

    if not paths:
        raise click.UsageError("name a mixture file, documents, or --import-dolma FILE")
    given = output_of(quick)
    if len(paths) == 1 and Path(paths[0]).suffix in (".yaml", ".yml", ".json", ".toml") and Path(paths[0]).is_file():
        if rules_given(quick):
            raise click.UsageError(f"{paths[0]} is a mixture file: write its rules and weights into it")
        mixture: Mixture = read_mixture(paths[0])
        return mixture.but(**given) if given else mixture
    weights = weights_of(quick["weights"])
    if weights:
        given |= {"weights": weights, "weigh_by": quick["weigh_by"], "total": quick["total"]}
    elif quick["total"] is not None or quick["weigh_by"] != "bytes":
        raise click.UsageError("--total and --weigh-by go with --weights")
    return Mixture(streams=tuple(streams_of(paths, weights, quick)), **given)


def output_of(quick: dict[str, Any]) -> dict[str, Any]:
    """The settings of the output that were given, which may be changed for any mixture."""
    given = {"form": quick["form"], "maximum_shard_bytes": quick["shard_bytes"], "seed": quick["seed"]}
    return {name: value for name, value in given.items() if value is not None}


def rules_given(quick: dict[str, Any]) -> bool:
    """Whether options say what is mixed, which a file says already."""
    names = ("include", "exclude", "weights", "attributes", "signals", "total")
    return any(quick[name] for name in names) or quick["repeat"] != 1 or quick["weigh_by"] != "bytes"


def streams_of(paths: tuple[str, ...], weights: dict[str, float], quick: dict[str, Any]) -> list[dict[str, Any]]:
    """One stream of all paths, or one for every NAME=PATH."""
    rules = {"include": quick["include"], "exclude": quick["exclude"]}
    rest = {
        "filter": rules, "attributes": quick["attributes"], "signals": quick["signals"], "repeat": quick["repeat"],
        "measure": measured_on_the_way(paths, quick),
    }  # fmt: skip
    if not weights:
        return [{"name": "documents", "documents": paths} | rest]
    named: dict[str, list[str]] = {}
    for path in paths:
        name, equals, where = path.partition("=")
        if not equals or name not in weights:
            raise click.UsageError(f"{path!r}: with --weights write NAME=PATH, NAME one of {', '.join(weights)}")
        named.setdefault(name, []).append(where)
    return [{"name": name, "documents": tuple(where)} | rest for name, where in named.items()]


def measured_on_the_way(paths: tuple[str, ...], quick: dict[str, Any]) -> tuple[str, ...]:
    """The default families, where a rule names one of their columns and nobody measured it."""
    from glasshouse.data.mixing.checking import DOCUMENT_FIELDS, OPEN
    from glasshouse.data.mixing.expression import columns
    from glasshouse.data.mixing.parsing import parse
    from glasshouse.data.signals.families import DEFAULT_FAMILIES, family

    if quick["signals"] or any((Path(path.rpartition("=")[2]) / "summary.json").is_file() for path in paths):
        return ()
    wanted = {name for rule in (*quick["include"], *quick["exclude"]) for name in columns(parse(rule))}
    made = {name: {signal.name for signal in family(name).signals} for name in DEFAULT_FAMILIES}
    unknown = {name for name in wanted if name not in DOCUMENT_FIELDS and not name.startswith(OPEN)}
    if unknown - set().union(*made.values()) and not quick["attributes"]:
        return DEFAULT_FAMILIES  # so that the message can name the nearest signals
    return tuple(name for name, names in made.items() if wanted & names)


def weights_of(text: str | None) -> dict[str, float]:
    """`web=.8,code=.2` as numbers."""
    found: dict[str, float] = {}
    for part in (text or "").split(",") if text else []:
        name, _, share = part.partition("=")
        if name.strip() in found:
            raise click.BadParameter(f"{name.strip()!r} has two shares", param_hint="--weights")
        try:
            found[name.strip()] = float(share.rstrip("% ")) / (100 if share.strip().endswith("%") else 1)
        except ValueError:
            raise click.BadParameter(f"{part!r} is not NAME=SHARE", param_hint="--weights") from None
    return found


def check_only(mixture: Mixture, findings: list[Finding], as_json: bool, must_exist: bool) -> int:
    """Says what is wrong with a mixture; the exit status."""
    from glasshouse.data.mixing.rows import plan_stream
    from glasshouse.data.mixing.validation import check_mixture

    warnings = []
    try:
        warnings = check_mixture(mixture, [plan_stream(stream) for stream in mixture.streams])
    except (OSError, ImportError):
        # A published file names buckets that are not reachable from here: its rules are checked all the same.
        if must_exist:
            raise
        if not as_json:
            click.echo("the documents are not reachable from here: checked without them")
    if as_json:
        found = [finding._asdict() for finding in findings]
        click.echo(json.dumps({"findings": found, "warnings": [warning._asdict() for warning in warnings]}))
    else:
        for warning in warnings:
            click.echo(f"warning ({warning.kind}): {warning.message}")
        if not findings and not warnings:
            click.echo("nothing is wrong")
    bad = [finding for finding in findings if (finding.dead or finding.kind == "not_understood") and not finding.fixed]
    return 1 if bad else 0


def tell_findings(findings: list[Finding]) -> None:
    """The findings of an import, and how many rules are dead."""
    for finding in findings:
        state = "fixed" if finding.fixed else "DEAD" if finding.dead else "note"
        click.echo(f"{state:<6}{finding.kind:<16} {finding.stream}: {finding.message}")
    dead = {finding.rule for finding in findings if finding.dead and not finding.fixed}
    if dead:
        click.echo(f"{len(dead)} rules cannot fire as they are written; --fix puts right what can be")


def tell(summary: MixSummary, out: str) -> None:
    """What a run did, in a few lines."""
    for stream in summary.streams:
        click.echo(
            f"{stream.name}: {stream.rows:,} rows in, {stream.documents:,} documents out "
            f"({stream.bytes / 1e6:.1f} MB, {100 * stream.share:.2f} %, repeat {stream.repeat:.4g})"
        )
        lost = {
            "in quarantine": stream.quarantined, "not included": stream.not_included, "excluded": stream.excluded,
            "too short": stream.too_short, "not sampled": stream.not_sampled,
        }  # fmt: skip
        for name, count in lost.items():
            if count:
                click.echo(f"  {count:>10,}  {name}")
        for rule in stream.rules:
            click.echo(f"  {rule.matched:>10,}  matched by {rule.side} {rule.rule}")
        for name, count in stream.replaced.items():
            click.echo(f"  {count:>10,}  spans of {name} replaced")
    for warning in summary.warnings:
        click.echo(f"{click.style('warning', fg='yellow')} ({warning.kind}): {warning.message}")
    click.echo(
        f"{summary.documents:,} documents, {summary.bytes / 1e6:.1f} MB in {len(summary.files)} files under {out}"
    )
