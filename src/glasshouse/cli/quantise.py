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


@click.command("map-compression")
@click.argument("model")
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="As of `evaluate`. May be given again.")
@click.option("--bits", default="8,4,3,2", show_default=True, metavar="N,N", help="Bits to try.")
@click.option("--methods", default="rtn,gptq", show_default=True, metavar="NAME,NAME", help="Methods to try.")
@click.option(
    "--group-size", type=click.IntRange(min=0), default=64, show_default=True,
    help="Columns that share a grid; 0: the whole row.",
)  # fmt: skip
@click.option("--beside", multiple=True, metavar="MODEL", help="Another model, measured as it is. May be given again.")
@click.option("--rows", default=128, show_default=True, type=click.IntRange(min=1), help="Most rows to calibrate on.")
@click.option("--limit", type=click.IntRange(min=1), help="A seeded sample of this many items of each task.")
@click.option("--shots", type=click.IntRange(min=0), default=0, show_default=True, help="Examples before every item.")
@click.option("--seed", default=0, show_default=True, help="Of samples, examples, calibration and intervals.")
@READS
def map_compression(
    model: str, tasks: tuple[str, ...], bits: str, methods: str, group_size: int, beside: tuple[str, ...], rows: int,
    limit: int | None, shots: int, seed: int, location: str,
) -> None:  # fmt: skip
    """Quantise a MODEL of the store by every method to every number of bits, and measure all beside it.

    Prints what they reach in tasks and on the text held out from their training; `glasshouse report map-compression`
    writes a page with quality drawn over bytes.
    """
    from glasshouse.cli.evaluating import text_of
    from glasshouse.evaluation.compression import CompressionMap, NamedTasks
    from glasshouse.evaluation.compression import map_compression as measure
    from glasshouse.language.quantisation.settings import Quantisation
    from glasshouse.language.quantisation.steps import quantise as make
    from glasshouse.store.execution import execute
    from glasshouse.store.panels import Table

    if not all(number.strip().isdigit() for number in bits.split(",")):
        raise click.BadParameter(f"{bits!r} is no list of numbers: write --bits 4,3,2")
    store, original = open_store(location), open_model(location, model)
    shards = shards_behind(store, original)
    models = {"dense": original, **{name: open_model(location, name) for name in beside}}
    for number in map(int, bits.split(",")):
        for method in methods.split(","):
            settings = Quantisation(bits=number, method=method, group_size=group_size or None)
            models[f"{number} bits {method}"] = make(original, settings, shards, rows=rows, seed=seed)
    asked = NamedTasks(names=tasks, limit=limit, shots=shots, seed=seed)
    with reporting() as reporter:
        made = execute(measure(models, [asked], shards, per_source=limit, seed=seed), store, reporter)
    assert isinstance(made, CompressionMap)  # noqa: S101
    remember(store, "map-compression", made, original)
    for panel in made.panels():
        if isinstance(panel, Table):
            click.echo(f"{panel.title}\n{text_of(panel)}\n{panel.note}")


def in_store(location: str, model: str, settings: Any, rows: int, seed: int, device: str) -> None:
    """Run the step on a model of the store, calibrated on the shards it was trained on first."""
    from glasshouse.language.quantisation.steps import QuantisedModel
    from glasshouse.language.quantisation.steps import quantise as make
    from glasshouse.store.execution import execute

    store, original = open_store(location), open_model(location, model)
    shards = shards_behind(store, original) if settings.method == "gptq" else None
    with reporting() as reporter:
        made = execute(make(original, settings, shards, rows=rows, seed=seed, device=device), store, reporter)
    assert isinstance(made, QuantisedModel)  # noqa: S101
    remember(store, "quantise", made, original)
    click.echo(f"{made.path.name}: {_told(made.values)}")


def shards_behind(store: Any, model: Any) -> Any:
    """The shards that a model, or the one it was tuned from, was trained on first."""
    from glasshouse.data.steps import Shards
    from glasshouse.store.lineage import ancestors
    from glasshouse.store.store import StoreError

    behind = [store.open(name) for name in ancestors(store, model.path.name)]
    found = next((item for item in behind if isinstance(item, Shards)), None)
    if found is None:
        raise StoreError(f"{model} has no token shards behind it to calibrate on: quantise its folder with --text")
    return found


def remember(store: Any, name: str, made: Any, original: Any) -> None:
    """Record the run, so that `ls` names it and `gc` keeps it."""
    used = made.manifest["resources"]
    run = {"artifact": made.path.name, "arguments": {"model": original.id}}
    store.record_run(name, run | {"started": used["started"], "wall_seconds": used["wall_seconds"]})


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
