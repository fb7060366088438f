"""An embedder without a model: hashed character n-grams. It sees spelling, not meaning, and says so in its name."""

from __future__ import annotations

import hashlib
import math

from glasshouse.symbolic.call import Call, Reply
from glasshouse.symbolic.values import as_text


class HashedNgrams:
    """Counts of character n-grams, hashed with a sign into `width` places, of length 1 (Weinberger et al. 2009).

    For tests and for machines without an embedding model; two texts are near when they are spelt alike.
    """

    def __init__(self, width: int = 512, sizes: tuple[int, ...] = (2, 3, 4), name: str = "hashed-ngrams") -> None:
        if width < 1 or not sizes or min(sizes) < 1:
            raise ValueError(f"HashedNgrams takes a width and sizes of at least 1, got {width}, {sizes}")
        self.name = name
        self.kinds = frozenset(("embed",))
        self._width, self._sizes = width, sizes

    def run(self, call: Call) -> Reply:
        """The vector of the call's one text."""
        return Reply(self.embed(as_text(call.inputs[0])), model=f"{self.name}-{self._width}")

    def embed(self, text: str) -> list[float]:
        """The vector of a text; all zero for an empty one."""
        counts = [0.0] * self._width
        padded = f" {text.lower()} " if text else ""
        for size in self._sizes:
            for start in range(len(padded) - size + 1):
                gram = padded[start : start + size].encode("utf-8", "surrogatepass")
                digest = int.from_bytes(hashlib.blake2b(gram, digest_size=8).digest(), "big")
                counts[(digest >> 1) % self._width] += 1.0 if digest & 1 else -1.0
        length = math.sqrt(math.fsum(count * count for count in counts))
        return [count / length for count in counts] if length else counts
