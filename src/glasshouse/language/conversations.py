"""Conversations and preferences from the forms that others publish, with what is wrong put aside.

A row is one of

- `messages`: a conversation of `{"role", "content"}`; every answer is learnt;
- `prompt` and `completion` (TRL): texts or messages; only the completion is learnt;
- `prompt`, `chosen` and `rejected` (TRL): texts or messages, and the prompt may be left out where both sides are whole
  conversations; what they share is the prompt;
- `chosen` and `rejected` as two transcripts with `\\n\\nHuman: ` and `\\n\\nAssistant: ` (Anthropic, arXiv 2204.05862).

Deviation from TRL: plain texts are one user turn and one answer, and so get the chat form like everything else.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, Protocol, Self, TypeVar

import fsspec
import orjson

from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.inputs import InputShard, plan_inputs
from glasshouse.data.sources.lines import READERS, lines
from glasshouse.data.writing import disk_errors_named
from glasshouse.language.chat import ChatError, Message, holds_role_marker, parse_messages

MAX_ROW_BYTES = 8 << 20
_TURN = re.compile(r"\n\n(Human|Assistant):[ \n]?")
RoleMarkers = Literal["keep", "quarantine"]
R = TypeVar("R", bound="Record")


class RowError(ChatError):
    """A row that is not a conversation or a preference; `reason` is a short name to count by."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Record(Protocol):
    """What is read from rows and written back to them."""

    @classmethod
    def of_row(cls, row: Mapping[str, Any], name: str) -> Self: ...

    @property
    def messages(self) -> tuple[Message, ...]: ...

    def row(self) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True)
class Conversation:
    """Messages with at least one answer to learn; those before message `learn_from` are context.

    `about` is what else is known of it (the task, the right answer), for measures.
    """

    messages: tuple[Message, ...]
    learn_from: int = 0
    name: str = ""
    about: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """Everything before the last answer."""
        return self.messages[:-1]

    @classmethod
    def of_row(cls, row: Mapping[str, Any], name: str) -> Self:
        """Raises `RowError`."""
        if row.get("messages") is not None:
            messages, start = _messages(row["messages"]), row.get("learn_from") or 0
            if not isinstance(start, int):
                raise RowError("bad_messages", f"learn_from is the number of a message, got {start!r}")
        elif row.get("prompt") is not None and row.get("completion") is not None:
            prompt = _turns(row["prompt"], "user")
            messages, start = prompt + _turns(row["completion"], "assistant"), len(prompt)
        else:
            raise RowError("unknown_form", f"a row needs messages, or prompt and completion; it has {_keys(row)}")
        if not any(message.role == "assistant" for message in messages[start:]):
            raise RowError("no_answer", "there is no answer to learn from")
        return cls(messages, start, name, _about(row))

    def row(self) -> dict[str, Any]:
        """The row that `of_row` reads."""
        row: dict[str, Any] = {"messages": [message._asdict() for message in self.messages]}
        row |= {"learn_from": self.learn_from} if self.learn_from else {}
        return row | ({"about": dict(self.about)} if self.about else {})


@dataclasses.dataclass(frozen=True)
class Preference:
    """Two answers to one prompt, the better one first; `margin` says by how much, where that is known."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    name: str = ""
    about: Mapping[str, str] = dataclasses.field(default_factory=dict)
    margin: float | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        """The prompt with both answers after it, for checks of content."""
        return (*self.prompt, Message("assistant", self.chosen), Message("assistant", self.rejected))

    @classmethod
    def of_row(cls, row: Mapping[str, Any], name: str) -> Self:
        """Raises `RowError`."""
        chosen, rejected = row.get("chosen"), row.get("rejected")
        if chosen is None or rejected is None:
            raise RowError("unknown_form", f"a row needs chosen and rejected; it has {_keys(row)}")
        sides = [_side(row.get("prompt"), side) for side in (chosen, rejected)]
        prompts = [side[:-1] for side in sides]
        if prompts[0] != prompts[1]:
            raise RowError("different_prompts", "the two sides differ before their last answers")
        if any(not side or side[-1].role != "assistant" for side in sides):
            raise RowError("no_answer", "a side does not end with an answer")
        if not prompts[0]:
            raise RowError("no_prompt", "there is nothing that the answers answer to")
        if sides[0] == sides[1]:
            raise RowError("same_answers", "chosen and rejected are the same, so nothing is preferred")
        return cls(prompts[0], sides[0][-1].content, sides[1][-1].content, name, _about(row), _margin(row))

    def row(self) -> dict[str, Any]:
        """The row that `of_row` reads, in TRL's conversational form."""
        row: dict[str, Any] = {
            "prompt": [message._asdict() for message in self.prompt],
            "chosen": [{"role": "assistant", "content": self.chosen}],
            "rejected": [{"role": "assistant", "content": self.rejected}],
        }
        row |= {} if self.margin is None else {"margin": self.margin}
        return row | ({"about": dict(self.about)} if self.about else {})


def read_conversations(
    paths: str | Path | Iterable[str | Path], quarantine: Quarantine, *, role_markers: RoleMarkers = "keep"
) -> Iterator[Conversation]:
    """Conversations of JSON Lines (also compressed) and Parquet files; `rows_seen = rows_kept + rows_quarantined`.

    `role_markers` says what happens to content with a line that is a role marker: it is noted and kept, or put aside.
    """
    return _read(Conversation, paths, quarantine, role_markers)


