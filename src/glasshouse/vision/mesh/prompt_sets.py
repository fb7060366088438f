"""Sets of prompts, with those a generator is trained on (seen) and those it is only asked for (unseen).

| set | prompts | seen / unseen | source |
|---|---|---|---|
| blocks64 | 8 tops on 8 bottoms of the blocks world | 56 / the diagonal | Pig64's split |
| blocks576 | all of the blocks world | 72 (12.5 %) / 504 | Animal2400's share |
| pig64 | a pig, 8 activities x 8 themes | 56 / the diagonal | AToM (arXiv 2402.00867), labels of its grid |
| animal2400 | 10 animals x 8 activities x 6 themes x 5 hats | 300 (12.5 %) / 2100 | AToM, ATT3D (arXiv 2306.07349) |
| df27, df415 | the gallery of DreamFusion (arXiv 2209.14988) | all / none | threestudio's prompt library |

The papers print no wording for pig64 and animal2400; ours follows the labels, and the lists of themes and hats of
animal2400 are our choice.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.resources
import itertools
import json
from collections.abc import Callable, Sequence

from glasshouse.store.configuration import ConfigurationError

BLOCK_COLOURS = ("red", "green", "blue", "yellow", "purple", "cyan")
BLOCK_SHAPES = ("ball", "box", "cone", "can")
TOPS = ("red cone", "green ball", "blue box", "yellow can", "purple cone", "cyan ball", "red box", "green can")
BOTTOMS = ("blue can", "yellow box", "purple ball", "cyan cone", "red ball", "green cone", "blue box", "yellow can")

ACTIVITIES = (
    "riding a motorcycle", "sitting on a chair", "playing the guitar", "holding a shovel", "holding a blue balloon",
    "holding a book", "wielding a katana", "riding a bike",
)  # fmt: skip
PIG_THEMES = (
    "made of gold", "made of wood", "wearing a jacket", "wearing a tophat", "wearing a cape", "wearing a party hat",
    "wearing a sombrero", "wearing medieval armor",
)  # fmt: skip
ANIMALS = ("squirrel", "raccoon", "pig", "monkey", "robot", "lion", "rabbit", "tiger", "orangutan", "bear")
THEMES = (
    "wearing medieval armor", "wearing a leather jacket", "wearing a sweater", "wearing a cape", "wearing a suit",
    "wearing a backpack",
)  # fmt: skip
HATS = ("a party hat", "a sombrero", "a helmet", "a tophat", "a baseball cap")


@dataclasses.dataclass(frozen=True)
class PromptSet:
    """Prompts to train on, and prompts that are held back."""

    name: str
    seen: tuple[str, ...]
    unseen: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Seen, then unseen."""
        return self.seen + self.unseen


def blocks(top: str, bottom: str) -> str:
    """The prompt for one block on another, such as `red cone` on `blue box`."""
    return f"a {top} on a {bottom}"


@functools.lru_cache(maxsize=8)
def prompt_set(name: str) -> PromptSet:
    """A set by name. Raises `ConfigurationError` naming those there are."""
    if name not in _SETS:
        raise ConfigurationError(f"there is no prompt set {name!r}; there are {', '.join(_SETS)}")
    return _SETS[name]()


def _blocks64() -> PromptSet:
    grid = [[blocks(top, bottom) for bottom in BOTTOMS] for top in TOPS]
    return _off_diagonal("blocks64", grid)


def _pig64() -> PromptSet:
    return _off_diagonal("pig64", [[f"a pig {does} {theme}" for theme in PIG_THEMES] for does in ACTIVITIES])


def _off_diagonal(name: str, grid: Sequence[Sequence[str]]) -> PromptSet:
    seen = [prompt for row, line in enumerate(grid) for column, prompt in enumerate(line) if row != column]
    return PromptSet(name, tuple(seen), tuple(grid[place][place] for place in range(len(grid))))


def _blocks576() -> PromptSet:
    """Every top is seen on three bottoms, and every bottom under three tops."""
    each = [f"{colour} {shape}" for colour in BLOCK_COLOURS for shape in BLOCK_SHAPES]
    rounds: list[list[str]] = []
    draw = 0
    while len(rounds) < 3:
        bottoms = sorted(each, key=functools.partial(_digest, draw))
        if all(bottom != before for done in rounds for bottom, before in zip(bottoms, done, strict=True)):
            rounds.append(bottoms)
        draw += 1
    seen = [blocks(top, bottom) for bottoms in rounds for top, bottom in zip(each, bottoms, strict=True)]
    kept = set(seen)
    unseen = [prompt for top in each for bottom in each if (prompt := blocks(top, bottom)) not in kept]
    return PromptSet("blocks576", tuple(seen), tuple(unseen))


def _animal2400() -> PromptSet:
    """300 prompts are seen: those with the smallest hashes, as a draw that needs no generator."""
    product = itertools.product(ANIMALS, ACTIVITIES, THEMES, HATS)
    every = [f"a {animal} {does} {theme} and {hat}" for animal, does, theme, hat in product]
    kept = set(sorted(every, key=functools.partial(_digest, 0))[:300])
    return PromptSet("animal2400", tuple(p for p in every if p in kept), tuple(p for p in every if p not in kept))


def _dreamfusion(name: str) -> PromptSet:
    source = importlib.resources.files("glasshouse.vision.mesh") / "dreamfusion_prompts.json"
    return PromptSet(name, tuple(json.loads(source.read_text(encoding="utf-8"))[name]), ())


def _digest(draw: int, text: str) -> bytes:
    return hashlib.sha256(f"{draw}/{text}".encode()).digest()


_SETS: dict[str, Callable[[], PromptSet]] = {
    "blocks64": _blocks64,
    "blocks576": _blocks576,
    "pig64": _pig64,
    "animal2400": _animal2400,
    "df27": functools.partial(_dreamfusion, "df27"),
    "df415": functools.partial(_dreamfusion, "df415"),
}

__all__ = ["BLOCK_COLOURS", "BLOCK_SHAPES", "PromptSet", "blocks", "prompt_set"]
