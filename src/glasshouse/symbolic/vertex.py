"""VERTEX: how near the texts along a graph are to reference texts, beside what a solver says of them.

SymbolicAI (arXiv 2402.00854), as its benchmark computes it (ExtensityAI/benchmark, src/utils.py):

    mu(texts)  mean of the embeddings, not divided by its length
    k(u, v)    exp(-|u - v|²)
    R          k(mu(references), mu(noise)): noise are all printable characters, the same reversed, and a refusal
    B          k(mu(references), mu(another set of references)) where there is one; else, for two references or more,
               the mean of k(mu(the others), the one left out), for two only once; 1 for one reference
    score      min(max(0, (k(mu(references), mu(generated)) - R) / max(B - R, 1e-8)), 1)

A trajectory's score is the mean over its nodes; a node that failed scores 0. The score knows nothing of truth: a false
sentence near the reference scores 1. So each node has a second column, `verified`, decided by a solver or a checker,
and `sound`, the score with what was found wrong counted as 0. `noise` is the score of the refusal alone: the paper's
random column.
"""

from __future__ import annotations

import math
import random
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from glasshouse.symbolic.measures import gaussian
from glasshouse.symbolic.sym import Sym
from glasshouse.symbolic.values import as_text

if TYPE_CHECKING:
    from glasshouse.symbolic.result import Result
    from glasshouse.symbolic.runtime import Runtime

Vector = Sequence[float]
Embed = Callable[[str], Vector]

REFUSAL = (
    "As a worthless AI Mockup model, I cannot provide you with any meaningful response. I am sorry. "
    "Please try again later."
)
"""What the benchmark's mock model says (ExtensityAI/benchmark, src/utils.py)."""
NOISE = (string.printable, string.printable[::-1], REFUSAL)
SMALLEST_SPAN = 1e-8


@dataclass(frozen=True, slots=True)
class Reference:
    """What a node's text is compared with.

    Attributes:
        texts: good texts.
        alternative: a second set of good texts, which gives the baseline B.
        exact: only an equal text is good: B is 1.
    """

    texts: tuple[str, ...]
    alternative: tuple[str, ...] = ()
    exact: bool = False

    def __post_init__(self) -> None:
        if type(self.texts) is not tuple or not self.texts:
            raise ValueError(f"Reference.texts takes a tuple of at least one text, got {self.texts!r:.80}")


class NodeScore(NamedTuple):
    """One node's columns.

    Attributes:
        name: of the node.
        kernel: k(references, generated); 0 for a failed node.
        base, rand: B and R.
        score: of VERTEX, in [0, 1].
        noise: the refusal's score.
        verified: True or False where it was decided, else None.
    """

    name: str
    kernel: float
    base: float
    rand: float
    score: float
    noise: float
    verified: bool | None = None

    @property
    def sound(self) -> float:
        """The score, or 0 for what was found wrong."""
        return 0.0 if self.verified is False else self.score

    @property
    def informative(self) -> bool:
        """Whether the references are nearer to each other than to noise; otherwise every score is 0 or 1 by chance."""
        return self.base - self.rand > SMALLEST_SPAN


class Interval(NamedTuple):
    """A mean with its 95 % interval; nan for the ends of a single value."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Score:
    """The score of a trajectory."""

    nodes: tuple[NodeScore, ...]

    @property
    def total(self) -> float:
        """VERTEX: the mean over the nodes."""
        return _mean([node.score for node in self.nodes])

    @property
    def sound(self) -> float:
        """The mean with what was found wrong counted as 0."""
        return _mean([node.sound for node in self.nodes])

    @property
    def noise(self) -> float:
        """What the refusal would score."""
        return _mean([node.noise for node in self.nodes])

    @property
    def verified(self) -> float | None:
        """The share of nodes found right among those decided; None when none was."""
        decided = [float(node.verified) for node in self.nodes if node.verified is not None]
        return _mean(decided) if decided else None

    def table(self) -> str:
        """The nodes' columns as a Markdown table."""
        words = {None: "", True: "yes", False: "**no**"}
        lines = ["| node | k | B | R | VERTEX | noise | verified |", "|---|---|---|---|---|---|---|"]
        for node in self.nodes:
            numbers = " | ".join(f"{value:.3f}" for value in node[1:6])
            lines.append(f"| {node.name} | {numbers} | {words[node.verified]} |")
        return "\n".join(lines) + "\n"


