"""The verdict of a datatrove filter from measured values: the reason is the first rule that fails, in its order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glasshouse.data.signals.signal import Signal, flag, label

SOURCE = "datatrove 0.10.1"

Failed = tuple[str, npt.NDArray[np.bool_]]
"""A reason and the documents it removes."""


def verdict_signals(dialect: str, reasons: tuple[str, ...]) -> tuple[Signal, Signal]:
    """The columns `<dialect>_keep` and `<dialect>_reason`."""
    return (
        flag(f"{dialect}_keep", f"whether the filter {dialect} keeps the document", SOURCE),
        label(f"{dialect}_reason", f"why {dialect} removes it, empty when kept: {', '.join(reasons)}", SOURCE),
    )


def verdict_columns(failed: list[Failed]) -> list[pa.Array[Any]]:
    """The two columns, from the rules in the order the filter tries them."""
    reasons = np.select([rows for _, rows in failed], [reason for reason, _ in failed], default="")
    return [pa.array(reasons == "", pa.bool_()), pa.array(reasons.tolist(), pa.string())]
