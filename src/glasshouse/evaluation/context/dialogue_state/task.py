"""Dialogue state tracking by updates in JSON (arXiv 2402.00858, section 3.1.2, after Heck et al. 2023).

A turn at a time the model reads the previous state, what the system and the user said, and the slots of the dialogue's
domains, and writes what changes. The state is the previous one overwritten. `previous="predicted"` goes on with the
model's own state, so that an error stays; `"gold"` gives it the right one before every turn, so that "nothing changes"
is right wherever nothing does. The paper does not say which it takes; its models of 350M to 13B parameters are at 26.6
to 32.3 of joint goal accuracy, which is what saying nothing comes to with the gold state. So that baseline is printed.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

from glasshouse.evaluation.context.dialogue_state.accuracy import exactly, nearly, normal_value
from glasshouse.evaluation.context.dialogue_state.dialogues import (
    Dialogue,
    Slot,
    State,
    Turn,
    apply_update,
    gold_update,
    states_before,
    written,
)
from glasshouse.evaluation.context.dialogue_state.updates import read_update, write_update
from glasshouse.evaluation.context.examples import Examples
from glasshouse.evaluation.context.prompts import Prompt, load_prompt
from glasshouse.evaluation.context.sources import hash_items, hash_settings
from glasshouse.evaluation.records import Metric, Record, mean_of
from glasshouse.evaluation.requests import Answer, Generate, Request, Written
from glasshouse.evaluation.running import Rounds

Previous = Literal["predicted", "gold"]


class Step(NamedTuple):
    """A turn of a dialogue."""

    dialogue: Dialogue
    number: int

    @property
    def turn(self) -> Turn:
        """The turn."""
        return self.dialogue.turns[self.number]

    @property
    def before(self) -> dict[str, str]:
        """The gold state before it."""
        return written(states_before(self.dialogue.turns)[self.number])

    @property
    def update(self) -> dict[str, str]:
        """What is to be written: what changes, and `?` for what is asked."""
        change = gold_update(states_before(self.dialogue.turns)[self.number], self.turn)
        return change | {slot: "?" for slot in self.turn.requested if slot not in change}


@dataclasses.dataclass(frozen=True)
class DialogueState:
    """The task.

    Attributes:
        dialogues: to be answered.
        pool: dialogues that examples are taken from, the dialogues themselves when empty; those of the same domains
            come first.
        shots: examples before a turn; the paper takes five.
        tokens: most that are written for an update.
    """

    name: str
    dialogues: tuple[Dialogue, ...]
    pool: tuple[Dialogue, ...] = ()
    shots: int = 5
    previous: Previous = "predicted"
    seed: int = 0
    prompt: str = "dialogue_state"
    tokens: int = 128

    @cached_property
    def wording(self) -> Prompt:
        """The prompt."""
        return load_prompt(self.prompt)

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """Of dialogues, prompt and settings."""
        data = hash_items(self.dialogues, self.pool)
        return {"data": data, "prompts": self.wording.sha256, "settings": hash_settings(self, "dialogues", "pool")}

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Joint goal accuracy exact and fuzzy, right updates, and the share of answers that are no JSON object."""
        accuracies = {name: mean_of(name) for name in ("joint", "joint_fuzzy", "update")}
        return accuracies | {"invalid": mean_of("invalid", best=None)}

    def fields(self, step: Step, state: State) -> dict[str, str]:
        """What the prompt shows of a turn."""
        schema = step.dialogue.schema
        return {
            "slots": json.dumps({slot.name: slot.description for slot in schema}, ensure_ascii=False),
            "categorical": json.dumps({s.name: list(s.values) for s in schema if s.values}, ensure_ascii=False),
            "state": write_update(state),
            "system": json.dumps(step.turn.system, ensure_ascii=False),
            "user": json.dumps(step.turn.user, ensure_ascii=False),
            "system_text": step.turn.system,
            "user_text": step.turn.user,
        }

    def question(self, step: Step, state: State) -> str:
        """The whole prompt of a turn."""
        before = [(self.fields(one, one.before), write_update(one.update)) for one in self._shots(step)]
        return self.wording.write(self.fields(step, state), before)

    def rounds(self) -> Rounds:
        """A round for each turn, over all dialogues that have as many; a record to a turn."""
        states: dict[str, dict[str, str]] = {dialogue.id: {} for dialogue in self.dialogues}
        records: list[Record] = []
        for number in range(max((len(dialogue.turns) for dialogue in self.dialogues), default=0)):
            steps = [Step(dialogue, number) for dialogue in self.dialogues if number < len(dialogue.turns)]
            given = [step.before if self.previous == "gold" else states[step.dialogue.id] for step in steps]
            requests: list[Request] = [
                Generate(self.question(step, state), self.wording.stop, self.tokens)
                for step, state in zip(steps, given, strict=True)
            ]
            answers = yield requests
            for step, state, request, answer in zip(steps, given, requests, answers, strict=True):
                text = answer.text if isinstance(answer, Written) else ""
                record = _record(step, state, text, ((request, answer),))
                states[step.dialogue.id] = dict(record.response)
                records.append(record)
        return records

    def baselines(self, records: Sequence[Record]) -> Mapping[str, Sequence[Record]]:
        """Updates that are always empty, and ones of every value of a fixed set that the user says word for word."""
        nothing: dict[str, str] = {}
        return {
            "no update": self._without_model(records, lambda step: nothing),
            "values named": self._without_model(
                records, lambda step: named_values(step.turn.user, step.dialogue.schema)
            ),
        }

    def example(self, dialogue: Dialogue, number: int) -> str:
        """A turn of a dialogue with its update, to learn from."""
        step = Step(dialogue, number % len(dialogue.turns))
        answer = self.wording.written(write_update(step.update))
        return f"{self.wording.write(self.fields(step, step.before))}{answer}\n\n"

    @cached_property
    def _pool_steps(self) -> list[Step]:
        return [Step(dialogue, n) for dialogue in self.pool or self.dialogues for n in range(len(dialogue.turns))]

    @cached_property
    def _examples(self) -> Examples[Step]:
        return Examples(self._pool_steps, lambda step: step.dialogue.id, self.seed, "dialogue_state")

    def _shots(self, step: Step) -> list[Step]:
        if not self.shots:
            return []
        domains = {slot.domain for slot in step.dialogue.schema}
        return self._examples.before(
            step.dialogue.id,
            self.shots,
            lambda one: {slot.domain for slot in one.dialogue.schema} <= domains,
            fill=True,
        )

    def _without_model(self, records: Sequence[Record], update: Callable[[Step], Mapping[str, str]]) -> list[Record]:
        dialogues = {dialogue.id: dialogue for dialogue in self.dialogues}
        states: dict[str, Mapping[str, str]] = {}
        found = []
        for record in records:
            step = Step(dialogues[record.group], int(record.extras["turn"]))
            state = step.before if self.previous == "gold" else states.get(record.group, {})
            found.append(_scored(record.but(asked=()), step, state, update(step)))
            states[record.group] = found[-1].response
        return found