def read_preferences(
    paths: str | Path | Iterable[str | Path], quarantine: Quarantine, *, role_markers: RoleMarkers = "keep"
) -> Iterator[Preference]:
    """Preferences, read as `read_conversations` does."""
    return _read(Preference, paths, quarantine, role_markers)


def write_rows(records: Iterable[Record], path: str | Path) -> int:
    """Write records as JSON Lines; returns how many."""
    count = 0
    with disk_errors_named(path), Path(path).open("wb") as file:
        for record in records:
            file.write(orjson.dumps(record.row()) + b"\n")
            count += 1
    return count


def _read(
    kind: type[R], paths: str | Path | Iterable[str | Path], quarantine: Quarantine, role_markers: RoleMarkers
) -> Iterator[R]:
    for shard in plan_inputs(paths):
        for number, row, text in _rows(shard, quarantine):
            try:
                if not isinstance(row, Mapping):
                    raise RowError("not_an_object", f"a row is a JSON object, got a {type(row).__name__}")
                found = kind.of_row(row, f"{shard.name}:{number}")
                if any(holds_role_marker(message.content) for message in found.messages):
                    if role_markers == "quarantine":
                        raise RowError("role_marker", "a line of the content is a role marker")
                    quarantine.note("role marker in content")
            except RowError as bad:
                quarantine.add(bad.reason, str(bad), file=shard.path, line=number, excerpt=text)
            else:
                quarantine.keep()
                yield found


def _rows(shard: InputShard, quarantine: Quarantine) -> Iterator[tuple[int, Any, bytes]]:
    """Number from 1, row and an excerpt of every row that can be read at all."""
    if shard.form not in ("jsonl", "parquet"):
        raise ChatError(f"{shard.path} is {shard.form}: conversations are read from JSON Lines and Parquet")
    try:
        with fsspec.open(shard.path, "rb") as raw:
            yield from (_parquet if shard.form == "parquet" else _json_lines)(shard, raw, quarantine)
    except (OSError, ValueError) as error:
        quarantine.saw()
        quarantine.add("unreadable_file", f"{type(error).__name__}: {error}", file=shard.path)


def _json_lines(shard: InputShard, raw: IO[bytes], quarantine: Quarantine) -> Iterator[tuple[int, Any, bytes]]:
    for line in lines(READERS[shard.compression](raw), MAX_ROW_BYTES):
        if not line.damage and not line.content.strip():
            continue
        quarantine.saw()
        place: dict[str, Any] = {"file": shard.path, "line": line.number, "excerpt": line.content[:800]}
        if line.damage:
            quarantine.add("damaged_file", f"{line.damage}; the rows before were kept", **place)
        elif line.size > MAX_ROW_BYTES:
            quarantine.add("line_too_long", f"the line has {line.size} bytes, the limit is {MAX_ROW_BYTES}", **place)
        else:
            try:
                yield line.number, orjson.loads(line.content), line.content[:800]
            except orjson.JSONDecodeError as error:
                quarantine.add("invalid_json", f"not a JSON value: {error}", **place)


def _parquet(shard: InputShard, raw: IO[bytes], quarantine: Quarantine) -> Iterator[tuple[int, Any, bytes]]:
    import pyarrow.parquet as pq

    number = 0
    for batch in pq.ParquetFile(raw).iter_batches(batch_size=1024):
        for row in batch.to_pylist():
            number += 1
            quarantine.saw()
            yield number, row, repr(row)[:800].encode(errors="replace")


def _messages(value: Any) -> tuple[Message, ...]:
    try:
        return parse_messages(value)
    except ChatError as error:
        raise RowError("bad_messages", str(error)) from None


def _turns(value: Any, role: str) -> tuple[Message, ...]:
    """Messages from a text of one role, or from messages."""
    return _messages([{"role": role, "content": value}] if isinstance(value, str) else value)


def _side(prompt: Any, side: Any) -> tuple[Message, ...]:
    """The whole conversation of one side of a preference."""
    if isinstance(side, str):
        if prompt is None:
            return _transcript(side)
        return _turns(prompt, "user") + _turns(side, "assistant")
    messages = _messages(side)
    if prompt is None or messages[0].role != "assistant":  # published sets repeat the prompt inside both sides
        return messages
    return _turns(prompt, "user") + messages


def _transcript(text: str) -> tuple[Message, ...]:
    pieces = _TURN.split(text)
    if len(pieces) < 3 or pieces[0].strip():
        raise RowError("no_transcript", "a text without a prompt should begin with '\\n\\nHuman: '")
    roles = {"Human": "user", "Assistant": "assistant"}
    return _messages(
        [{"role": roles[who], "content": content} for who, content in zip(pieces[1::2], pieces[2::2], strict=True)]
    )


def _about(row: Mapping[str, Any]) -> dict[str, str]:
    found = row.get("about")
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, Mapping) else {}


def _margin(row: Mapping[str, Any]) -> float | None:
    found = row.get("margin")
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise RowError("bad_margin", f"margin is a finite number, got {found!r}")
    return float(found)


def _keys(row: Mapping[str, Any]) -> str:
    return ", ".join(str(key) for key in row) or "no fields"


def prompts_of(records: Sequence[Conversation | Preference]) -> list[tuple[Message, ...]]:
    """The prompts, each once, in order."""
    return list(dict.fromkeys(record.prompt for record in records))
