"""MuDoCo-QR: turns of dialogues with an assistant, rewritten by people; turns that nobody graded are left out."""

from __future__ import annotations

import json
from pathlib import Path

from glasshouse.evaluation.context.rewriting.queries import Query
from glasshouse.evaluation.context.sources import DataError, find_files, missing

DOMAINS = ("calling", "messaging", "music", "news", "reminders", "weather")


def read_mudoco(
    folder: str | Path,
    domain: str | None = None,
    splits: tuple[str, ...] = ("train", "eval", "test"),
    only_needed: bool = False,
) -> list[Query]:
    """Graded turns of both speakers.

    Args:
        domain: "news", "weather", ...; all by default.
        only_needed: leave out turns that are complete as they are, which are more than half.

    Raises:
        DataError: there is no such domain, or a file does not have the form.
    """
    files = [
        file
        for file in find_files("mudoco_qr", folder, "mudoco_*.json", "*.json")
        if file.stem.removeprefix("mudoco_") in DOMAINS
    ]
    if not files:
        raise missing("mudoco_qr", folder)
    if domain is not None:
        files = [file for file in files if file.stem.removeprefix("mudoco_") == domain]
        if not files:
            raise DataError(f"{folder} has no file of the domain {domain!r}, such as {domain}.json")
    found = [query for file in files for query in _queries(file, splits)]
    return [query for query in found if query.needed or not only_needed]


def _queries(file: Path, splits: tuple[str, ...]) -> list[Query]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        found = []
        for key, dialogue in content["dialogs"].items():
            history: list[tuple[str, str]] = []
            for turn in dialogue["turns"] if dialogue["split"] in splits else ():
                if turn["graded"]:
                    name = f"{content['domain']}-{key}-{turn['number']}"
                    whole, needed = turn["rewritten_utterance"], bool(turn["rewrite_required"])
                    found.append(Query(name, tuple(history), turn["utterance"], whole, key, needed))
                history.append(("User" if turn["number"] % 2 else "Bot", turn["utterance"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} does not have the form of MuDoCo-QR ({type(error).__name__}: {error})") from error
    return found
