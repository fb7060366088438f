"""Recorded calls: a cassette of JSON Lines, and the engine that answers from one and from nothing else."""

from __future__ import annotations

import difflib
import json
import threading
from pathlib import Path
from typing import Any

from glasshouse.symbolic.call import Call, Reply, reply_from_json
from glasshouse.symbolic.errors import UnrecordedError
from glasshouse.symbolic.values import as_text


class Cassette:
    """A file of calls and replies, appended to as they come; safe to use from several threads."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()

    def add(self, call: Call, reply: Reply) -> None:
        """Append one call and its reply."""
        line = json.dumps({"key": call.key, "call": call.to_json(), "reply": reply.to_json()})
        with self._lock, self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class Recorded:
    """Answers calls that a cassette holds; of several replies to one call, the last.

    Args:
        path: what `Runtime.record` wrote.

    Raises `ValueError` with the line's number when the cassette is damaged.
    """

    def __init__(self, path: Path | str, name: str = "recorded") -> None:
        self.name = name
        self._path = Path(path)
        self._replies: dict[str, Reply] = {}
        self._asked: dict[str, str] = {}
        kinds = set()
        for number, line in enumerate(self._path.read_text(encoding="utf-8").rstrip("\n").split("\n"), 1):
            try:
                data = json.loads(line)
                self._replies[data["key"]] = reply_from_json(data["reply"])
                self._asked[data["key"]] = _shown(data["call"])
                kinds.add(str(data["call"]["kind"]))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: not a recorded call ({error}); record it again") from None
        self.kinds = frozenset(kinds)

    def run(self, call: Call) -> Reply:
        """The recorded reply. Raises `UnrecordedError` with the nearest recorded call."""
        if call.key in self._replies:
            return self._replies[call.key]
        shown = _shown(call.to_json())
        near = difflib.get_close_matches(shown, self._asked.values(), n=1, cutoff=0.0)
        nearest = f"; the nearest of {len(self._asked)}: {near[0]}" if near else "; it is empty"
        raise UnrecordedError(f"{self._path} holds no reply to {shown}{nearest}. Record it with `runtime.record(...)`.")


def _shown(call: dict[str, Any]) -> str:
    """A call in one line: operation and parameters, and what was asked."""
    asked = call["messages"][-1][1] if call["messages"] else ", ".join(map(as_text, call["inputs"]))
    params = {name: value for name, value in call["params"].items() if name != "answer"}
    return f"{call['op']} {params or ''} seed {call['seed']}: {asked!r:.300}"
