"""A trained parser as an engine: a sentence goes in, a program of the grammar comes out.

The grammar is enforced while the program is written. Beside it, terminals may be copied: such a name can only be a word
of the sentence, without an ending and with a capital. That is what lets a small model handle words it has never seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from glasshouse.language.generation import Sampling
from glasshouse.language.model import LanguageModel, LoadedModel
from glasshouse.store.configuration import ConfigurationError
from glasshouse.symbolic.call import Call, Constraint, Message, Reply
from glasshouse.symbolic.engines.local import LocalEngine
from glasshouse.symbolic.errors import BadRequestError
from glasshouse.symbolic.parser_training import ASKED

LONGEST = 96
"""Tokens of a program at most."""


class Parser:
    """Answers `parse` calls with a program.

    Args:
        model: reads and writes; see `parser_training`.
        grammar: Lark; what may be written. None: anything, which is what a control is for.
        copies: terminals of the grammar whose text must be a word of the sentence -> endings that the word may lose.
        sampling: how tokens are drawn; the most likely one by default.
    """

    kinds = frozenset({"parse"})

    def __init__(
        self,
        model: LanguageModel | LoadedModel,
        grammar: str | None,
        copies: Mapping[str, Sequence[str]] | None = None,
        sampling: Sampling | None = None,
        *,
        device: str = "cpu",
        name: str = "parser",
    ) -> None:
        self.name, self._grammar, self._copies = name, grammar, dict(copies or {})
        for terminal in self._copies:
            if grammar is not None and not _definition(terminal).search(grammar):
                raise ConfigurationError(f"the grammar defines no terminal {terminal!r} to be copied")
        self._engine = LocalEngine(model, sampling or Sampling(tokens=LONGEST), device=device, name=name)

    def run(self, call: Call) -> Reply:
        """The program of the call's one input. Raises what `LocalEngine` does, `BadRequestError` for no text."""
        sentence = call.inputs[0] if len(call.inputs) == 1 else None
        if not isinstance(sentence, str) or not sentence.strip():
            raise BadRequestError(f"parse takes one sentence, got {call.inputs!r:.100}")
        sentence = " ".join(sentence.split())
        grammar = self.grammar_for(sentence)
        return self._engine.run(
            call.but(
                kind="text",
                messages=(Message("user", sentence + ASKED),),
                constraint=None if grammar is None else Constraint("lark", grammar),
            )
        )

    def grammar_for(self, sentence: str) -> str | None:
        """The grammar with its copied terminals bound to the words of a sentence."""
        grammar = self._grammar
        if grammar is None:
            return None
        for terminal, endings in self._copies.items():
            definition = _definition(terminal).search(grammar)
            assert definition is not None  # noqa: S101 (checked when it was made)
            words = [word for word in copied(sentence, endings) if _matches(definition[1], word)]
            if not words:
                raise BadRequestError(f"{sentence!r:.100} has no word that can be a {terminal}")
            alternatives = " | ".join(f'"{word}"' for word in words)
            grammar = f"{grammar[: definition.start()]}{terminal}: {alternatives}{grammar[definition.end() :]}"
        return grammar


def copied(sentence: str, endings: Sequence[str]) -> list[str]:
    """The words of a sentence with a capital, as they stand and without each ending, each once."""
    words = re.findall(r"[^\W\d_]+", sentence)
    shortened = [word[: len(word) - len(end)] for word in words for end in ("", *endings) if word.endswith(end)]
    return list(dict.fromkeys(word[:1].upper() + word[1:] for word in shortened if word))


def _definition(terminal: str) -> re.Pattern[str]:
    return re.compile(rf"(?m)^{re.escape(terminal)}[ \t]*:[ \t]*(.*(?:\n[ \t]*\|.*)*)$")


def _matches(definition: str, word: str) -> bool:
    """Whether a word is of the terminal as the grammar defines it; a definition that is no plain pattern takes all."""
    pattern = re.fullmatch(r"/(.*)/\s*", definition)
    return pattern is None or re.fullmatch(pattern[1], word) is not None
