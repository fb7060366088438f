"""Prompts as data: an instruction, the form of an item and of its answer, in a YAML file that anybody can change.

    instruction: What to do, once, before all examples. May hold fields that are the same for all of them.
    item: The form of one item, with fields such as {context}; it ends where the answer begins.
    answer: The form of the answer after it: " {answer}".
    separator: What stands between examples.
    stop: Texts that end an answer when it is written and not chosen.

Fields are replaced by name and nothing else is; a brace in a text stays a brace.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import yaml

_FIELD = re.compile(r"\{(\w+)\}")
_NAMES = {"instruction", "item", "answer", "separator", "stop"}


class PromptError(ValueError):
    """A prompt is not there, or asks for a field that its task does not have."""


@dataclasses.dataclass(frozen=True)
class Prompt:
    """How items are written; see the module for the parts."""

    name: str
    instruction: str
    item: str
    answer: str
    separator: str = "\n\n"
    stop: tuple[str, ...] = ("\n",)

    @property
    def sha256(self) -> str:
        """A hash of all parts."""
        return hashlib.sha256(json.dumps(dataclasses.astuple(self), ensure_ascii=False).encode()).hexdigest()

    def write(self, fields: Mapping[str, str], examples: Iterable[tuple[Mapping[str, str], str]] = ()) -> str:
        """The whole prompt of an item after examples (fields and answer each); the answer's place is its end.

        Raises `PromptError` naming a field that the prompt has and the task has not.
        """
        parts = [self._fill(self.instruction, fields)] if self.instruction else []
        parts += [self._fill(self.item, given) + self.written(answer) for given, answer in examples]
        return self.separator.join([*parts, self._fill(self.item, fields)])

    def written(self, answer: str) -> str:
        """An answer in its form, as it stands behind an item."""
        return self._fill(self.answer, {"answer": answer})

    def _fill(self, form: str, fields: Mapping[str, str]) -> str:
        def value(found: re.Match[str]) -> str:
            if found[1] not in fields:
                raise PromptError(
                    f"the prompt {self.name!r} has a field {found[0]} that this task does not fill; "
                    f"it has {', '.join('{' + name + '}' for name in sorted(fields))}"
                )
            return fields[found[1]]

        return _FIELD.sub(value, form)


def load_prompt(name: str | Path) -> Prompt:
    """A prompt that comes along, by name, or one of your own, by the path of its file.

    Raises `PromptError` when there is none, or it has not the parts of a prompt.
    """
    own = Path(name)
    if own.suffix not in (".yaml", ".yml"):
        return _packaged(str(name))
    if not own.is_file():
        raise PromptError(f"there is no prompt file {own}")
    return _read(str(name), own.read_text(encoding="utf-8"))


@cache
def _packaged(name: str) -> Prompt:
    file = files("glasshouse.evaluation.context") / "prompt_files" / f"{name}.yaml"
    if not file.is_file():
        raise PromptError(f"there is no prompt {name!r}; there are {', '.join(prompt_names())}, or give a .yaml file")
    return _read(name, file.read_text(encoding="utf-8"))


def _read(name: str, text: str) -> Prompt:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PromptError(f"the prompt {name!r} is not YAML: {error}") from error
    if not isinstance(found, dict) or not {"item", "answer"} <= set(found) <= _NAMES:
        raise PromptError(f"the prompt {name!r} needs item and answer and may have {', '.join(sorted(_NAMES))}")
    return Prompt(
        name,
        str(found.get("instruction", "")).rstrip("\n"),
        str(found["item"]).rstrip("\n"),
        str(found["answer"]).rstrip("\n"),
        str(found.get("separator", "\n\n")),
        tuple(found.get("stop", ("\n",))),
    )


def prompt_names() -> list[str]:
    """The prompts that come along."""
    home = files("glasshouse.evaluation.context") / "prompt_files"
    return sorted(item.name.removesuffix(".yaml") for item in home.iterdir() if item.name.endswith(".yaml"))
