"""Paragraphs as Dolma cuts them: a line with its line end; those of white space only are left out.

Importing this imports numba; import it inside functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from glasshouse.data.signals.kernels import SPACE, all_rows, character_classes, compiled, decode

DOCUMENT, FIRST_BYTE, END_BYTE, FIRST_CHARACTER, END_CHARACTER = range(5)


@compiled
def _cut(offsets: Any, data: Any, classes: Any, found: Any) -> int:
    count = 0
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        line, character, characters = at, 0, 0
        inked = False
        while at < end:
            code, width = decode(data, at)
            at += width
            characters += 1
            inked = inked or (classes[code] & SPACE) == 0
            if code == 10 or at == end:
                if inked:
                    if count < len(found):
                        found[count, 0], found[count, 1], found[count, 2] = document, line, at
                        found[count, 3], found[count, 4] = character, characters
                    count += 1
                line, character, inked = at, characters, False
    return count


def paragraph_ranges(offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """`[paragraphs, 5]`: document, first byte, end byte, first character, end character (characters from the document's
    start). The line end belongs to the paragraph.
    """
    classes = character_classes()
    return all_rows(lambda found: _cut(offsets, data, classes, found), 5)
