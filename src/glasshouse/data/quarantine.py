"""Records that could not become documents: kept with the reason and counted, never lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import orjson

from glasshouse.data.writing import disk_errors_named

EXCERPT_CHARACTERS = 200


class Quarantine:
    """Collects bad records as JSON Lines, in the order they are met; a context manager.

    Every record that was looked at is either kept or quarantined: `rows_seen == rows_kept + rows_quarantined`. A file
    that cannot be read, or is damaged from some byte on, counts as one record.

    What by a named rule is no record at all (a request in a web archive, a vendored folder, a redirect) is counted in
    `skipped`, by rule, beside that sum; `noted` counts what happened to records that were kept (`encoding latin-1`).

    Args:
        path: where to write (created at once, so a run without bad records leaves an empty file); `None` collects the
            records in `records` instead, for interactive use.
        mask: what is done to excerpts before they are written, e.g. `signals.pii.masked`.
    """

    def __init__(self, path: str | Path | None = None, mask: Callable[[str], str] | None = None) -> None:
        self.mask = mask
        self.path = None if path is None else Path(path)
        self.rows_seen = 0
        self.rows_kept = 0
        self.by_reason: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.noted: Counter[str] = Counter()
        self.records: list[dict[str, object]] = []
        self._file: IO[bytes] | None = None
        if self.path is not None:
            with disk_errors_named(self.path):
                self._file = self.path.open("wb")

    @property
    def rows_quarantined(self) -> int:
        return self.by_reason.total()

    def saw(self, rows: int = 1) -> None:
        """Counts records looked at, before anything is decided about them."""
        self.rows_seen += rows

    def keep(self, rows: int = 1) -> None:
        """Counts records that became documents."""
        self.rows_kept += rows

    def skip(self, rule: str, count: int = 1) -> None:
        """Counts what a named rule says is no record."""
        self.skipped[rule] += count

    def note(self, what: str, count: int = 1) -> None:
        """Counts something worth knowing about records that are kept."""
        self.noted[what] += count

    def add(
        self,
        reason: str,
        message: str,
        *,
        file: str,
        line: int | None = None,
        offset: int | None = None,
        excerpt: str | bytes = "",
    ) -> None:
        """Puts one record aside. `line` counts from 1 (a row for Parquet), `offset` is in bytes of the uncompressed
        file.
        """
        shown = excerpt.decode(errors="replace") if isinstance(excerpt, bytes) else excerpt
        if self.mask is not None:
            shown = self.mask(shown)
        record: dict[str, object] = {
            "file": file,
            "line": line,
            "offset": offset,
            "reason": reason,
            "message": message,
            # Lone surrogates have no UTF-8 form and would make the quarantine itself unwritable.
            "excerpt": shown[:EXCERPT_CHARACTERS].encode(errors="replace").decode(),
        }
        self.by_reason[reason] += 1
        if self.path is None:
            self.records.append(record)
        elif self._file is None:
            raise ValueError(f"the quarantine {self.path} is closed")
        else:
            with disk_errors_named(self.path):
                self._file.write(orjson.dumps(record) + b"\n")

    def close(self) -> None:
        """Closes the file. Raises `OSError` naming it when its last bytes do not fit on the disk."""
        if self._file is not None and self.path is not None:
            file, self._file = self._file, None
            with disk_errors_named(self.path):
                file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