class Vertex:
    """Scores texts against references, with one embedder; noise is embedded once."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._noise = self._mu(NOISE)
        self._refusal = self._mu([REFUSAL])

    def node(
        self, name: str, generated: Sequence[str] | None, reference: Reference, verified: bool | None = None
    ) -> NodeScore:
        """One node's columns; `generated` is None when the node failed."""
        middle = self._mu(reference.texts)
        rand = gaussian(middle, self._noise)
        base = self._base(middle, reference)
        kernel = gaussian(middle, self._mu(generated)) if generated else 0.0
        score = normalised(kernel, base, rand) if generated else 0.0
        return NodeScore(
            name, kernel, base, rand, score, normalised(gaussian(middle, self._refusal), base, rand), verified
        )

    def trajectory(
        self,
        generated: Sequence[str | None],
        references: Sequence[Reference],
        verified: Sequence[bool | None] = (),
        names: Sequence[str] = (),
    ) -> Score:
        """The score of texts along a graph, node by node; missing ones count as failed.

        Raises `ValueError` when there are more texts than references.
        """
        if len(generated) > len(references) or not references:
            raise ValueError(f"{len(generated)} texts cannot be scored against {len(references)} references")
        rows = zip_longest(references, generated, verified, names)
        return Score(
            tuple(
                self.node(name or f"node {number}", None if text is None else [text], reference, decided)
                for number, (reference, text, decided, name) in enumerate(rows, 1)
            )
        )

    def _base(self, middle: Vector, reference: Reference) -> float:
        if reference.exact:
            return 1.0
        if reference.alternative:
            return gaussian(middle, self._mu(reference.alternative))
        vectors = [list(self._embed(text)) for text in reference.texts]
        if len(vectors) == 1:
            return 1.0
        folds = range(1 if len(vectors) == 2 else len(vectors))
        return _mean([gaussian(_middle(vectors[:place] + vectors[place + 1 :]), vectors[place]) for place in folds])

    def _mu(self, texts: Sequence[str]) -> list[float]:
        return _middle([self._embed(text) for text in texts])


def normalised(kernel: float, base: float, rand: float) -> float:
    """(k - R) / (B - R), kept in [0, 1]."""
    return min(max(0.0, (kernel - rand) / max(base - rand, SMALLEST_SPAN)), 1.0)


def embedding(runtime: Runtime) -> Embed:
    """The embedder of a runtime; every text is embedded once."""
    return lambda text: runtime.run(Sym(text).sem.embed()).value


def vertex(result: Result, reference: Result, embed: Embed) -> Score:
    """Compare two runs: the texts of what their engines answered, in order, and what was verified of the first."""
    ours = [record for record in result.records.values() if record.asked]
    theirs = [record for record in reference.records.values() if record.asked]
    return Vertex(embed).trajectory(
        [as_text(record.value) for record in ours[: len(theirs)]],
        [Reference((as_text(record.value),)) for record in theirs],
        [record.verified for record in ours[: len(theirs)]],
        [record.node.op for record in theirs],
    )


def interval(values: Sequence[float], seed: int = 0, draws: int = 2000) -> Interval:
    """The mean with a percentile interval over resampled values [Efron 1979]. Raises `ValueError` for no values."""
    if not values:
        raise ValueError("no values have no mean")
    if len(values) == 1:
        return Interval(values[0], math.nan, math.nan)
    generator = random.Random(seed)  # noqa: S311 - resampling, no secret
    means = sorted(_mean(generator.choices(values, k=len(values))) for _ in range(draws))
    return Interval(_mean(values), means[round(0.025 * (draws - 1))], means[round(0.975 * (draws - 1))])


def paper_total(categories: Mapping[str, Sequence[float]]) -> float:
    """The mean over categories of the mean over each one's tests."""
    return _mean([_mean(scores) for scores in categories.values()])


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _middle(vectors: Sequence[Vector]) -> list[float]:
    """The mean vector; `fsum`, so that no order of the texts changes a bit of it."""
    return [_mean(column) for column in zip(*vectors, strict=True)]
