"""Examples put before a question: drawn from a pool by a named seed, the same for every model and on every machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from glasshouse.store.configuration import named_seed

Item = TypeVar("Item")


class FewShotError(ValueError):
    """The pool of examples is too small."""


def draw_examples(
    pool: Sequence[Item],
    count: int,
    seed: int,
    *names: str | int,
    allowed: Callable[[Item], bool] = lambda _: True,
) -> list[Item]:
    """`count` different examples in random order.

    Args:
        names: what the draw is for: the task for one set of examples for all questions, task and question for another
            one for each.
        allowed: examples that may be taken, such as those of other documents than the question's.

    Raises:
        FewShotError: fewer than `count` are allowed.
    """
    if count == 0:
        return []
    free = [example for example in pool if allowed(example)]
    if len(free) < count:
        raise FewShotError(
            f"{count} examples are wanted before {'/'.join(map(str, names)) or 'a question'}, but the pool has "
            f"{len(free)}: take fewer shots or a larger pool"
        )
    order = np.random.default_rng(named_seed(seed, "few-shot", *names)).permutation(len(free))
    return [free[index] for index in order[:count]]
