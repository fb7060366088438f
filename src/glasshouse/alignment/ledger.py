"""The ledger: every query that was asked, why, and what was answered, as JSON Lines that only grow.

A line is one `Query`. A process that is killed while it writes leaves a torn last line; opening the ledger heals that
(the torn part is cut off and counted) and refuses any other damage. What was learnt from can be had as preferences in
TRL's form and as an Arrow table.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.writing import disk_errors_named
from glasshouse.language.chat import Message
from glasshouse.language.conversations import Preference

COLUMNS: list[tuple[str, pa.DataType]] = [
    *((name, pa.string()) for name in ("prompt_id", "prompt", "first", "second", "rule")),
    ("seed", pa.int64()),
    ("why", pa.map_(pa.string(), pa.float64())),
    ("answered_by", pa.string()),
    ("answer", pa.float64()),
]


class LedgerError(ValueError):
    """The ledger is damaged, or says something else than what is to be written to it."""


@dataclasses.dataclass(frozen=True)
class Query:
    """Two responses to one prompt, and what came of asking about them.

    Attributes:
        rule: how the pair was chosen; `why` are the numbers that decided (see `glasshouse.alignment.exploration`).
        seed: of the run that asked.
        answer: 1 where the first is preferred, 0 where the second is; a probability or 0.5 (a tie) in between; None
            when nobody could say.
    """

    prompt_id: str
    first: str
    second: str
    rule: str
    seed: int
    why: Mapping[str, float]
    answered_by: str
    answer: float | None
    prompt: str = ""

    def __post_init__(self) -> None:
        if self.answer is not None and not 0 <= self.answer <= 1:
            raise LedgerError(f"the answer about prompt {self.prompt_id!r} has to lie in [0, 1], got {self.answer}")

    @property
    def preference(self) -> Preference | None:
        """The preferred response before the other; None without a preference (no answer, a tie, equal texts)."""
        if self.answer is None or self.answer == 0.5 or self.first == self.second:
            return None
        chosen, rejected = (self.first, self.second) if self.answer > 0.5 else (self.second, self.first)
        about = {"rule": self.rule, "answered_by": self.answered_by, "prompt_id": self.prompt_id}
        return Preference((Message("user", self.prompt or self.prompt_id),), chosen, rejected, self.prompt_id, about)


class Ledger:
    """Queries in a file, in the order they were asked.

    Attributes:
        healed: bytes of a torn last line that were cut off when the file was opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.healed = Path(path), 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = self.path.read_bytes() if self.path.exists() else b""
        self._lines = content.count(b"\n")
        if content and not content.endswith(b"\n"):
            whole = content.rfind(b"\n") + 1
            self.healed = len(content) - whole
            with self.path.open("r+b") as file:
                file.truncate(whole)

    def __len__(self) -> int:
        return self._lines

    def __iter__(self) -> Iterator[Query]:
        return self.since(0)

    def since(self, position: int) -> Iterator[Query]:
        """Queries from the one with this number on, counted from 0. Raises `LedgerError` for a damaged line."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if number >= position:
                    yield self._query(line, number)

    def _query(self, line: bytes, number: int) -> Query:
        try:
            return Query(**orjson.loads(line))
        except (orjson.JSONDecodeError, TypeError, LedgerError) as error:
            raise LedgerError(f"line {number + 1} of the ledger {self.path} is damaged: {error}") from None

    def append(self, queries: Sequence[Query], *, synchronise: bool = True) -> None:
        """Write queries at the end, safe from power loss when it returns if `synchronise`.

        Of queries that could not be written whole (a full disk) nothing stays.
        """
        rows = b"".join(orjson.dumps(dataclasses.asdict(query)) + b"\n" for query in queries)
        with disk_errors_named(self.path), self.path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                _write_all(file, rows)
                if synchronise:
                    os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
        self._lines += len(queries)

    def record(self, position: int, queries: Sequence[Query], *, synchronise: bool = True) -> None:
        """Queries number `position` and on, of a run that may have written some of them before it was killed.

        Those that are there already have to be the same; only the others are appended. Raises `LedgerError`.
        """
        if position > len(self):
            raise LedgerError(f"the ledger {self.path} holds {len(self)} queries, so number {position} cannot be next")
        there = list(self.since(position))[: len(queries)] if position < len(self) else []
        for number, (kept, asked) in enumerate(zip(there, queries, strict=False), start=position):
            if kept != asked:
                raise LedgerError(
                    f"query {number} in the ledger {self.path} is not the one asked now (prompt {kept.prompt_id!r}, "
                    f"rule {kept.rule} there; prompt {asked.prompt_id!r}, rule {asked.rule} now): start a new ledger"
                )
        if len(queries) > len(there):
            self.append(queries[len(there) :], synchronise=synchronise)

    def preferences(self) -> Iterator[Preference]:
        """What was preferred, as `glasshouse.language` learns it; queries without a preference are left out."""
        return (query.preference for query in self if query.preference is not None)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The same as rows in TRL's conversational form."""
        return (preference.row() for preference in self.preferences())

    def table(self) -> pa.Table:
        """All queries as an Arrow table."""
        rows = [dataclasses.asdict(query) | {"why": list(query.why.items())} for query in self]
        return pa.Table.from_pylist(rows, schema=pa.schema(COLUMNS))

    def write_parquet(self, path: str | Path) -> None:
        """All queries as a Parquet file."""
        with disk_errors_named(Path(path)):
            pq.write_table(self.table(), path, compression="zstd")


def _write_all(file: io.FileIO, content: bytes) -> None:
    """All of it; one call may write less, as on a disk that is nearly full."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]
