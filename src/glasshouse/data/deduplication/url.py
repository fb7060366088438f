"""Documents with the same address: Dolma's first de-duplication (arXiv 2402.00159, section 5; 53.2 % of the pages)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, field_validator

from glasshouse.data.deduplication.exact import digests
from glasshouse.data.deduplication.grouping import Rows, first_rows, whole_keys
from glasshouse.data.deduplication.keys import NO_KEY, Keys
from glasshouse.data.deduplication.selector import parsed, selected
from glasshouse.data.executor import Executor
from glasshouse.store.configuration import Config

_ADDRESS = re.compile(
    r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?"
)
_PORTS = {"http": ":80", "https": ":443", "ftp": ":21"}


class UniqueUrl(Config):
    """Documents with the same key, by 128 bits of BLAKE2b. A document without a key is nobody's duplicate.

    Attributes:
        selector: path to the key, a string or whole number; `$.metadata.url` by default.
        normalise: compare addresses in the form `normalised` gives them; as they stand otherwise, as Dolma does.
        skip_empty: a key of white space only counts as none (Dolma's default is to compare it).
        minimum_length: shorter keys (characters) count as none.
    """

    name: Literal["url"] = "url"
    selector: str = "$.metadata.url"
    normalise: bool = False
    skip_empty: bool = True
    minimum_length: int = Field(default=0, ge=0)

    @field_validator("selector")
    @classmethod
    def _understood(cls, selector: str) -> str:
        parsed(selector)
        return selector

    @property
    def width(self) -> int:
        return 2

    def keys(self, batch: pa.RecordBatch) -> Iterator[str | None]:
        """The key of every document, as it is compared; `None` where it has none."""
        for value in selected(batch, self.selector):
            is_number = isinstance(value, int) and not isinstance(value, bool)
            key = str(value) if is_number else value
            if not isinstance(key, str) or len(key) < self.minimum_length or (self.skip_empty and not key.strip()):
                yield None
            else:
                yield normalised(key) if self.normalise else key

    def sign(self, batch: pa.RecordBatch) -> npt.NDArray[np.uint64]:
        """`[rows, 2]`: the digest of every key."""
        keys = list(self.keys(batch))
        # JSON may hold lone surrogates; they are told apart here, not refused.
        signed = digests((key or "").encode("utf-8", "surrogatepass") for key in keys)
        signed[[key is None for key in keys]] = NO_KEY
        return signed

    def keepers(
        self, keys: Keys | npt.NDArray[np.uint64], executor: Executor | None = None, partitions: int | None = None
    ) -> Rows:
        """For every row the smallest row with an equal key; `partitions` (a power of two) changes only memory."""
        keys = whole_keys(keys)
        return first_rows([keys.column(0), keys.column(1)], executor, partitions)


def normalised(address: str) -> str:
    """An address such that different spellings of the same page are equal.

    White space around it, the fragment, user names and the scheme's own port are dropped; scheme and host are in lower
    case, a point behind the host is dropped, `https` is written `http`, and an empty path `/`. Path and query stay as
    they are, for they can be case-sensitive. What is no address (no `scheme://`) only loses white space around it.
    """
    address = address.strip()
    found = _ADDRESS.match(address)
    if found is None:
        return address
    scheme, host = found["scheme"].lower(), found["authority"].rpartition("@")[2].lower()
    host = host.removesuffix(_PORTS.get(scheme, "")).removesuffix(":").rstrip(".")
    return f"{'http' if scheme == 'https' else scheme}://{host}{found['path'] or '/'}{found['query'] or ''}"


def url(selector: str = "$.metadata.url", normalise: bool = False) -> UniqueUrl:
    """Remove documents whose address is equal to an earlier one's."""
    return UniqueUrl(selector=selector, normalise=normalise)
