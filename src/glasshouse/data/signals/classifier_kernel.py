"""The compiled loops of the text classifier. Importing this imports numba; import it inside functions.

A token is a run of ASCII letters, digits, `_` and bytes from 0x80 on (so a word in any script), or any other byte that
is not ASCII white space, on its own. A feature is a token, or two tokens that follow each other, hashed into a bucket.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.signals.kernels import compiled, mixed

_START = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_PAIR = np.uint64(0x9E3779B97F4A7C15)
_WORD, _SPACE, _ALONE = 0, 1, 2


def _byte_kinds() -> Any:
    kinds = np.full(256, _ALONE, np.uint8)
    kinds[0x80:] = _WORD
    for byte in b"0123456789_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        kinds[byte] = _WORD
    for byte in b" \t\n\r\x0b\x0c":
        kinds[byte] = _SPACE
    return kinds


def _lowered(lower: bool) -> Any:
    table = np.arange(256, dtype=np.uint64)
    if lower:
        table[65:91] += np.uint64(32)
    return table


KINDS = _byte_kinds()
LOWERED, AS_IS = _lowered(True), _lowered(False)


@compiled
def _next_token(data: Any, at: Any, end: Any, kinds: Any, table: Any) -> Any:
    """Place behind the next token and its hash; the place is -1 when there is none."""
    while at < end and kinds[data[at]] == _SPACE:
        at += 1
    if at >= end:
        return np.int64(-1), _START
    hashed = _START
    if kinds[data[at]] == _ALONE:
        return at + 1, (hashed ^ table[data[at]]) * _PRIME
    while at < end and kinds[data[at]] == _WORD:
        hashed = (hashed ^ table[data[at]]) * _PRIME
        at += 1
    return at, hashed


@compiled
def bags(data: Any, starts: Any, ends: Any, kinds: Any, table: Any, mask: Any, most: Any, features: Any) -> Any:
    """Features of every range of bytes, one after the other: unigram, then the bigram it ends, token by token.

    Args:
        mask: buckets - 1, buckets being a power of two.
        most: features taken of one range at most.
        features: flat, to fill; counting goes on past its end.

    Returns offsets `[ranges + 1]` into the features.
    """
    offsets = np.zeros(len(starts) + 1, np.int64)
    count = np.int64(0)
    for row in range(len(starts)):
        at, end = np.int64(starts[row]), np.int64(ends[row])
        before, first, taken = np.uint64(0), True, 0
        while taken < most:
            at, hashed = _next_token(data, at, end, kinds, table)
            if at < 0:
                break
            if count < len(features):
                features[count] = np.int64(mixed(hashed) & mask)
            count += 1
            taken += 1
            if not first and taken < most:
                if count < len(features):
                    features[count] = np.int64(mixed(before * _PAIR + hashed) & mask)
                count += 1
                taken += 1
            before, first = hashed, False
        offsets[row + 1] = count
    return offsets


@compiled
def scores(
    data: Any, starts: Any, ends: Any, kinds: Any, table: Any, mask: Any, votes: Any, bias: Any, found: Any
) -> None:
    """Softmax of (mean vote of the features + bias) for every range of bytes.

    Args:
        votes: `[buckets, classes]`, the embedding already multiplied with the output layer: the mean commutes with it.
        found: `[ranges, classes]` to fill. A range without tokens gets the softmax of the bias.
    """
    classes = votes.shape[1]
    total = np.empty(classes)
    for row in range(len(starts)):
        at, end = np.int64(starts[row]), np.int64(ends[row])
        total[:] = 0.0
        before, count = np.uint64(0), 0
        while True:
            at, hashed = _next_token(data, at, end, kinds, table)
            if at < 0:
                break
            bucket = np.int64(mixed(hashed) & mask)
            for number in range(classes):
                total[number] += votes[bucket, number]
            if count > 0:
                bucket = np.int64(mixed(before * _PAIR + hashed) & mask)
                for number in range(classes):
                    total[number] += votes[bucket, number]
                count += 1
            count += 1
            before = hashed
        for number in range(classes):
            total[number] = total[number] / max(count, 1) + bias[number]
        highest = total.max()
        for number in range(classes):
            total[number] = np.exp(total[number] - highest)
        found[row] = total / total.sum()
