"""Joint goal accuracy: a turn is right when its whole state is.

    exact   the same slots, and every value is one of those that count as right, whatever its case and white space
    fuzzy   the same slots, and every value is like one of them: rapidfuzz's partial_ratio above 95

The fuzzy form is that of Nekvinda & Dusek (Tomiinek/MultiWOZ_Evaluation, `mwzeval/metrics.py`); the paper does not say
which it uses.
"""

from __future__ import annotations

from collections.abc import Callable

from glasshouse.evaluation.context.dialogue_state.dialogues import Gold, State

THRESHOLD = 95.0


def normal_value(value: str) -> str:
    """In lower case, with single spaces."""
    return " ".join(value.lower().split())


def exactly(state: State, gold: Gold) -> bool:
    """Whether a state is right."""
    return _right(state, gold, lambda value, right: value == right)


def nearly(state: State, gold: Gold) -> bool:
    """Whether a state is right but for spelling."""
    try:
        from rapidfuzz.fuzz import partial_ratio
    except ImportError:
        raise ImportError("fuzzy accuracy needs the package rapidfuzz: pip install 'glasshouse[eval]'") from None
    return _right(state, gold, lambda value, right: value == right or partial_ratio(value, right) > THRESHOLD)


def _right(state: State, gold: Gold, alike: Callable[[str, str], bool]) -> bool:
    if state.keys() != gold.keys():
        return False
    return all(
        any(alike(normal_value(value), normal_value(right)) for right in gold[slot]) for slot, value in state.items()
    )
