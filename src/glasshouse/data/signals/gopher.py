"""Gopher's line rules in the dialect of Dolma's `gopher_v2`: lines are split at runs of \\n, so blank ones do not count
(Rae et al., arXiv 2112.11446, table A1). Its other signals equal those of the core family (`gopher_v1`).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa

from glasshouse.data.document import text_buffers
from glasshouse.data.signals.signal import Signal, measure
from glasshouse.store.configuration import Config

_SOURCE = "arXiv 2112.11446, table A1; Dolma gopher_v2"
_BETWEEN = "lines being separated by runs of \\n"


class GopherSecond(Config):
    """What `gopher_v2` measures otherwise than `gopher_v1`."""

    name: Literal["gopher_v2"] = "gopher_v2"

    @property
    def signals(self) -> tuple[Signal, ...]:
        return tuple(
            measure(f"gopher_v2_fraction_of_{name}", "share", f"share of lines that {doc}, {_BETWEEN}", _SOURCE)
            for name, doc in (
                ("lines_starting_with_bullet_point", "start with * or -"),
                ("lines_ending_with_ellipsis", "end with …"),
                ("duplicate_lines", "occur more than once"),
            )
        )

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        from glasshouse.data.signals import line_kernel

        offsets, data = text_buffers(batch)
        shares = np.empty((batch.num_rows, 3))
        line_kernel.gopher_runs(offsets, data, shares)
        return [pa.array(shares[:, column]) for column in range(3)]
