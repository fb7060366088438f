"""Commands between a corpus and a training run: tokenize, decontaminate."""

from __future__ import annotations

import json
from typing import Any

import click

from glasshouse.cli.options import READS, executor_of, existing_path, names_files, on_workers

LAYOUTS = ("glasshouse", "olmo", "megatron", "nanogpt")


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--tokenizer", required=True, metavar="FILE|train|train-sentencepiece",
              help="A tokenizer.json (or its folder), a SentencePiece .model, or train one here.")  # fmt: skip
@click.option("--vocabulary", default=32_768, show_default=True, help="Tokens of a tokenizer that is trained.")
@click.option("--out", required=True, metavar="DIR", help="A new or empty directory.")
@click.option("--layout", type=click.Choice(LAYOUTS), default="glasshouse", show_default=True,
              help="Whose files: ours, OLMo's, Megatron's, nanoGPT's (and litGPT's).")  # fmt: skip
@click.option("--holdout", default=0.0, show_default=True, help="Share of the documents to hold out, by their id.")
@click.option("--seed", default=0, show_default=True, help="Of the holdout and the tokenizer's sample.")
@on_workers
@click.option("--fertility", is_flag=True, help="Also print tokens per word and byte of every source.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
@READS
def tokenize(
    paths: tuple[str, ...], tokenizer: str, vocabulary: int, out: str, layout: str, holdout: float, seed: int,
    workers: int | None, on_ray: bool, ray_address: str | None, fertility: bool, as_json: bool, location: str,
) -> None:  # fmt: skip
    """Tokenize documents: PATHS are files, directories, patterns, or corpora (directories, artifacts)."""
    from glasshouse.data.tokens.tokenizing import Tokenizing, tokenize_files

    settings = Tokenizing(
        tokenizer=tokenizer, vocabulary=vocabulary, layout=layout, holdout=holdout, seed=seed, fertility=fertility
    )
    with executor_of(workers, on_ray, ray_address) as executor:
        summary = tokenize_files(inputs_of(location, paths), out, settings, executor=executor)
    if as_json:
        click.echo(json.dumps(summary.model_dump(), ensure_ascii=False))
        return
    for split, tokens in summary.tokens.items():
        click.echo(f"{split:<8} {tokens:>14,} tokens  {summary.documents[split]:>10,} documents")
    click.echo(f"vocabulary {summary.vocabulary:,}, {summary.dtype}, {len(summary.files)} files in {out} ({layout})")
    if summary.quarantined:
        click.echo(f"{summary.quarantined:,} records could not be read: see {out}/quarantine.jsonl")
    for row in summary.fertility:
        click.echo(
            f"{row['source']:<24} {row['tokens_per_word']:>6.2f} tokens/word {row['tokens_per_byte']:>6.3f} /byte"
        )


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--against", multiple=True, required=True, metavar="[NAME=]FILE",
              help="An evaluation set (JSON Lines, JSON, Parquet, text), or one saved index; repeatable.")  # fmt: skip
@click.option("--out", required=True, metavar="DIR", help="A new or empty directory.")
@click.option("--report-only", is_flag=True, help="Write the report and the hits, but no documents.")
@click.option("--action", type=click.Choice(["document", "span"]), default="document", show_default=True,
              help="Remove whole documents, or cut what was found.")  # fmt: skip
@click.option("--ngram", default=13, show_default=True, help="Words of an n-gram.")
@click.option("--threshold", default=0.5, show_default=True, help="Share of an item's words from which it counts.")
@click.option("--field", "fields", multiple=True, help="Only these fields of the evaluation rows; repeatable.")
@click.option("--dialect", type=click.Choice(["ngram", "dolma"]), default="ngram", show_default=True,
              help="dolma: whole paragraphs of more than 13 words.")  # fmt: skip
@click.option("--save-index", metavar="FILE", help="Keep the index, to be given as --against later.")
@on_workers
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
@READS
def decontaminate(
    paths: tuple[str, ...], against: tuple[str, ...], out: str, report_only: bool, action: str, ngram: int,
    threshold: float, fields: tuple[str, ...], dialect: str, save_index: str | None,
    workers: int | None, on_ray: bool, ray_address: str | None, as_json: bool, location: str,
) -> None:  # fmt: skip
    """Find evaluation items in documents, and remove or report them: PATHS as for `tokenize`."""
    from glasshouse.data.contamination.decontaminate import Decontamination
    from glasshouse.data.contamination.decontaminate import decontaminate as run

    settings: dict[str, Any] = {"threshold": threshold, "action": "report" if report_only else action}
    index = index_of(against, fields, ngram, dialect, save_index)
    with executor_of(workers, on_ray, ray_address) as executor:
        report = run(inputs_of(location, paths), index, out, Decontamination(**settings), executor=executor)
    if as_json:
        click.echo(json.dumps(report.model_dump(), ensure_ascii=False))
        return
    for one in report.sets:
        click.echo(
            f"{one.name:<24} {one.contaminated:>6,} of {one.searched:,} items contaminated, {one.touched:,} touched, "
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


def inputs_of(location: str, paths: tuple[str, ...]) -> list[str]:
    """Paths as they are; what is neither a path, a pattern nor a URL is an artifact of the store."""
    return [path if names_files(path) else existing_path(location, path) for path in paths]
