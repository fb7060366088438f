"""CamRest676: dialogues about restaurants of Cambridge, as GECOR ships them; a single domain of three slots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from glasshouse.evaluation.context.dialogue_state.dialogues import Dialogue, Slot, Turn
from glasshouse.evaluation.context.sources import DataError, find_files

_DOMAIN = "restaurant"
_SLOTS = {
    "food": ("kind of food that the restaurant serves", ()),
    "pricerange": ("how expensive the restaurant is", ("cheap", "moderate", "expensive", "dontcare")),
    "area": ("part of town that the restaurant is in", ("north", "south", "east", "west", "centre", "dontcare")),
}
SCHEMA = tuple(Slot(f"{_DOMAIN}-{name}", text, _DOMAIN, values) for name, (text, values) in _SLOTS.items())


def read_camrest_rows(folder: str | Path) -> list[dict[str, Any]]:
    """The dialogues of the file as they are. Raises `DataError` when it is not there or not JSON."""
    file = find_files("gecor", folder, "CamRest676*.json")[0]
    try:
        found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file} is not JSON: {error}") from error
    return found


def read_camrest(folder: str | Path) -> list[Dialogue]:
    """The dialogues; the annotation of every turn is the state so far (`inform`) and what is asked (`request`)."""
    try:
        return [
            Dialogue(f"camrest-{row['dialogue_id']}", tuple(_turns(row)), SCHEMA) for row in read_camrest_rows(folder)
        ]
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder}: not the form of CamRest676 ({type(error).__name__}: {error})") from error


def _turns(row: dict[str, Any]) -> list[Turn]:
    found = []
    system = ""
    for turn in row["dial"]:
        acts = [(act["act"], slot, value) for act in turn["usr"]["slu"] for slot, value in act["slots"]]
        state = {f"{_DOMAIN}-{slot}": (value,) for act, slot, value in acts if act == "inform" and slot in _SLOTS}
        asked = tuple(f"{_DOMAIN}-{value}" for act, _, value in acts if act == "request")
        found.append(Turn(system, turn["usr"]["transcript"], state, asked))
        system = turn["sys"]["sent"]
    return found
