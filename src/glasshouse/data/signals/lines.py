"""The 64-bit hashes of lines that Gopher's duplicate lines are found by, for others to use."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glasshouse.data.document import text_buffers


def line_hashes(batch: pa.RecordBatch) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """`counts[rows]`, the lines of every document (one more than its \\n), and `keys[sum(counts)]`, their hashes in
    order: equal lines have equal hashes, on every machine.
    """
    from glasshouse.data.signals import line_kernel

    offsets, data = text_buffers(batch)
    counts = np.zeros(batch.num_rows, np.int64)
    line_kernel.count_lines(offsets, data, counts)
    keys = np.empty(int(counts.sum()), np.uint64)
    line_kernel.hash_lines(offsets, data, keys)
    return counts, keys
