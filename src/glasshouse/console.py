"""What a person at a terminal sees of a running graph: steps as they start and end, bars with the time left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from glasshouse.store.manifest import short


class ConsoleBar:
    """A bar on a shared `rich` display; it is gone when its work is done."""

    def __init__(self, progress: Progress, description: str, total: float | None) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task(description, total=total, word="")

    def advance(self, amount: float = 1) -> None:
        """`amount` more is done."""
        self._progress.advance(self._task, amount)

    def say(self, text: str) -> None:
        """A short word beside the bar."""
        self._progress.update(self._task, word=text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.remove_task(self._task)


class LineBar:
    """A bar for output that is not a terminal (a log file, CI): a line now and then instead of a moving picture."""

    def __init__(self, console: Console, description: str, total: float | None, every: float = 15.0) -> None:
        self._console, self._description, self._total, self._every = console, description, total, every
        self._done, self._word, self._started = 0.0, "", time.monotonic()
        self._told = self._started

    def advance(self, amount: float = 1) -> None:
        """`amount` more is done."""
        self._done += amount
        now = time.monotonic()
        if now - self._told < self._every:
            return
        self._told = now
        if self._total and self._done:
            left = (now - self._started) * (self._total - self._done) / self._done
            share = f"{100 * self._done / self._total:.0f} %, {left:.0f} s left"
        else:
            share = f"{self._done:g}"
        self._console.print(f"    {self._description}: {share} {self._word}", highlight=False)

    def say(self, text: str) -> None:
        """A short word for the next line."""
        self._word = text

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class ConsoleReporter:
    """Reports a graph's progress to a `rich` console; use it as a context manager around `execute`."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("    {task.description}"),
            BarColumn(bar_width=32),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[word]}"),
            console=console,
            transient=True,
        )

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._progress.stop()

    def step_started(self, step: str, key: str) -> None:
        """A step begins."""
        self.console.print(f"[bold]{step}[/bold] …", highlight=False)

    def step_waits(self, step: str) -> None:
        """Another process is making this."""
        self.console.print(f"[yellow]{step}: another process is making this; waiting for it[/yellow]", highlight=False)

    def step_found(self, step: str, manifest: dict[str, Any]) -> None:
        """Nothing to do: it is in the store."""
        made = f"{manifest['type']} {short(manifest['id'])}"
        self.console.print(f"[dim]{step}: in the store already ({made})[/dim]", highlight=False)

    def step_finished(self, step: str, manifest: dict[str, Any]) -> None:
        """A step is done and kept."""
        seconds = manifest["resources"]["wall_seconds"]
        made = f"{manifest['type']} {short(manifest['id'])}"
        self.console.print(f"[green]{step}[/green]: {made} in {seconds:.1f} s", highlight=False)

    def bar(self, description: str, total: float | None) -> ConsoleBar | LineBar:
        """A bar with the time left."""
        if not self.console.is_terminal:
            return LineBar(self.console, description, total)
        return ConsoleBar(self._progress, description, total)
