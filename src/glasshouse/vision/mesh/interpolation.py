"""Between two prompts: their texts' tokens mixed, and every mixture read by the generator as a text of its own."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def between(
    start: Float[Tensor, "length text"], end: Float[Tensor, "length text"], shares: Float[Tensor, " n"]
) -> Float[Tensor, "n length text"]:
    """Tokens on the straight line from `start` (share 0) to `end` (share 1).

    Raises `ValueError` for shares outside [0, 1]: beyond the two texts nothing was ever trained.
    """
    if len(shares) == 0 or bool((shares < 0).any()) or bool((shares > 1).any()):
        raise ValueError(f"shares of the second prompt lie in [0, 1], got {shares.tolist()}")
    share = shares.reshape(-1, 1, 1).to(start)
    return (1 - share) * start + share * end
