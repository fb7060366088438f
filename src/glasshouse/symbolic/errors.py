"""What can go wrong, by type: what a caller may catch, retry, or must hear of."""

from __future__ import annotations

from typing import Any, ClassVar


class SymbolicError(RuntimeError):
    """Base of the room's errors; the message says what happened, with which input, and what to do."""


class EngineError(SymbolicError):
    """An engine could not answer a call. `retryable`: the same call may succeed a little later."""

    retryable: ClassVar[bool] = False


class NoEngineError(EngineError):
    """No engine of the runtime answers this kind of call."""


class MissingKeyError(EngineError):
    """The server wants an API key and none, or a wrong one, was given."""


class BadRequestError(EngineError):
    """The engine says that the call itself is wrong: an unknown model, a bad parameter, a prompt too long."""


class RefusalError(EngineError):
    """The engine cannot do what the call's constraint demands; the message names the part it cannot do."""


class RejectedProgramError(EngineError):
    """A program handed to a solver is not in its language or not bounded; it was not run."""


class UnrecordedError(EngineError):
    """The cassette holds no reply to this call; the message shows the nearest one it holds."""


class RateLimitError(EngineError):
    """The server asks to wait. `retry_after`: seconds, where it says how long."""

    retryable = True

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineTimeoutError(EngineError):
    """No answer within the time allowed."""

    retryable = True


class UnreachableError(EngineError):
    """Nobody listens at the address, or the connection broke before an answer began."""

    retryable = True


class ServerError(EngineError):
    """The server failed (status 5xx)."""

    retryable = True


class CutReplyError(EngineError):
    """An answer began and did not end. `text`: what had arrived."""

    retryable = True

    def __init__(self, message: str, text: str = "") -> None:
        super().__init__(message)
        self.text = text


class MalformedReplyError(EngineError):
    """The answer is not in the form of the protocol."""


class BudgetError(SymbolicError):
    """The next call would go over the budget; it was not made."""


class AnswerError(SymbolicError):
    """An engine's text is not a value of the type asked for. `text`: what it said."""

    def __init__(self, message: str, text: str = "") -> None:
        super().__init__(message)
        self.text = text


class ViolationError(SymbolicError):
    """Raised in `Program.require`: why a result is not acceptable, in words that go into the repair prompt."""


class ContractError(SymbolicError):
    """A program's result was still not acceptable after all attempts. `attempts`: (value, complaint) of each."""

    def __init__(self, message: str, attempts: tuple[tuple[Any, str], ...] = ()) -> None:
        super().__init__(message)
        self.attempts = attempts


class ReplayError(SymbolicError):
    """A replayed graph gave other bytes than the trace holds."""


class PendingError(SymbolicError):
    """The value of a symbol is wanted that no runtime has computed."""
