"""Steps: functions from a configuration and input artifacts to one output artifact.

Calling a step does not run it: the call becomes a `Node` of a graph, which `execute` runs.

    @step()
    def tokenize(run: Run, corpus: Corpus, tokenizer: Tokenizer, holdout: float = 0.02) -> Shards:
        write_shards(corpus.texts(), tokenizer.load(), run.output, holdout)
        return Shards(run.output)

    shards = tokenize(corpus, tokenizer, holdout=0.05)      # a Node that stands for the Shards to come
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from glasshouse.store.artifact import Artifact
from glasshouse.store.configuration import Config, canonical
from glasshouse.store.files import StoreError
from glasshouse.store.progress import Bar, Reporter

P = ParamSpec("P")
A = TypeVar("A", bound=Artifact)


@dataclasses.dataclass
class Run:
    """What a running step may use.

    Attributes:
        output: empty directory to write the artifact into. Files under `output/record` are kept but do not count as
            content: put there what may differ from run to run (timings, logs).
        scratch: directory that survives a kill and is given back when the same step starts again (checkpoints).
        measurements: numbers for the manifest (not part of the content).
    """

    output: Path
    scratch: Path
    reporter: Reporter
    measurements: dict[str, Any] = dataclasses.field(default_factory=dict)

    def bar(self, description: str, total: float | None = None) -> Bar:
        """A progress bar with the time left; use it for anything over two seconds."""
        return self.reporter.bar(description, total)

    def measure(self, **numbers: Any) -> None:
        """Record numbers in the manifest."""
        self.measurements |= numbers


@dataclasses.dataclass(frozen=True)
class StepDefinition:
    """A step as declared: its function, version and what it produces."""

    function: Callable[..., Artifact]
    name: str
    version: int
    produces: type[Artifact]
    observe: Callable[..., Any] | None
    together: bool = False

    @property
    def signature(self) -> inspect.Signature:
        """The parameters a caller gives (without the leading `run`)."""
        whole = inspect.signature(self.function)
        return whole.replace(parameters=list(whole.parameters.values())[1:])

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


class Node:
    """A step waiting to be run, standing in for the artifact it will make.

    `node.name` (no leading underscore) stands for that attribute of the artifact: `shards.holdout`.
    """

    def __init__(self, definition: StepDefinition, arguments: Mapping[str, Any]) -> None:
        self._definition = definition
        self._arguments = dict(arguments)

    def __getattr__(self, name: str) -> Part:
        if name.startswith("_"):
            raise AttributeError(name)
        if not hasattr(self._definition.produces, name):
            kind = self._definition.produces.__name__
            raise AttributeError(f"the {kind} made by step {self._definition.name!r} has no attribute {name!r}")
        return Part(self, name)

    def __repr__(self) -> str:
        return f"<{self._definition.produces.__name__} to be made by {self._definition.name}>"


@dataclasses.dataclass(frozen=True)
class Part:
    """An attribute of an artifact that is still to be made."""

    node: Node
    name: str


@dataclasses.dataclass(frozen=True)
class Reference:
    """An input found among a step's arguments: where it stands, what it is, and which part of it is used."""

    role: str
    source: Node | Artifact
    part: str | None


STEPS: dict[str, StepDefinition] = {}


