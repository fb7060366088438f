"""The command line. Rooms are imported inside the commands, so that `glasshouse --help` answers at once."""

from __future__ import annotations

import os
import sys

import click

import glasshouse
from glasshouse.cli import (
    annotate,
    artifacts,
    carbon,
    classifiers,
    corpus,
    deduplication,
    describe,
    evaluating,
    mesh,
    mixing,
    models,
    publish,
    quantise,
    recipes,
    reruns,
    rewards,
    tokens,
)
from glasshouse.cli import search as searching
from glasshouse.cli.options import CONTEXT
from glasshouse.cli.recipes import recipe_command

__all__ = ["cli", "main", "recipe_command"]


@click.group(context_settings=CONTEXT)
@click.version_option(glasshouse.__version__, prog_name="glasshouse")
def cli() -> None:
    """Grow generative models in plain sight: from raw documents to a trained, evaluated and traceable model.

    Start with `glasshouse run quickstart`. Everything a run leaves behind can be listed (ls), opened (show),
    followed back to raw documents (lineage, trace) and checked (verify, claims).
    """


for command in (
    recipes.run,
    *(corpus.signals, corpus.curate, corpus.dedupe, deduplication.substrings, mixing.mix),
    *(tokens.tokenize, tokens.decontaminate),
    *(classifiers.train_classifier, classifiers.classify),
    *(describe.whatif, describe.explain, describe.datasheet, searching.search),
    *(artifacts.list_artifacts, artifacts.show, artifacts.lineage, artifacts.diff, reruns.verify, artifacts.claims),
    *(artifacts.gc, artifacts.pin, artifacts.unpin, artifacts.report, carbon.carbon),
    *(
        evaluating.evaluate,
        evaluating.compare,
        models.generate,
        models.chat,
        publish.publish,
        quantise.quantise,
        quantise.map_compression,
        models.trace,
        reruns.retrain,
    ),
    *(annotate.annotate, rewards.frontier, mesh.mesh),
):
    cli.add_command(command)
models.trace.add_command(searching.trace_text)


def main() -> None:
    """Entry point: the house's own errors are told in one line, others keep their traceback."""
    # Before torch is loaded: arithmetic threads that wait for each other must not spin on a core that others need.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        cli(standalone_mode=True)
    except Exception as error:
        told = (OSError, ImportError, UnicodeDecodeError)  # a file, a package that is missing, a file of another kind
        if not (isinstance(error, told) or type(error).__module__.startswith("glasshouse.")):
            raise
        click.echo(f"{click.style('error:', fg='red')} {error}", err=True)
        sys.exit(1)
