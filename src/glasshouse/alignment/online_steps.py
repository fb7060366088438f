"""The step in which a neural agent asks and learns in a world, seed by seed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from glasshouse.alignment import online
from glasshouse.alignment.exploration import Rule
from glasshouse.alignment.exploration_steps import Explored, explored, home
from glasshouse.alignment.interaction import Curve, Interaction
from glasshouse.alignment.online import NeuralAgent
from glasshouse.alignment.worlds.modes import Modes
from glasshouse.alignment.worlds.sparse import Sparse
from glasshouse.store.progress import SilentBar
from glasshouse.store.step import Run, step

NeuralWorld = Literal["modes", "sparse"]
NEURAL_WORLDS: dict[NeuralWorld, Callable[[int], Modes | Sparse]] = {
    "modes": partial(Modes, view="embedding"),
    "sparse": Sparse,
}


@step()
def explore_with_a_network(
    run: Run,
    world: NeuralWorld,
    rule: Rule,
    interaction: Interaction,
    agent: NeuralAgent = NeuralAgent(),  # noqa: B008 (frozen)
    seeds: int = 4,
) -> Explored:
    """Let a neural agent ask by a rule in a world it sees as embeddings, otherwise as `explore`."""

    def one(seed: int, advance: Callable[[int], object]) -> Curve:
        told = _Epochs(agent.updates, advance)
        return online.explore(
            NEURAL_WORLDS[world](seed), rule, interaction.but(seed=seed), agent, home(run, seed), progress=told
        )

    title = f"{rule.name}, {agent.head.kind}, {world}"
    return explored(run, title, one, range(interaction.seed, interaction.seed + seeds), interaction)


class _Epochs(SilentBar):
    """Counts epochs where the trainer counts updates."""

    def __init__(self, updates: int, advance: Callable[[int], object]) -> None:
        self.updates, self.tell, self.done = updates, advance, 0

    def advance(self, amount: float = 1) -> None:
        before, self.done = self.done // self.updates, self.done + int(amount)
        if self.done // self.updates > before:
            self.tell(self.done // self.updates - before)
