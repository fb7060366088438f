"""The command `annotate`: people answer which of two responses is better, in the terminal or on a local page."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glasshouse.cli.options import printable

if TYPE_CHECKING:
    from glasshouse.alignment.annotation import Annotation, Shown

RULES = ("passive", "boltzmann", "infomax", "double_ts", "bai_ts")
KEYS = {"1": "A", "2": "B", "0": "tie", "s": "skip"}


@click.command()
@click.argument("questions", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--ledger", type=click.Path(path_type=Path, dir_okay=False), help="Where answers go. [QUESTIONS.ledger]")
@click.option("--name", help="Who answers, as the ledger records it. [the name of the user]")
@click.option("--page", is_flag=True, help="A page for the browser of this machine, in place of the terminal.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the page; a free one by default.")
@click.option("--rule", type=click.Choice(RULES), default="passive", show_default=True, help="Chooses among several.")
@click.option(
    "--reward-model",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder whose rewards the rule and the reasons go by.",
)
@click.option("--seed", default=0, show_default=True, help="Of the rule, and of which response is A.")
def annotate(
    questions: Path,
    ledger: Path | None,
    name: str | None,
    page: bool,
    port: int,
    rule: Any,
    reward_model: Path | None,
    seed: int,
) -> None:
    """Answer which of two responses is better; every answer is written to a ledger at once.

    QUESTIONS are JSON Lines with a `prompt` and either `first` and `second`, or two or more `responses`, of which
    --rule chooses a pair: passive, or with --reward-model also boltzmann, infomax, double_ts and bai_ts. What you have
    answered is not asked again. `glasshouse.alignment.ledger` gives the answers as preferences and as a table.
    """
    from glasshouse.alignment.annotation import Annotation
    from glasshouse.alignment.exploration import Rule
    from glasshouse.alignment.ledger import Ledger
    from glasshouse.alignment.questions import choose_pairs, read_questions

    if port and not page:
        raise click.UsageError("--port is the port of the page: add --page")
    chosen = Rule(name=rule)
    pairs = choose_pairs(read_questions(questions), chosen, judge=_judge(reward_model), seed=seed)
    path = ledger or questions.with_name(f"{questions.name}.ledger")
    session = Annotation(pairs, Ledger(path), name or getpass.getuser(), seed=seed)
    if session.left_to_ask < len(pairs):
        click.echo(f"{len(pairs) - session.left_to_ask} of {len(pairs)} were answered before")
    if page:
        _serve(session, port)
    else:
        _in_terminal(session)
    counted = ", ".join(f"{count} {choice}" for choice, count in session.answers.items() if count)
    click.echo(f"{counted or 'no answer'}; {session.left_to_ask} left; ledger {printable(str(path))}")


def _judge(folder: Path | None) -> Any:
    from glasshouse.alignment.reward_files import load_reward_model

    return None if folder is None else load_reward_model(folder).rewards


def _serve(session: Annotation, port: int) -> None:
    from glasshouse.alignment.annotation_page import AnnotationServer

    with AnnotationServer(session, port) as server:
        click.echo(f"Open {server.address}\nStop with Ctrl-C; every answer is written when it is given.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo()


def _in_terminal(session: Annotation) -> None:
    shown = session.next()
    while shown is not None:
        _print(shown)
        try:
            key = click.prompt("1 A, 2 B, 0 equal, s skip, w what the model expects, q quit", prompt_suffix=": ")
        except (click.Abort, EOFError):
            click.echo()
            return
        key = key.strip().lower()
        if key == "q":
            return
        if key == "w":
            click.echo(shown.expected or "No reward model was asked.")
        elif key in KEYS:
            shown = session.answer(shown.number, KEYS[key])
        else:
            click.echo(f"{printable(key)!r} is none of 1, 2, 0, s, w and q", err=True)


def _print(shown: Shown) -> None:
    click.secho(f"\n{shown.number} of {shown.total}", bold=True)
    for title, text in (("Prompt", shown.question.prompt), ("A", shown.a), ("B", shown.b)):
        click.secho(title, fg="green")
        click.echo("\n".join(f"  {printable(line)}" for line in text.splitlines()))
    click.echo(f"Asked because: {printable(shown.question.asked_because)}")
