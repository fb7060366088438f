"""Count-based language models over tokens: the baselines a trained model must beat.

Interpolated n-gram probabilities with Witten-Bell smoothing (Witten & Bell 1991, method C):

    p_n(w | h) = (c(h w) + t(h) p_{n-1}(w | h')) / (c(h) + t(h))

where c counts, t(h) is the number of different tokens seen after h, h' is h without its first token, and
p_0 is uniform over the vocabulary. Order 1 is the unigram model.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int64]


class NGram:
    """An interpolated n-gram model.

    Args:
        tokens: the training stream; documents follow each other with an end-of-sequence token between them.
        vocabulary: number of token ids.
        order: n, at least 1; `order` tokens must fit into 63 bits.

    Raises:
        ValueError: no tokens, a token id outside the vocabulary, or an order that does not fit.
    """

    def __init__(self, tokens: npt.ArrayLike, vocabulary: int, order: int) -> None:
        stream: Tokens = np.asarray(tokens, dtype=np.int64).ravel()
        self.bits = max(1, int(vocabulary - 1).bit_length())
        if not 1 <= order <= 63 // self.bits:
            raise ValueError(f"order {order} must be 1 to {63 // self.bits} for a vocabulary of {vocabulary}")
        if stream.size < order or stream.min() < 0 or stream.max() >= vocabulary:
            raise ValueError(f"an order-{order} model needs at least {order} tokens, all in [0, {vocabulary})")
        self.vocabulary, self.order = vocabulary, order
        self.tables = [self._count(stream, length) for length in range(1, order + 1)]

    def _count(self, stream: Tokens, length: int) -> tuple[Tokens, Tokens, Tokens, Tokens, Tokens]:
        grams, counts = np.unique(self._keys(stream, length), return_counts=True)
        histories, first = np.unique(grams >> self.bits, return_index=True)
        kinds = np.diff(np.append(first, grams.size))
        totals = np.add.reduceat(counts, first)
        return grams, counts, histories, totals, kinds

    def _keys(self, stream: Tokens, length: int) -> Tokens:
        keys = np.zeros(stream.size - length + 1, dtype=np.int64)
        for offset in range(length):
            keys = (keys << self.bits) | stream[offset : stream.size - length + 1 + offset]
        return keys

    def nats(self, tokens: npt.ArrayLike, history: int) -> npt.NDArray[np.float64]:
        """-ln p of every token of a document given the tokens before it.

        Args:
            tokens: token ids of one document.
            history: the token taken to stand before the document (the end-of-sequence token).

        Returns:
            One value per token, in nats.
        """
        stream: Tokens = np.asarray(tokens, dtype=np.int64).ravel()
        padded = np.concatenate([np.full(self.order - 1, history, dtype=np.int64), stream])
        probability = np.full(stream.size, 1.0 / self.vocabulary)
        for length, (grams, counts, histories, totals, kinds) in enumerate(self.tables, start=1):
            keys = self._keys(padded[self.order - length :], length)
            count = _lookup(grams, counts, keys)
            total = _lookup(histories, totals, keys >> self.bits)
            kind = _lookup(histories, kinds, keys >> self.bits)
            known = total > 0
            mixed = (count + kind * probability) / np.where(known, total + kind, 1)
            probability = np.where(known, mixed, probability)
        return np.asarray(-np.log(probability))


def _lookup(sorted_keys: Tokens, values: Tokens, keys: Tokens) -> Tokens:
    place = np.minimum(np.searchsorted(sorted_keys, keys), sorted_keys.size - 1)
    return np.where(sorted_keys[place] == keys, values[place], 0)
