"""Names with settings, as `--families`, `--dedupe` and `--by` take them: `exact,minhash:bands=20,rows=5`.

A list by commas of names; behind a name, after a colon, its settings. Settings are separated by commas or colons; a
dot leads into a setting that has settings of its own (`paragraphs:filter.expected=1000000`); where a setting holds
several values, `+` is between them (`language:languages=en+fr`). What follows a separator and is neither a name nor
`setting=` belongs to the value before it, so that URLs and paths with colons can be values.
"""

from __future__ import annotations

import difflib
import re
import typing
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from glasshouse.store.configuration import Config

_SETTING = re.compile(r"\s*([A-Za-z_][\w.]*)=(.*)", re.DOTALL)
_NEXT = r":(?=\s*[A-Za-z_][\w.]*=)"
_NAME = re.compile(rf"\s*([A-Za-z]\w*)\s*(?:{_NEXT}(.*))?", re.DOTALL)


def families_of(names: str | None) -> tuple[Any, ...] | None:
    """Families of signals as they are written on the command line; `None` where none are."""
    from glasshouse.data.signals.families import family_type

    if names is None:
        return None
    return tuple(configured(name, given, family_type(name)) for name, given in parts_of(names))


def methods_of(names: str) -> tuple[Any, ...]:
    """Methods of de-duplication as they are written on the command line; `none` is none."""
    from glasshouse.data.deduplication.methods import method_type

    if names.strip() == "none":
        return ()
    return tuple(configured(name, given, method_type(name)) for name, given in parts_of(names))


def parts_of(text: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Names, each with its settings as they are written."""
    found: list[tuple[str, list[tuple[str, str]]]] = []
    for piece in text.split(","):
        setting, name = _SETTING.fullmatch(piece), _NAME.fullmatch(piece)
        if found and setting:
            found[-1][1].extend(_settings(piece))
        elif name:
            found.append((name[1], _settings(name[2]) if name[2] is not None else []))
        elif found and found[-1][1] and piece.strip():
            key, value = found[-1][1].pop()
            found[-1][1].append((key, f"{value},{piece}"))
        elif piece.strip():
            raise click.UsageError(f"{piece.strip()!r} in {text!r}: write NAME or NAME:SETTING=VALUE,SETTING=VALUE")
    if not found:
        raise click.UsageError("an empty list of names: name at least one, or leave the option out")
    return found


def _settings(text: str) -> list[tuple[str, str]]:
    found = [_SETTING.fullmatch(piece) for piece in re.split(_NEXT, text)]
    return [(setting[1], setting[2]) for setting in found if setting]


def configured(name: str, given: list[tuple[str, str]], kind: type[Config]) -> Config:
    """A configuration with the settings that are written.

    Raises `click.UsageError` for a setting that there is not, that is given twice, or whose value does not fit.
    """
    from glasshouse.store.configuration import ConfigurationError

    known = {field: about for field, about in kind.model_fields.items() if field != "name" or about.is_required()}
    settings: dict[str, Any] = {}
    for key, value in given:
        first, dot, rest = key.partition(".")
        if first not in known:
            near = difflib.get_close_matches(first, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            takes = f"it takes: {', '.join(known)}" if known else "it takes none"
            raise click.UsageError(f"{name} has no setting {first!r}; {hint}{takes}")
        inside = settings.setdefault(first, {}) if dot else settings
        if not isinstance(inside, dict) or (rest or first) in inside:
            raise click.UsageError(f"{name}: {key} is given twice")
        inside[rest or first] = value.split("+") if _holds_several(known[first].annotation) else value
    try:
        return kind(**settings)
    except ConfigurationError as error:
        raise click.UsageError(f"{name}: {error}") from None


def _holds_several(annotation: Any) -> bool:
    """Whether a field holds a tuple."""
    return typing.get_origin(annotation) is tuple or any(map(_holds_several, typing.get_args(annotation)))
