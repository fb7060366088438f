"""The command publish."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from glasshouse.cli.models import open_model
from glasshouse.cli.options import READS, open_store


@click.command()
@click.argument("model", required=False)
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--answers", type=click.Path(dir_okay=False), help="YAML or JSON: what only a person can say.")
@click.option("--questions", is_flag=True, help="Print an empty file of answers, and stop.")
@click.option(
    "--gguf", multiple=True, type=click.Choice(["f32", "f16", "q8_0"]), help="Add a file for llama.cpp; repeatable."
)
@click.option(
    "--format", "layout", type=click.Choice(["huggingface", "olmo"]), default="huggingface", show_default=True,
    help="Tensor names: Hugging Face's, or OLMo's original ones.",
)  # fmt: skip
@click.option(
    "--shard-size", type=float, default=5.0, show_default=True, help="Most gigabytes (10^9 bytes) of one weight file."
)
@click.option("--force", is_flag=True, help="Replace what an earlier publication wrote there, and nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@READS
def publish(
    model: str | None, directory: Path | None, answers: str | None, questions: bool, layout: str, shard_size: float,
    as_json: bool, location: str, **options: Any,
) -> None:  # fmt: skip
    """Publish a MODEL into a new DIRECTORY: weights, tokenizer, model card, datasheet, provenance and hashes.

    MODEL: an id, a pin, a recipe's name, or a model folder that no store knows. The folder is in the Hub's form and
    `transformers` loads it unchanged. Nothing is uploaded.
    """
    import json

    from glasshouse.publishing.answers import load_model_answers, model_answers_template

    if questions:
        click.echo(model_answers_template(), nl=False)
        return
    if model is None or directory is None:
        raise click.UsageError("name a MODEL and a DIRECTORY to write into")
    if not shard_size > 0:
        raise click.BadParameter(f"{shard_size:g} is not a size", param_hint="--shard-size")
    said = load_model_answers(answers) if answers else None
    source, store = _source(location, model)
    from glasshouse.publishing.publish import publish_model

    made = publish_model(
        source, directory, store=store, answers=said, layout=layout, shard_bytes=int(shard_size * 1e9), **options
    )
    if as_json:
        click.echo(json.dumps({"path": str(made.path), "files": made.files, "notes": made.notes}, indent=2))
        return
    for name in made.files:
        click.echo(f"{(made.path / name).stat().st_size:>15,} B  {name}")
    for note in made.notes:
        click.echo(f"note: {note}")
    click.echo(f"published into {made.path}; read {made.path / 'README.md'}")


def _source(location: str, model: str) -> tuple[Any, Any]:
    """The model and the store that knows it: a folder named outright, or an artifact."""
    if (Path(model) / "config.json").is_file():
        return Path(model), None
    found = open_model(location, model)
    return found, open_store(location)
