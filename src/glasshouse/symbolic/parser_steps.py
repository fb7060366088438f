"""Steps of a parser: pairs, the model trained on them, problems, and how many of these are solved."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from collections.abc import Sequence
from typing import Any, Literal

from glasshouse.data.sources.reading import fingerprint_files
from glasshouse.data.tokens.tokenizer import save_tokenizer
from glasshouse.language.model import LoadedModel
from glasshouse.language.steps import write_record
from glasshouse.nn.huggingface import save_huggingface
from glasshouse.store.step import Run, step
from glasshouse.symbolic.learnt_forms import with_forms
from glasshouse.symbolic.paraphrases import Pair, Templates
from glasshouse.symbolic.parser_artifacts import (
    PAIRS,
    PROBLEMS,
    SETTINGS,
    SOLVED,
    TEMPLATES,
    ParsingPairs,
    Problems,
    SolvedProblems,
    TrainedParser,
    missed,
    solved_values,
    write_rows,
)
from glasshouse.symbolic.parser_training import ParserTraining, parser_tokenizer, training_pairs, untrained_parser
from glasshouse.symbolic.parser_training import train_parser as train_on_pairs
from glasshouse.symbolic.parsing import Parser
from glasshouse.symbolic.rule_problems import Problem, generated_problems, read_problems
from glasshouse.symbolic.self_training import Round, SelfTraining, self_train
from glasshouse.symbolic.solved_problems import solve
from glasshouse.training.trainer import TrainingResult

Control = Literal["", "without the grammar", "without copying", "untrained"]


@step()
def parsing_pairs(
    run: Run,
    templates: Templates,
    styles: Sequence[str] = ("plain",),
    count: int = 40_000,
    invented: int = 1000,
    without: Problems | None = None,
    seed: int = 0,
) -> ParsingPairs:
    """Sentences with their programs, drawn from templates, none of them a sentence of the problems in `without`.

    See `parser_training.training_pairs`.
    """
    templates.check()
    asked = {text for one in without.problems for text in (*one.sentences, one.statement)} if without else ()
    pairs = training_pairs(templates, styles, count, invented=invented, without=asked, seed=seed)
    write_rows(run.output / PAIRS, (_document(pair, templates, f"{seed}/{n}") for n, pair in enumerate(pairs)))
    (run.output / TEMPLATES).write_text(templates.model_dump_json(indent=1) + "\n", encoding="utf-8")
    run.measure(pairs=len(pairs))
    return ParsingPairs(run.output)


@step()
def train_parser(run: Run, pairs: ParsingPairs, settings: ParserTraining) -> TrainedParser:
    """Train a parser from nothing. A killed run goes on from its last checkpoint."""
    model = untrained_parser(parser_tokenizer(pairs.pairs, settings.vocabulary), settings)
    with run.bar("training a parser", settings.steps) as bar:
        result = train_on_pairs(model, pairs.pairs, settings, run.scratch / "run", progress=bar)
    return _write_parser(run, model, pairs.templates, settings, result, result.cpu_seconds)


@step()
def teach_itself(
    run: Run, parser: TrainedParser, pairs: ParsingPairs, problems: Problems, settings: SelfTraining
) -> TrainedParser:
    """Go on training a parser on what it can prove of problems with known answers; their programs are not looked at."""
    model, chosen = parser.load(), parser.settings
    hidden = [dataclasses.replace(problem, programs=()) for problem in problems.problems]
    known = random.Random(chosen.seed).sample(pairs.pairs, min(settings.pairs, len(pairs.pairs)))  # noqa: S311
    shown = _plain(parser.templates, {pair.style for pair in known})
    with run.bar("reading problems", settings.rounds * len(hidden)) as bar:
        rounds = self_train(model, known, shown, hidden, chosen, settings, run.scratch / "rounds", advance=bar.advance)
    last = run.scratch / "rounds" / f"round-{len(rounds) - 1}"
    shutil.copytree(last, run.scratch / "run", dirs_exist_ok=True)
    learnt = with_forms(shown, rounds[-1].forms)
    cpu = sum(one.result.cpu_seconds for one in rounds)
    return _write_parser(run, model, learnt, chosen, rounds[-1].result, cpu, rounds=[_told(one) for one in rounds])


@step()
def make_problems(
    run: Run,
    templates: Templates,
    count: int,
    styles: Sequence[str] = ("plain",),
    deepest: int = 5,
    around: int = 1,
    seed: int = 0,
) -> Problems:
    """Generated problems (see `rule_problems`)."""
    found = generated_problems(templates, count, styles, deepest=deepest, around=around, seed=seed)
    return _write_problems(run, found)


def _fingerprint(path: str, **_: Any) -> list[list[str | int]]:
    return [list(entry) for entry in fingerprint_files([path])]


@step(observe=_fingerprint)
def given_problems(run: Run, path: str, skip: int = 0) -> Problems:
    """Problems of a file in the form of Logic-LM's ProntoQA, without the first `skip`, which templates may be from."""
    return _write_problems(run, read_problems(path)[skip:])


