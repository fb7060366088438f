"""A deterministic loader: the order says which rows, a background thread fetches them ahead of time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from glasshouse.training.data import TrainingData, pin
from glasshouse.training.objective import Batch
from glasshouse.training.order import Rows
from glasshouse.training.stages import Order


@dataclass(frozen=True)
class Prepared:
    """The rows and micro-batches of one update, in host memory."""

    step: int
    rows: Rows
    batches: list[Batch]


class Loader:
    """Micro-batches of the updates `first` to `last`; a context manager that stops its thread on the way out.

    What it yields is a function of the order alone: `prefetch` (updates read ahead; 0 reads in the foreground) only
    changes when the reading happens. An error while reading is raised where the batch would have been.
    """

    def __init__(
        self,
        data: TrainingData,
        order: Order,
        *,
        first: int,
        last: int,
        micro_batch: int,
        rank: int = 0,
        world: int = 1,
        prefetch: int = 4,
        pinned: bool = False,
    ) -> None:
        self._data, self._order = data, order
        self._steps = range(first, last + 1)
        self._micro, self._rank, self._world = micro_batch, rank, world
        self._pinned = pinned and torch.cuda.is_available()
        self._prefetch = prefetch
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def prepare(self, step: int) -> Prepared:
        """Fetch the rows of one update."""
        rows = self._order.rows_at_step(step, self._rank, self._world)
        parts = [rows[start : start + self._micro] for start in range(0, len(rows), self._micro)]
        batches = [self._data.batch(part) for part in parts]
        return Prepared(step, rows, [pin(batch) for batch in batches] if self._pinned else batches)

    def __iter__(self) -> Iterator[Prepared]:
        if self._prefetch == 0:
            for step in self._steps:
                yield self.prepare(step)
            return
        ready: queue.Queue[Any] = queue.Queue(maxsize=self._prefetch)
        self._thread = threading.Thread(target=self._fill, args=(ready,), name="glasshouse-loader", daemon=True)
        self._thread.start()
        for _ in self._steps:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    def _fill(self, ready: queue.Queue[Any]) -> None:
        for step in self._steps:
            try:
                item: Any = self.prepare(step)
            except BaseException as error:
                error.add_note(f"while reading the rows of step {step}")
                item = error
            while not self._stop.is_set():
                try:
                    ready.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if self._stop.is_set() or isinstance(item, BaseException):
                return

    def close(self) -> None:
        """Stop reading ahead."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