def named_values(text: str, schema: Sequence[Slot]) -> dict[str, str]:
    """The value of every categorical slot that stands in a text; of several the longest."""
    said = f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} "
    found = {}
    for slot in schema:
        named = [value for value in slot.values if f" {normal_value(value)} " in said]
        if named:
            found[slot.name] = max(named, key=len)
    return found


def _record(step: Step, state: Mapping[str, str], text: str, asked: tuple[tuple[Request, Answer], ...]) -> Record:
    name = f"{step.dialogue.id}/{step.number}"
    prompt = asked[0][0].prompt if isinstance(asked[0][0], Generate) else ""
    record = Record(name, prompt, written(step.turn.state), {}, group=step.dialogue.id, asked=asked)
    record = record.but(extras={"turn": step.number, "gold_update": step.update, "written": text})
    return _scored(record, step, state, read_update(text))


def _scored(record: Record, step: Step, state: Mapping[str, str], update: Mapping[str, str] | None) -> Record:
    """A record with the state after an update; `None` changes nothing."""
    after = apply_update(state, update or {})
    before = states_before(step.dialogue.turns)[step.number]
    right = exactly(apply_update(written(before), update or {}), step.turn.state)
    scores = {
        "joint": float(exactly(after, step.turn.state)),
        "joint_fuzzy": float(nearly(after, step.turn.state)),
        "update": float(right and update is not None),
        "invalid": float(update is None),
    }
    return record.but(response=after, scores=scores)
