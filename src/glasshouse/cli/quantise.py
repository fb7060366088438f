"""The command quantise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from glasshouse.cli.models import open_model
from glasshouse.cli.options import READS, open_store, reporting


@click.command()
@click.argument("model")
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--bits", type=click.Choice(["2", "3", "4", "8"]), default="4", show_default=True, help="Bits of a weight."
)
@click.option(
    "--method", type=click.Choice(["gptq", "rtn"]), default="gptq", show_default=True,
    help="GPTQ, which reads calibration text, or round-to-nearest, which reads none.",
)  # fmt: skip
@click.option(
    "--group-size", type=click.IntRange(min=0), default=128, show_default=True,
    help="Columns that share a grid; 0: the whole row.",
)  # fmt: skip
@click.option("--symmetric", is_flag=True, help="Zero in the middle of every grid.")
@click.option("--act-order", is_flag=True, help="Columns with the largest inputs first.")
@click.option("--static-groups", is_flag=True, help="Grids of the weights before any was moved.")
@click.option(
    "--text", "texts", multiple=True, metavar="PATH",
    help="Calibration documents in any form that curation reads; by default what a model of the store was trained on.",
)  # fmt: skip
@click.option(
    "--layout", type=click.Choice(["gptq", "gptq_v2"]), default="gptq", show_default=True,
    help="Of a folder's packed layers. GPTQModel opens asymmetric grids in the second only.",
)  # fmt: skip
@click.option("--rows", default=128, show_default=True, type=click.IntRange(min=1), help="Most rows to calibrate on.")
@click.option("--seed", default=0, show_default=True, help="Of the rows that are drawn.")
@click.option("--device", default="cpu", show_default=True, help="Where the model runs.")
@READS
def quantise(
    model: str, directory: Path | None, bits: str, group_size: int, texts: tuple[str, ...], layout: Any,
    rows: int, seed: int, device: str, location: str, **options: Any,
) -> None:  # fmt: skip
    """Quantise a MODEL to few bits, packed as GPTQ's files are.

    A model of the store (an id, a pin, a recipe) becomes another one there, which evaluate, generate and chat open. A
    Hugging Face folder becomes the DIRECTORY, which GPTQModel opens too.
    """
    from glasshouse.language.quantisation.settings import Quantisation

    settings = Quantisation(bits=int(bits), group_size=group_size or None, **options)
    if Path(model).is_dir():
        if directory is None:
            raise click.UsageError(f"{model} is a folder: name the DIRECTORY to write into")
        into_folder(model, directory, settings, layout, texts, rows, seed, device)
    elif directory is not None or texts:
        raise click.UsageError(
            "a model of the store is calibrated on what it was trained on and stays there: leave DIRECTORY and --text "
            "out, or name the folder of the model"
        )
    else:
        in_store(location, model, settings, rows, seed, device)


def in_store(location: str, model: str, settings: Any, rows: int, seed: int, device: str) -> None:
    """Run the step on a model of the store, calibrated on the shards it was trained on first."""
    from glasshouse.data.steps import Shards
    from glasshouse.language.quantisation.steps import QuantisedModel
    from glasshouse.language.quantisation.steps import quantise as make
    from glasshouse.store.execution import execute
    from glasshouse.store.lineage import ancestors
    from glasshouse.store.store import StoreError

    store, original = open_store(location), open_model(location, model)
    behind = [store.open(name) for name in ancestors(store, original.path.name)]
    shards = next((item for item in behind if isinstance(item, Shards)), None)
    if shards is None and settings.method == "gptq":
        raise StoreError(f"{original} has no token shards behind it to calibrate on: quantise its folder with --text")
    with reporting() as reporter:
        made = execute(make(original, settings, shards, rows=rows, seed=seed, device=device), store, reporter)
    assert isinstance(made, QuantisedModel)  # noqa: S101
    used = made.manifest["resources"]
    arguments = {"model": original.id, "bits": settings.bits, "method": settings.method}
    run = {"artifact": made.path.name, "arguments": arguments}
    store.record_run("quantise", run | {"started": used["started"], "wall_seconds": used["wall_seconds"]})
    click.echo(f"{made.path.name}: {_told(made.values)}")


def into_folder(
    model: str, directory: Path, settings: Any, layout: Any, texts: tuple[str, ...], rows: int, seed: int, device: str
) -> None:
    """Quantise the model of a folder into another one."""
    from glasshouse.evaluation.held_out import read_held_out, text_files
    from glasshouse.evaluation.models import open_folder
    from glasshouse.language.quantisation.calibration import rows_of_documents
    from glasshouse.language.quantisation.files import TOKENIZER_FILES, write_quantised
    from glasshouse.language.quantisation.model import quantise_model

    if settings.method == "gptq" and not texts:
        raise click.UsageError("gptq reads calibration documents: give --text, or take --method rtn")
    opened = open_folder(model, device)
    batches = []
    if settings.method == "gptq":
        documents = read_held_out(text_files(*texts), opened).tokens
        context = min(opened.context, 2048)
        batches = rows_of_documents(documents, opened.end_of_sequence, context, rows, seed)
    with reporting() as reporter, reporter.bar("quantising layers", None) as bar:
        layers = quantise_model(opened.transformer, settings, batches, advance=bar.advance)
    files = [path for name in TOKENIZER_FILES if (path := Path(model) / name).is_file()]
    special = {"eos_token_id": opened.end_of_sequence}
    write_quantised(opened.transformer, layers, settings, directory, special=special, files=files, layout=layout)
    click.echo(f"{len(layers)} layers at {settings.bits} bits, written into {directory}")


def _told(values: Any) -> str:
    told = f"{values['quantisation/bytes']:,.0f} bytes, {values['quantisation/bits_per_parameter']:.2f} bits a weight"
    if (error := values.get("quantisation/mean_error")) is not None:
        told += f", {error:.2%} of the layers' output energy lost"
    return told
