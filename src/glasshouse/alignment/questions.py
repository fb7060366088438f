"""Questions for people: which of two responses is better, and why this pair is asked about.

A file of questions is JSON Lines. A row has a `prompt` and

- `first` and `second`: the pair itself, with the `rule`, `seed` and `why` that chose it where they are known, as in a
  row of the ledger; or
- `responses`: two or more, of which a rule chooses the pair (`choose_pairs`), by the particles of a reward model.

A prompt is a text or messages `[{"role", "content"}]`; `prompt_id` may name it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import torch
from jaxtyping import Float
from torch import Tensor

from glasshouse.alignment.exploration import Rule
from glasshouse.language.chat import ChatError, Message, parse_messages
from glasshouse.store.configuration import named_seed

MAX_ROW_BYTES = 1 << 20
RULES = {
    "passive": "Drawn at random",
    "boltzmann": "Drawn with a preference for high rewards (Boltzmann)",
    "infomax": "The pair that the particles of the reward model disagree about most (infomax)",
    "double_ts": "Each is the best under some particle of the reward model (double Thompson sampling)",
    "bai_ts": "The best under one particle, and the least certain beside it (BAI-TS)",
    "given": "Given as a pair",
}
Judge = Callable[[Sequence[Sequence[Message]]], Float[Tensor, "particles conversations"]]
"""Rewards of the last answer of conversations, as `LoadedRewardModel.rewards` gives them."""


class QuestionError(ValueError):
    """A file of questions that cannot be asked; the message names the line."""


@dataclasses.dataclass(frozen=True)
class Question:
    """A pair of responses to one prompt; `why` are the numbers behind the rule's choice."""

    prompt_id: str
    prompt: str
    first: str
    second: str
    rule: str = "given"
    seed: int = 0
    why: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def asked_because(self) -> str:
        """Why this pair, in words that do not say which one the reward model would prefer."""
        found = RULES.get(self.rule, self.rule)
        if (spread := self.why.get("variance", 0.0)) > 0:
            found += f"; the particles' chances for the one over the other spread by {100 * math.sqrt(spread):.0f} %"
        return found + "."


@dataclasses.dataclass(frozen=True)
class Responses:
    """Several responses to one prompt, of which no pair was chosen yet."""

    prompt_id: str
    prompt: str
    messages: tuple[Message, ...]
    responses: tuple[str, ...]


def read_questions(path: str | Path) -> list[Question | Responses]:
    """The rows of a file. Raises `QuestionError` naming the first line that cannot be asked, `OSError` without file."""
    found: list[Question | Responses] = []
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                if len(line) > MAX_ROW_BYTES:
                    raise QuestionError(f"the row has {len(line)} bytes, the limit is {MAX_ROW_BYTES}")
                found.append(_of_row(orjson.loads(line)))
            except (orjson.JSONDecodeError, QuestionError, ChatError) as error:
                raise QuestionError(f"{path}, line {number}: {error}") from None
    if not found:
        raise QuestionError(f"{path} holds no question")
    if len({item.prompt_id for item in found}) < len(found):
        raise QuestionError(f"{path}: two rows have the same prompt_id; each question needs one of its own")
    return found


def choose_pairs(
    rows: Sequence[Question | Responses], rule: Rule, *, judge: Judge | None = None, seed: int = 0
) -> list[Question]:
    """Questions with their pairs chosen; those that are pairs already stay as they are.

    Raises `QuestionError` when the rule needs rewards and there is nothing that gives them.
    """
    return [row if isinstance(row, Question) else _choose(row, rule, judge, seed) for row in rows]


def _choose(row: Responses, rule: Rule, judge: Judge | None, seed: int) -> Question:
    if judge is None and rule.name != "passive":
        raise QuestionError(
            f"the rule {rule.name} chooses by rewards: give a reward model, or take the rule passive, which needs none"
        )
    rewards = torch.zeros(1, len(row.responses))
    if judge is not None:
        rewards = judge([(*row.messages, Message("assistant", text)) for text in row.responses]).float()
    generator = torch.Generator().manual_seed(named_seed(seed, "rule", row.prompt_id))
    choice = rule.choose(rewards[:, None], generator)
    why = {} if judge is None else {name: float(f"{float(value):.6g}") for name, value in choice.why.items()}
    first, second = (row.responses[int(place)] for place in (choice.first, choice.second))
    return Question(row.prompt_id, row.prompt, first, second, rule.name, seed, why)


def _of_row(row: Any) -> Question | Responses:
    if not isinstance(row, Mapping):
        raise QuestionError(f"a row is a JSON object, got a {type(row).__name__}")
    prompt = row.get("prompt")
    messages = (Message("user", prompt),) if isinstance(prompt, str) else parse_messages(prompt)
    text = prompt if isinstance(prompt, str) else "\n\n".join(f"{role}: {content}" for role, content in messages)
    if not text.strip():
        raise QuestionError("the prompt is empty")
    several = row.get("responses")
    pair: Any = [row.get("first"), row.get("second")] if several is None else several
    if not isinstance(pair, list) or len(pair) < 2 or not all(isinstance(item, str) for item in pair):
        raise QuestionError("a row needs first and second, or two or more responses, all of them texts")
    if len(set(pair)) < len(pair):
        raise QuestionError("two of the responses are the same, so nobody can prefer one")
    name = row.get("prompt_id") or _digest([text, *pair])
    if not isinstance(name, str):
        raise QuestionError(f"prompt_id is a text, got {name!r}")
    if several is not None:
        return Responses(name, text, messages, tuple(pair))
    rule, seed, why = row.get("rule", "given"), row.get("seed", 0), row.get("why", {})
    if not isinstance(rule, str) or not isinstance(seed, int) or not _is_why(why):
        raise QuestionError("rule is a text, seed a whole number, and why an object of finite numbers")
    return Question(name, text, pair[0], pair[1], rule, seed, why)


def _is_why(found: Any) -> bool:
    return isinstance(found, Mapping) and all(
        isinstance(value, int | float) and math.isfinite(value) for value in found.values()
    )


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256(orjson.dumps(texts)).hexdigest()[:16]
