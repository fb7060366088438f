"""Commands that hash or compute again what is in the store: verify, retrain."""

from __future__ import annotations

import sys
from typing import Any

import click

from glasshouse.cli.models import open_model
from glasshouse.cli.options import READS, open_store, reporting


@click.command()
@click.argument("references", nargs=-1)
@click.option(
    "--steps", type=click.IntRange(min=1), help="Compute this many updates of a model's training again instead."
)
@click.option("--from", "start", type=click.IntRange(min=0), help="Update of the kept checkpoint to start at; 0: seed.")
@READS
def verify(references: tuple[str, ...], steps: int | None, start: int | None, location: str) -> None:
    """Re-hash artifacts (all of them when none is named) and check manifests and inputs; exit status 1 on damage.

    With --steps, compute a part of a model's training again: from a kept checkpoint (or the seed) to the next receipt
    after that many updates, whose hashes of weights and optimiser state must be met. Exit status 1 if they are not.
    """
    if steps is None and start is not None:
        raise click.UsageError("--from says where --steps begins: give --steps too")
    if steps is not None:
        if len(references) != 1:
            raise click.UsageError(f"--steps computes the training of one model again, got {len(references)}")
        verify_training(references[0], steps, start, location)
        return
    verify_files(references, location)


def verify_files(references: tuple[str, ...], location: str) -> None:
    """Re-hash artifacts and tell what is damaged."""
    store = open_store(location)
    store.must_exist()
    names = [store.resolve(reference) for reference in references] or store.names()
    damaged = 0
    for name in names:
        problems = store.verify(name)
        damaged += bool(problems)
        click.echo(f"{'DAMAGED' if problems else 'ok':<8} {name}")
        for problem in problems:
            click.echo(f"         {problem}")
    click.echo(f"{len(names)} checked, {damaged} damaged")
    if damaged:
        click.echo("Remove a damaged artifact's folder and run its recipe again to make it anew.")
        sys.exit(1)


def verify_training(reference: str, steps: int, start: int | None, location: str) -> None:
    """Compute a part of a model's training again; an error says what was not met."""
    from glasshouse.language.reexecution import reexecute

    model = open_model(location, reference)
    with reporting() as reporter, reporter.bar("executing again", None) as bar:
        done = reexecute(model, open_store(location), steps, start, progress=bar)
    click.echo(f"{model.path.name}: {done}")


@click.command()
@click.argument("model")
@click.option("--without", "documents", multiple=True, required=True, metavar="ID", help="Document to forget; repeat.")
@click.option("--certify", "wanted", is_flag=True, help="Also run the training without them from the seed and compare.")
@READS
def retrain(model: str, documents: tuple[str, ...], wanted: bool, location: str) -> None:
    """Train MODEL again without documents, from the last kept checkpoint that none of them had reached.

    Every token of them is blanked out; all other rows stay where they were. What comes out is what a training without
    them from the beginning gives, bit for bit on the same hardware; --certify shows it, exit status 1 if it is not so.
    """
    from glasshouse.language.pretraining_run import inputs_of
    from glasshouse.language.retrain import certify, plan_forgetting, retrain

    store, original = open_store(location), open_model(location, model)
    plan = plan_forgetting(original, inputs_of(original, store), documents)
    for document, reason in plan.untouched:
        click.echo(f"document {document!r} {reason}")
    if not plan.documents:
        click.echo(f"{original.path.name} never had them: there is nothing to retrain")
        return
    origin = f"the checkpoint of update {plan.start}" if plan.start else "the seed"
    click.echo(f"first seen at update {plan.first} of {plan.last}; training again from {origin}")
    with reporting() as reporter:
        made = retrain(original, store, plan.documents, reporter)
        remember(store, made, original, plan.documents)
        click.echo(f"{made.path.name}: {plan.last - plan.start} updates made, {plan.start} saved")
        if wanted:
            with reporter.bar("the run without them from the seed", None) as bar:
                done = certify(made, store, progress=bar)
            click.echo(f"certified: a run that never had them meets every receipt; {done}")


def remember(store: Any, made: Any, original: Any, documents: tuple[str, ...]) -> None:
    """Record the run, so that `ls` names it and `gc` keeps it."""
    used = made.manifest["resources"]
    arguments = {"model": original.id, "without": list(documents)}
    run = {"artifact": made.path.name, "arguments": arguments}
    store.record_run("retrain", run | {"started": used["started"], "wall_seconds": used["wall_seconds"]})