@step()
def solve_problems(run: Run, parser: TrainedParser, problems: Problems, control: Control = "") -> SolvedProblems:
    """Have a parser read problems and a solver answer them; or a control that should do worse."""
    asked = problems.problems
    with run.bar("solving problems", len(asked)) as bar:
        solved = solve(asked, _engine(parser, control), advance=bar.advance)
    found = {"how": control, "values": solved_values(solved), "missed": missed(solved)}
    (run.output / SOLVED).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return SolvedProblems(run.output)


def _engine(parser: TrainedParser, control: Control) -> Parser:
    grammar, copies = parser.templates.grammar, parser.templates.copies
    if control == "untrained":
        return Parser(untrained_parser(parser.load().tokenizer, parser.settings), grammar, copies)
    if control == "without the grammar":
        return Parser(parser, None)
    return Parser(parser, grammar, {} if control == "without copying" else copies)


def _write_parser(
    run: Run,
    model: LoadedModel,
    templates: Templates,
    settings: ParserTraining,
    result: TrainingResult,
    cpu_seconds: float,
    **about: Any,
) -> TrainedParser:
    save_tokenizer(model.tokenizer, run.scratch / "tokenizer")
    files = [run.scratch / "tokenizer" / name for name in ("tokenizer.json", "tokenizer_config.json")]
    end = model.end_of_sequence
    save_huggingface(model.transformer.cpu(), run.output, end=end, begin=end, tokenizer_files=files)
    (run.output / TEMPLATES).write_text(templates.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (run.output / SETTINGS).write_text(settings.model_dump_json(indent=1) + "\n", encoding="utf-8")
    run.measure(seconds=round(result.seconds, 3), cpu_seconds=round(cpu_seconds, 3), resumed_from=result.resumed_from)
    shape = model.transformer.config
    about |= {"stage": "parser", "end_of_sequence": end, "context": model.context}
    write_record(run, result, tokens=int(result.units), parameters=shape.parameters, about=about)
    return TrainedParser(run.output)


def _told(one: Round) -> dict[str, Any]:
    forms = [{**form._asdict(), "problems": count} for form, count in one.forms.items()]
    return {"proved": one.proved, "forms": forms}


def _plain(templates: Templates, styles: set[str]) -> Templates:
    """The templates without the styles that the parser was not trained on."""
    known = [
        one.but(texts={style: texts for style, texts in one.texts.items() if style in styles})
        for one in templates.meanings
    ]
    found: Templates = templates.but(meanings=tuple(known))
    return found


def _document(pair: Pair, templates: Templates, number: str) -> dict[str, Any]:
    """A pair as a document: its sentence is the text."""
    more = pair._asdict()
    text = more.pop("text")
    return {"id": f"{templates.name}/{number}", "source": templates.name, "text": text, "metadata": more}


def _write_problems(run: Run, problems: Sequence[Problem]) -> Problems:
    write_rows(run.output / PROBLEMS, map(dataclasses.asdict, problems))
    run.measure(problems=len(problems))
    return Problems(run.output)
