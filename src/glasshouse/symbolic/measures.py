"""How alike two vectors are, and how far apart: the similarity metrics and kernels of SymbolicAI, by name.

Each takes two sequences of numbers of one length. Names and defaults follow the library of the paper; the Student-t
kernel is the density's form, (1 + d²/ν)^(-(ν + 1)/2), which the library wrote with another precedence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

Vector = Sequence[float]


def dot(u: Vector, v: Vector) -> float:
    """The inner product. Raises `ValueError` for vectors of different lengths, as all measures here do."""
    return math.fsum(a * b for a, b in zip(u, v, strict=True))


def cosine(u: Vector, v: Vector) -> float:
    """The cosine of the angle; 0 where a vector is zero."""
    length = math.sqrt(dot(u, u)) * math.sqrt(dot(v, v))
    return dot(u, v) / length if length else 0.0


def angular(u: Vector, v: Vector) -> float:
    """1 - angle / pi."""
    return 1 - math.acos(max(-1.0, min(1.0, cosine(u, v)))) / math.pi


def squared_distance(u: Vector, v: Vector) -> float:
    """|u - v|²."""
    return math.fsum((a - b) ** 2 for a, b in zip(u, v, strict=True))


def euclidean(u: Vector, v: Vector) -> float:
    """|u - v|."""
    return math.sqrt(squared_distance(u, v))


def manhattan(u: Vector, v: Vector) -> float:
    """The sum of the absolute differences."""
    return math.fsum(abs(a - b) for a, b in zip(u, v, strict=True))


def minkowski(u: Vector, v: Vector, power: float = 3.0) -> float:
    """The p-norm of the difference."""
    return float(math.fsum(abs(a - b) ** power for a, b in zip(u, v, strict=True)) ** (1 / power))


def jaccard(u: Vector, v: Vector) -> float:
    """sum min / sum max, of vectors without negative numbers; 1 for two zero vectors."""
    most = math.fsum(max(a, b) for a, b in zip(u, v, strict=True))
    return math.fsum(min(a, b) for a, b in zip(u, v, strict=True)) / most if most else 1.0


def gaussian(u: Vector, v: Vector, gamma: float = 1.0) -> float:
    """exp(-gamma |u - v|²): the kernel of VERTEX."""
    return math.exp(-gamma * squared_distance(u, v))


def laplacian(u: Vector, v: Vector, gamma: float = 1.0) -> float:
    """exp(-gamma |u - v|_1)."""
    return math.exp(-gamma * manhattan(u, v))


def polynomial(u: Vector, v: Vector, degree: int = 3, constant: float = 1.0) -> float:
    """(u·v + c)^degree."""
    return float((dot(u, v) + constant) ** degree)


def sigmoid(u: Vector, v: Vector, gamma: float = 1.0, constant: float = 0.0) -> float:
    """tanh(gamma u·v + c)."""
    return math.tanh(gamma * dot(u, v) + constant)


def cauchy(u: Vector, v: Vector, gamma: float = 1.0) -> float:
    """1 / (1 + |u - v|² / gamma²)."""
    return 1 / (1 + squared_distance(u, v) / gamma**2)


def student(u: Vector, v: Vector, freedom: float = 1.0) -> float:
    """(1 + |u - v|² / ν)^(-(ν + 1) / 2)."""
    return float((1 + squared_distance(u, v) / freedom) ** (-(freedom + 1) / 2))


def inverse_multiquadric(u: Vector, v: Vector, constant: float = 1.0) -> float:
    """1 / sqrt(|u - v|² + c²)."""
    return 1 / math.sqrt(squared_distance(u, v) + constant**2)


MEASURES: Mapping[str, Callable[[Vector, Vector], float]] = {
    function.__name__: function
    for function in (
        *(dot, cosine, angular, squared_distance, euclidean, manhattan, minkowski, jaccard, gaussian, laplacian),
        *(polynomial, sigmoid, cauchy, student, inverse_multiquadric),
    )
}


def measured(u: Vector, v: Vector, name: str = "cosine") -> float:
    """The measure called `name` of two vectors. Raises `ValueError` for an unknown name."""
    if name not in MEASURES:
        raise ValueError(f"no measure {name!r}; measures: {', '.join(MEASURES)}")
    return MEASURES[name](u, v)
