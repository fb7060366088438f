"""The compiled filter before the patterns of `pii.py`. Importing this imports numba; import it inside functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.signals.kernels import compiled


@compiled
def suspicious_lines(offsets: Any, data: Any, found: Any) -> int:
    """Lines that could hold personal information: an `@`, seven digits, or four digits and three dots.

    No pattern crosses a line end, so the patterns need to see these lines only.

    Args:
        offsets, data: an Arrow text column.
        found: `[room, 4]` to fill with (document, first byte, end byte, characters of the document before the line).

    Returns the number of such lines, which may be more than `room`; then call again with that much room.
    """
    count = 0
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        line, before, characters = start, 0, 0
        signs = digits = dots = 0
        for at in range(start, end + 1):
            byte = np.int64(data[at]) if at < end else 10
            if byte == 10:
                if signs > 0 or digits >= 7 or (digits >= 4 and dots >= 3):
                    if count < len(found):
                        found[count, 0], found[count, 1], found[count, 2], found[count, 3] = document, line, at, before
                    count += 1
                line, before = at + 1, characters + 1
                signs = digits = dots = 0
            elif byte == 64:
                signs += 1
            elif byte == 46:
                dots += 1
            elif 48 <= byte <= 57:
                digits += 1
            characters += (byte & 0xC0) != 0x80
    return count
