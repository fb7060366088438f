"""The sorted suffixes of a text: what exact search and the search for repeated substrings both stand on.

Sorting is `libdivsufsort`'s (Mori; Fischer and Kurpicz 2017, arXiv 1710.01896), through `pydivsufsort`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LARGEST = 2**31 - 1
"""Most bytes of one suffix array: its entries are int32."""


def sorted_suffixes(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """The suffix array of at most 2 GiB of bytes; needs 4 more bytes of memory per byte.

    Raises:
        ModuleNotFoundError: pydivsufsort is not installed (`pip install 'glasshouse[search]'`).
        ValueError: the text is empty or too long.
    """
    try:
        from pydivsufsort import divsufsort
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("pydivsufsort is not installed: pip install 'glasshouse[search]'") from error
    if not 0 < len(text) <= LARGEST:
        raise ValueError(f"a suffix array holds 1 to {LARGEST} bytes, got {len(text)}: use smaller shards")
    # The library only reads, but takes no read-only array.
    writable = text if text.flags.writeable and text.flags.c_contiguous else text.copy()
    return np.asarray(divsufsort(writable), dtype=np.int32)
