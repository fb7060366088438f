"""Examples before an item: drawn once for a task, and never from the item's own document or conversation.

The paper draws them at random from the training set. Where a set has no training part that is open, they are drawn from
the evaluated items themselves: the examples of all items are the same, but that those of an item's own group are
replaced by the next in the draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from glasshouse.evaluation.few_shot import FewShotError, draw_examples

Item = TypeVar("Item")


class Examples(Generic[Item]):
    """A pool in a random order, `order`.

    Args:
        group: of an item; examples come from other groups than the item's own.
        names: what the draw is for.
    """

    def __init__(self, pool: Sequence[Item], group: Callable[[Item], str], seed: int, *names: str) -> None:
        self.order = draw_examples(pool, len(pool), seed, *names)
        self._group = group
        self._name = "/".join(names)

    def before(
        self, group: str, count: int, wanted: Callable[[Item], bool] = lambda _: True, fill: bool = False
    ) -> list[Item]:
        """`count` examples for an item of `group`.

        Args:
            wanted: which are taken first.
            fill: whether others may follow where too few are wanted.

        Raises:
            FewShotError: there are not as many.
        """
        if not count:
            return []
        found: list[Item] = []
        for first in (True, False) if fill else (True,):
            for item in self.order:
                if len(found) == count:
                    return found
                if self._group(item) != group and wanted(item) is first:
                    found.append(item)
        if len(found) < count:
            raise FewShotError(
                f"{count} examples are wanted before items of {self._name}, but only {len(found)} of "
                f"{len(self.order)} may be used: ask for fewer, or give a larger training part"
            )
        return found
