"""A conversation: turns, a window of them that the model reads, and documents recalled where they matter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glasshouse.symbolic.call import UNLIMITED, Budget
from glasshouse.symbolic.memory import Memory
from glasshouse.symbolic.result import Result
from glasshouse.symbolic.sym import Sym

if TYPE_CHECKING:
    from glasshouse.symbolic.runtime import Runtime

FORM = "glasshouse-conversation-1"


class Conversation:
    """Turns with a language model. Each is a node of its own, so it is traced and can be replayed.

    Args:
        runtime: asks the model.
        system: what the model is told first.
        memory: documents; what it recalls for a turn is told before the turn.
        window: how many of the last turns, of both sides, the model reads.
    """

    def __init__(self, runtime: Runtime, system: str = "", memory: Memory | None = None, window: int = 20) -> None:
        if window < 0:
            raise ValueError(f"Conversation takes a window of at least 0 turns, got {window}")
        self.system, self.memory, self.window = system, memory, window
        self.turns: list[tuple[str, str]] = []
        self.results: list[Result] = []
        self._runtime = runtime

    def say(self, text: str, as_: Any = str, budget: Budget = UNLIMITED) -> Any:
        """One turn: the model's answer, of the type asked for. A turn that fails is not kept."""
        recalled = self.memory.recall(text) if self.memory else []
        context = "\n\n".join([self.system, *(f"From memory: {one}" for one in recalled)]).strip()
        history = [list(turn) for turn in self.turns[max(0, len(self.turns) - self.window) :]]
        if history and history[0][0] == "assistant":
            # A window that begins with an answer would show the model an answer to nothing.
            history = history[1:]
        asked = Sym(text).sem(context=context).chat(history, as_=as_, seed=len(self.turns))
        result = self._runtime.run(asked, budget=budget)
        self.turns += [("user", text), ("assistant", result.text)]
        self.results.append(result)
        return result.value

    def read(self, path: Path | str) -> None:
        """Remember a text file, paragraph by paragraph. Raises `ValueError` without a memory."""
        if self.memory is None:
            raise ValueError(f"this conversation has no memory to keep {path} in; give it one")
        for paragraph in Path(path).read_text(encoding="utf-8").split("\n\n"):
            if paragraph.strip():
                self.memory.remember(f"{Path(path).name}: {paragraph.strip()}")

    def save(self, path: Path | str) -> None:
        """Write the turns as JSON."""
        data = {"form": FORM, "system": self.system, "window": self.window, "turns": self.turns}
        Path(path).write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str, runtime: Runtime, memory: Memory | None = None) -> Conversation:
        """The conversation that `save` wrote. Raises `ValueError` for a file of another form."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            if data["form"] != FORM:
                raise ValueError(f"the form {data['form']!r} is not {FORM!r}")
            conversation = cls(runtime, data["system"], memory, data["window"])
            conversation.turns = [(str(role), str(text)) for role, text in data["turns"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no saved conversation: {error}") from None
        return conversation
