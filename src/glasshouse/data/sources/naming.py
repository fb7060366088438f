"""What files are called in origins and in the quarantine: by names that do not depend on where the inputs lie.

A file is called by its path below the entry that was named: a directory, the folder of a file, or a pattern up to its
first mark. Where several such roots are named, the shortest end of each that tells it from the others stands before:
`/data/a` and `/data/b` give `a/x.jsonl` and `b/x.jsonl`, whatever is in them. So equal inputs in another place give
equal bytes; where they lay is in the record of what was made (`corpus.ROOTS`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from glasshouse.data.corpus import read_roots

if TYPE_CHECKING:
    from glasshouse.data.sources.inputs import InputShard

_LINKS = re.compile(r"((?:[a-z0-9]+::)*)((?:(?!::).)*)(.*)", re.DOTALL)


def root_names(roots: Iterable[str]) -> dict[str, str]:
    """What each root is called: nothing where there is one; else no name is another's, or the beginning of another's.

    Only where two cannot be told apart by their folders (`s3://b/x`, `gs://b/x`) it is the whole path.
    """
    different = list(dict.fromkeys(roots))
    if len(different) < 2:
        return dict.fromkeys(different, "")
    lengths = dict.fromkeys(different, 1)
    while True:
        names = {root: _end(root, length) for root, length in lengths.items()}
        owners = Counter(names.values())
        inside = {above for name in owners for above in _above(name)}
        unclear = [root for root, name in names.items() if name != root and (owners[name] > 1 or name in inside)]
        if not unclear:
            return names
        for root in unclear:
            lengths[root] += 1


def recorded_roots(shards: Iterable[InputShard]) -> dict[str, str]:
    """Roots by what they are called; of a corpus those it was made from, for its documents keep their origins."""
    found: dict[str, str] = {}
    for root, name in {shard.root: shard.root_name for shard in shards if shard.root}.items():
        found |= ("://" not in root and read_roots(root)) or {name: root}
    return found


def _end(root: str, length: int) -> str:
    """The last folders of a root; all of it when there are no more."""
    links = reversed(root.split("::"))  # what is in an archive comes behind the archive
    folders = [part for link in links for part in re.sub(r"^[a-z0-9]+://", "", link).split("/") if part]
    return root if length > len(folders) else "/".join(folders[-length:])


def _above(name: str) -> Iterable[str]:
    """The folders that a name lies in."""
    at = name.find("/", 1)
    while at > 0:
        yield name[:at]
        at = name.find("/", at + 1)


def links(path: str) -> tuple[str, str, str]:
    """A path, what stands before it in a URL of several links, and what behind: `simplecache::`, `::archive.zip`."""
    before, own, behind = _LINKS.fullmatch(path).groups()  # type: ignore[union-attr]  # it matches everything
    return before, own, behind


def inside(path: str, name: str) -> str:
    """The path of a name below a directory, which may be in an archive: `zip://folder::archive.zip`."""
    before, own, behind = links(path)
    return f"{before}{own}{'' if own.endswith('/') else '/'}{name}{behind}" if name else path


def below(path: str, root: str) -> str:
    """The name of a path below a root of its."""
    return links(path)[1][len(links(root)[1]) :].strip("/")


def joined(names: Sequence[str]) -> str:
    """Parts of a name, empty ones left out."""
    return "/".join(name.rstrip("/") for name in names if name)
