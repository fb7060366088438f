"""Commands on language models: generate, chat, trace."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import click

from glasshouse.cli.options import READS, open_store


def open_model(location: str, reference: str) -> Any:
    """The language model a reference means: itself, or the one an evaluation or a recipe's run measured."""
    from glasshouse.language.model import model_of

    return model_of(open_store(location), reference)


def sampling_options(command: Any) -> Any:
    """The options that say how the next token is chosen."""
    for option in (
        click.option("--tokens", default=128, show_default=True, help="Most new tokens."),
        click.option("--temperature", default=0.7, show_default=True, help="0 always takes the most likely token."),
        click.option("--top-k", type=int, help="Draw among the k most likely tokens."),
        click.option("--top-p", type=float, help="Draw among the fewest tokens that hold this share of probability."),
        click.option("--seed", default=0, show_default=True, help="The same seed writes the same text."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("model")
@click.argument("prompt")
@sampling_options
@READS
def generate(model: str, prompt: str, location: str, **sampling: Any) -> None:
    """Continue PROMPT with a trained MODEL (an id, a pin, or a recipe such as `quickstart`), piece by piece."""
    from glasshouse.language.generation import Sampling

    loaded = open_model(location, model).load()
    pieces = loaded.stream_text(prompt, Sampling(**sampling))
    first = next(pieces, "")  # what is wrong with the prompt is told before anything is written
    click.echo(prompt + first, nl=False)
    for piece in pieces:
        click.echo(piece, nl=False)
    click.echo()


@click.command()
@click.argument("model")
@click.option("--system", help="A system message, for a model with a chat form.")
@sampling_options
@READS
def chat(model: str, system: str | None, location: str, **sampling: Any) -> None:
    """Write with a MODEL in turns.

    A model that was fine-tuned on conversations answers what you type, in its chat form; when the conversation grows
    too long its oldest turns are forgotten. A base model has learnt to continue documents, not to answer: what you type
    is added to the text, and the model continues it. Start it off the way a document would; an empty line lets it go
    on. `/new` begins anew, `/quit` or end-of-file leaves.
    """
    from glasshouse.language.chat import ChatError
    from glasshouse.language.generation import GenerationError, Sampling

    loaded = open_model(location, model).load()
    if system is not None and loaded.chat is None:
        raise ChatError(f"{model} has no chat form, so it takes no system message: fine-tune it on conversations")
    form = "answers in its chat form" if loaded.chat else "continues the text"
    click.echo(f"context {loaded.context} tokens; the model {form}; /new begins anew, /quit leaves")
    write = _answering(loaded, system) if loaded.chat else _continuing(loaded)
    settings = Sampling(**sampling)
    turn = 0
    while True:
        try:
            line = click.prompt(">", default="", show_default=False, prompt_suffix=" ")
        except (click.Abort, EOFError):
            click.echo()
            return
        if line == "/quit":
            return
        if line == "/new":
            write = _answering(loaded, system) if loaded.chat else _continuing(loaded)
            continue
        try:
            for piece in write(line, settings.but(seed=settings.seed + turn)):
                click.echo(piece, nl=False)
        except GenerationError as error:  # what was typed does not fit: the conversation goes on without it
            click.echo(str(error), err=True, nl=False)
        click.echo()
        turn += 1


def _continuing(loaded: Any) -> Callable[[str, Any], Iterator[str]]:
    """What is typed is added to one text, which the model continues."""
    text = ""

    def write(line: str, settings: Any) -> Iterator[str]:
        nonlocal text
        text = loaded.tail(text + line, room=settings.tokens)
        for piece in loaded.stream_text(text, settings):
            text += piece
            yield piece

    return write


def _answering(loaded: Any, system: str | None) -> Callable[[str, Any], Iterator[str]]:
    """What is typed is a user's turn of one conversation."""
    from glasshouse.language.chat import Message

    messages = [Message("system", system)] if system is not None else []

    def write(line: str, settings: Any) -> Iterator[str]:
        asked = loaded.recent([*messages, Message("user", line)], room=settings.tokens)
        pieces = []
        for piece in loaded.stream_answer(asked, settings):
            pieces.append(piece)
            yield piece
        messages[:] = [*asked, Message("assistant", "".join(pieces))]

    return write


@click.group()
def trace() -> None:
    """Follow a training run to its documents, and a document to the steps that saw it.

    Answers are computed from what the model and its shards record: no index of the run is kept.
    """


@trace.command("step")
@click.argument("model")
@click.argument("number", type=int)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@READS
def trace_step(model: str, number: int, as_json: bool, location: str) -> None:
    """Print the documents MODEL saw at update NUMBER: id, source file and byte range."""
    print_sightings(traced(location, model).at_step(number), as_json)


@trace.command("document")
@click.argument("model")
@click.argument("document")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@READS
def trace_document(model: str, document: str, as_json: bool, location: str) -> None:
    """Print every update at which MODEL saw a part of DOCUMENT (an id as `trace step` prints it)."""
    print_sightings(traced(location, model).of_document(document), as_json)


def traced(location: str, model: str) -> Any:
    """The trace of a model."""
    from glasshouse.language.trace import trace_of

    return trace_of(open_model(location, model), open_store(location))


def print_sightings(sightings: list[Any], as_json: bool) -> None:
    """Sightings, a line each."""
    from dataclasses import asdict

    if not as_json:
        click.echo(f"{'step':>6} {'epoch':>5} {'rank':>4} {'row':>7} {'tokens':>9}  document, file and its bytes")
    for item in sightings:
        if as_json:
            click.echo(json.dumps(asdict(item), ensure_ascii=False))
            continue
        tokens = f"{item.tokens[0]}-{item.tokens[1]}"
        place = f"{item.file} [{item.bytes[0]}-{item.bytes[1]}]"
        click.echo(f"{item.step:>6} {item.epoch:>5} {item.rank:>4} {item.row:>7} {tokens:>9}  {item.document}, {place}")
