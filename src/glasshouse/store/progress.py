"""Telling a person how far the work is: a protocol, and a silent form of it."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self


class Bar(Protocol):
    """One piece of work with a known or unknown size."""

    def advance(self, amount: float = 1) -> None:
        """`amount` more is done."""

    def say(self, text: str) -> None:
        """A short word beside the bar, for example the loss."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Reporter(Protocol):
    """What a running graph tells the outside."""

    def step_started(self, step: str, key: str) -> None: ...

    def step_waits(self, step: str) -> None: ...

    def step_found(self, step: str, manifest: dict[str, Any]) -> None: ...

    def step_finished(self, step: str, manifest: dict[str, Any]) -> None: ...

    def bar(self, description: str, total: float | None) -> Bar: ...


class SilentBar:
    """A bar nobody sees."""

    def advance(self, amount: float = 1) -> None:
        """Nothing to show."""

    def say(self, text: str) -> None:
        """Nothing to show."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Silent:
    """A reporter that says nothing."""

    def step_started(self, step: str, key: str) -> None:
        """Nothing to say."""

    def step_waits(self, step: str) -> None:
        """Nothing to say."""

    def step_found(self, step: str, manifest: dict[str, Any]) -> None:
        """Nothing to say."""

    def step_finished(self, step: str, manifest: dict[str, Any]) -> None:
        """Nothing to say."""

    def bar(self, description: str, total: float | None) -> Bar:
        """A bar nobody sees."""
        return SilentBar()
