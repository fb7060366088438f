"""Commands between a corpus and a training run: tokenize, decontaminate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from glasshouse.cli.corpus import OUT, PATHS, SHARD_BYTES, refuse_inside, shown
from glasshouse.cli.options import READS, executor_of, existing_path, names_files, on_workers, printable, printable_json

if TYPE_CHECKING:
    from glasshouse.data.sources.inputs import InputShard

LAYOUTS = ("glasshouse", "olmo", "megatron", "nanogpt")


@click.command()
@PATHS
@click.option("--tokenizer", required=True, metavar="FILE|train|train-sentencepiece",
              help="A tokenizer.json (or its folder), a SentencePiece .model, or train one here.")  # fmt: skip
@click.option("--vocabulary", default=32_768, show_default=True, help="Tokens of a tokenizer that is trained.")
@OUT
@click.option("--layout", type=click.Choice(LAYOUTS), default="glasshouse", show_default=True,
              help="Whose files: ours, OLMo's, Megatron's, nanoGPT's (and litGPT's).")  # fmt: skip
@click.option("--holdout", default=0.0, show_default=True, help="Share of the documents to hold out, by their id.")
@click.option("--seed", default=0, show_default=True, help="Of the holdout and the tokenizer's sample.")
@SHARD_BYTES
@on_workers
@click.option("--fertility", is_flag=True, help="Also print tokens per word and byte of every source.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
@READS
def tokenize(
    paths: tuple[str, ...], tokenizer: str, vocabulary: int, out: str, layout: str, holdout: float, seed: int,
    shard_bytes: int | None, workers: int | None, on_ray: bool, ray_address: str | None, fertility: bool,
    as_json: bool, location: str,
) -> None:  # fmt: skip
    """Tokenize documents: PATHS are files, directories, patterns, or corpora (directories, artifacts).

    The result is the same with any number of workers, on Ray, and after a kill: a killed run goes on where it stopped.
    """
    import orjson

    from glasshouse.data.tokens.tokenizing import Tokenizing, tokenize_files

    settings = Tokenizing(
        tokenizer=tokenizer, vocabulary=vocabulary, layout=layout, holdout=holdout, seed=seed, fertility=fertility
    )
    shards = planned(location, paths, out, shard_bytes)
    with executor_of(workers, on_ray, ray_address) as executor, shown("tokenising", shards, as_json) as progress:
        summary = tokenize_files(shards, out, settings, executor=executor, progress=progress)
    if as_json:
        # JSON knows no infinity, which is what tokens per word are without words.
        click.echo(printable_json(orjson.loads(orjson.dumps(summary.model_dump()))))
        return
    for split, tokens in summary.tokens.items():
        click.echo(f"{split:<8} {tokens:>14,} tokens  {summary.documents[split]:>10,} documents")
    click.echo(f"vocabulary {summary.vocabulary:,}, {summary.dtype}, {len(summary.files)} files in {out} ({layout})")
    if summary.quarantined:
        click.echo(f"{summary.quarantined:,} records could not be read: see {out}/quarantine.jsonl")
    for row in summary.fertility:
        source = printable(row["source"])
        click.echo(f"{source:<24} {row['tokens_per_word']:>6.2f} tokens/word {row['tokens_per_byte']:>6.3f} /byte")


@click.command()
@PATHS
@click.option("--against", multiple=True, required=True, metavar="[NAME=]FILE",
              help="An evaluation set (JSON Lines, JSON, Parquet, text), or one saved index; repeatable.")  # fmt: skip
@OUT
@click.option("--report-only", is_flag=True, help="Write the report and the hits, but no documents.")
@click.option("--action", type=click.Choice(["document", "span"]), default="document", show_default=True,
              help="Remove whole documents, or cut what was found.")  # fmt: skip
@click.option("--ngram", default=13, show_default=True, help="Words of an n-gram.")
@click.option("--threshold", default=0.5, show_default=True, help="Share of an item's words from which it counts.")
@click.option("--field", "fields", multiple=True, help="Only these fields of the evaluation rows; repeatable.")
@click.option("--dialect", type=click.Choice(["ngram", "dolma"]), default="ngram", show_default=True,
              help="dolma: whole paragraphs of more than 13 words.")  # fmt: skip
@click.option("--save-index", metavar="FILE", help="Keep the index, to be given as --against later.")
@SHARD_BYTES
@on_workers
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
@READS
def decontaminate(
    paths: tuple[str, ...], against: tuple[str, ...], out: str, report_only: bool, action: str, ngram: int,
    threshold: float, fields: tuple[str, ...], dialect: str, save_index: str | None,
    shard_bytes: int | None, workers: int | None, on_ray: bool, ray_address: str | None, as_json: bool, location: str,
) -> None:  # fmt: skip
    """Find evaluation items in documents, and remove or report them: PATHS as for `tokenize`.

    A killed run goes on where it stopped.
    """
    from glasshouse.data.contamination.decontaminate import decontaminate as run
    from glasshouse.data.contamination.judging import Decontamination

    settings: dict[str, Any] = {"threshold": threshold, "action": "report" if report_only else action}
    index = index_of(against, fields, ngram, dialect, save_index)
    shards = planned(location, paths, out, shard_bytes)
    with executor_of(workers, on_ray, ray_address) as executor, shown("searching", shards, as_json) as progress:
        report = run(shards, index, out, Decontamination(**settings), executor=executor, progress=progress)
    if as_json:
        click.echo(printable_json(report.model_dump()))
        return
    for one in report.sets:
        name = printable(one.name)
        click.echo(
            f"{name:<24} {one.contaminated:>6,} of {one.searched:,} items contaminated, {one.touched:,} touched, "
            f"{one.short_found:,} of {one.short:,} short ones found, {one.too_short:,} too short"
        )
    done = "reported only" if report_only else f"{report.removed:,} removed, {report.cut:,} cut"
    click.echo(f"{report.seen:,} documents, {report.text_bytes / 1e6:,.1f} MB: {done}; see {out}/contamination.md")


def index_of(against: tuple[str, ...], fields: tuple[str, ...], ngram: int, dialect: str, save: str | None) -> Any:
    """The index of the sets, or the saved one."""
    from glasshouse.data.contamination.evaluation_sets import read_evaluation_sets
    from glasshouse.data.contamination.index import EvaluationIndex, Matching, is_index_file
    from glasshouse.data.contamination.paragraphs import ParagraphIndex

    if len(against) == 1 and is_index_file(against[0]):
        if fields or save or dialect != "ngram" or ngram != Matching().ngram:
            raise click.UsageError(f"{against[0]} is a saved index: it fixes fields, n-gram and dialect")
        return EvaluationIndex.load(against[0])
    sets = read_evaluation_sets(against, fields or None)
    if dialect == "dolma":
        if save:
            raise click.UsageError("--save-index keeps n-gram indexes only")
        return ParagraphIndex(sets)
    index = EvaluationIndex.build(sets, Matching(ngram=ngram, shortest=min(Matching().shortest, ngram)))
    if save:
        index.save(save)
    return index


def planned(location: str, paths: tuple[str, ...], out: str, shard_bytes: int | None) -> list[InputShard]:
    """The shards of PATHS; what is neither a path, a pattern nor a URL is an artifact of the store."""
    from glasshouse.data.sources.inputs import plan_inputs

    refuse_inside(out, paths)
    named = [path if names_files(path) else existing_path(location, path) for path in paths]
    return plan_inputs(named, shard_bytes=shard_bytes)
