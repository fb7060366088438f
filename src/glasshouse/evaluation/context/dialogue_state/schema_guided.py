"""Dialogues in the form of Schema-Guided Dialogue, in which MultiWOZ 2.2 comes too.

A slot is named `service-slot`, unless its name already begins with its service as in MultiWOZ. A frame of a user turn
holds the state of its service; that of services without a frame stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glasshouse.evaluation.context.dialogue_state.dialogues import Dialogue, Gold, Slot, Turn
from glasshouse.evaluation.context.sources import DataError, find_files

_DIALOGUES = ("dialogues_*.json", "*[0-9].json")
_SCHEMA = ("schema.json", "*schema.json", "../schema.json")


def read_schema_guided(folder: str | Path, name: str = "sgd") -> list[Dialogue]:
    """The dialogues of a folder with a schema in it or above it.

    Args:
        name: of the data set in `sources`, "sgd" or "multiwoz", for the error when there is nothing.

    Raises:
        DataError: nothing is there, or a file does not have the form.
    """
    files = find_files(name, folder, *_DIALOGUES)
    schema = _schema(find_files(name, folder, *_SCHEMA)[0])
    return [dialogue for file in files for dialogue in _dialogues(file, schema)]


def _schema(file: Path) -> dict[str, tuple[Slot, ...]]:
    found = {}
    for service in _json(file):
        domain = service["service_name"]
        found[domain] = tuple(
            Slot(
                _slot(domain, slot["name"]),
                slot.get("description", ""),
                domain,
                tuple(slot["possible_values"]) if slot.get("is_categorical") else (),
            )
            for slot in service["slots"]
        )
    return found


def _slot(service: str, slot: str) -> str:
    return slot if slot.startswith(f"{service}-") else f"{service}-{slot}"


def _dialogues(file: Path, schema: Mapping[str, tuple[Slot, ...]]) -> Iterator[Dialogue]:
    for row in _json(file):
        try:
            turns = tuple(_turns(row["turns"]))
            # MultiWOZ gives every turn a frame of every service; the dialogue is about those that are named or used
            used = {slot.partition("-")[0] for turn in turns for slot in (*turn.state, *turn.requested)}
            named = [service for service in schema if service in row["services"] or service in used]
            slots = tuple(slot for service in named for slot in schema[service])
        except (KeyError, TypeError, AttributeError) as error:
            place = row.get("dialogue_id", "?") if isinstance(row, dict) else "?"
            raise DataError(
                f"{file}, dialogue {place}: not the form of Schema-Guided Dialogue ({type(error).__name__}: {error})"
            ) from error
        yield Dialogue(row["dialogue_id"], turns, slots)


def _turns(rows: list[dict[str, Any]]) -> Iterator[Turn]:
    system = ""
    state: dict[str, tuple[str, ...]] = {}
    for row in rows:
        if row["speaker"] == "SYSTEM":
            system = row["utterance"]
            continue
        requested: list[str] = []
        for frame in row["frames"]:
            if "state" not in frame:
                continue
            service = frame["service"]
            state = {slot: values for slot, values in state.items() if not slot.startswith(f"{service}-")}
            state |= _values(service, frame["state"]["slot_values"])
            requested += [_slot(service, slot) for slot in frame["state"].get("requested_slots", ())]
        yield Turn(system, row["utterance"], state, tuple(requested))


def _values(service: str, found: Mapping[str, list[str]]) -> Gold:
    return {_slot(service, slot): tuple(map(str, values)) for slot, values in found.items() if values}


def _json(file: Path) -> list[Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file} is not JSON: {error}") from error
    if not isinstance(found, list):
        raise DataError(f"{file} holds a {type(found).__name__}, not a list: it is not of this data set")
    return found