def step(
    *,
    name: str | None = None,
    version: int = 1,
    observe: Callable[..., Any] | None = None,
    together: bool = False,
) -> Callable[[Callable[Concatenate[Run, P], A]], Callable[P, A]]:
    """Declare a step: a function that takes a `Run`, then input artifacts and configuration values, writes into
    `run.output` and returns a handle on it. Its return annotation is the artifact's type.

    Args:
        name: how the step is called in manifests; the function's name by default.
        version: raise it when the step's meaning changes in a way its code does not show.
        observe: for steps that read the outside world: called with the same arguments when the graph runs, returns a
            JSON value that says what is there; a different value is a different step to run.
        together: when several processes run the graph, all of them call this step, with one `run.scratch`; what the
            first writes into its `run.output` counts. Of other steps they only see the artifact.
    """

    def declare(function: Callable[Concatenate[Run, P], A]) -> Callable[P, A]:
        produces = typing.get_type_hints(function).get("return")
        if not (isinstance(produces, type) and issubclass(produces, Artifact)):
            raise TypeError(f"step {function.__qualname__} must say which Artifact it returns, got {produces!r}")
        definition = StepDefinition(function, name or function.__name__, version, produces, observe, together)
        STEPS[definition.name] = definition

        def call(*arguments: P.args, **named: P.kwargs) -> A:
            try:
                bound = definition.signature.bind(*arguments, **named)
            except TypeError as error:
                raise TypeError(f"step {definition.name}: {error}; it takes {definition.signature}") from None
            bound.apply_defaults()
            return cast(A, Node(definition, bound.arguments))

        call.__name__, call.__doc__ = function.__name__, function.__doc__
        call.__module__, call.__qualname__ = function.__module__, function.__qualname__
        call.definition = definition  # type: ignore[attr-defined]
        return call

    return declare


def describe(node: Node) -> tuple[dict[str, Any], list[Reference]]:
    """The configuration of a node as JSON data, with inputs replaced by placeholders, and those inputs."""
    references: list[Reference] = []
    try:
        configuration = {name: _describe(value, name, references) for name, value in node._arguments.items()}
    except TypeError as error:
        raise TypeError(f"step {node._definition.name}: {error}") from None
    return configuration, references


def _describe(value: Any, role: str, references: list[Reference]) -> Any:
    if isinstance(value, Node | Artifact | Part):
        source, part = (value.node, value.name) if isinstance(value, Part) else (value, None)
        references.append(Reference(role, source, part))
        return {"__input__": role} | ({"part": part} if part else {})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        fields = {name: _describe(getattr(value, name), f"{role}.{name}", references) for name in names}
        return {"__type__": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(key): _describe(item, f"{role}.{key}", references) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_describe(item, f"{role}.{index}", references) for index, item in enumerate(value)]
    return canonical(value)


def resolve(value: Any, made: Mapping[int, Artifact]) -> Any:
    """The same arguments with every node replaced by the artifact it made (`made` is keyed by `id(node)`)."""
    if isinstance(value, Node):
        return made[id(value)]
    if isinstance(value, Part):
        return getattr(made[id(value.node)], value.name)
    if isinstance(value, Artifact):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: resolve(getattr(value, f.name), made) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **fields)
    if isinstance(value, Mapping):
        return {key: resolve(item, made) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(resolve(item, made) for item in value)
    return value


def code_given(value: Any) -> list[Callable[..., Any]]:
    """Functions and classes found among a step's arguments (a claim's check, a measure): their code counts too."""
    if inspect.isfunction(value):
        return [value]
    if isinstance(value, Config):
        return [type(value), *code_given([getattr(value, name) for name in type(value).model_fields])]
    if dataclasses.is_dataclass(value) and not isinstance(value, type | Part):
        return [type(value), *code_given([getattr(value, field.name) for field in dataclasses.fields(value)])]
    if isinstance(value, Mapping):
        return code_given(list(value.values()))
    if isinstance(value, list | tuple):
        return [found for item in value for found in code_given(item)]
    return []


def order(target: Node) -> list[Node]:
    """All nodes a target needs, each after its inputs, itself last."""
    done: dict[int, Node] = {}

    def visit(node: Node) -> None:
        if id(node) in done:
            return
        for reference in describe(node)[1]:
            if isinstance(reference.source, Node):
                visit(reference.source)
        done[id(node)] = node

    visit(target)
    return list(done.values())


def as_node(value: Any) -> Node:
    """`value` as a graph node; `StoreError` when it is something else, such as a finished artifact."""
    if not isinstance(value, Node):
        raise StoreError(f"expected what a step call returns, got {value!r}")
    return value
