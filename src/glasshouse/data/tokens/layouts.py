"""Token shards in the layouts that other trainers read, and back.

glasshouse   `tokens-*.bin`, `spans-*.parquet`, `shards.json` (`shard_reader.py`)
olmo         `part-*.npy` without a header and `part-*.csv.gz` (`layout_olmo.py`)
megatron     `tokens-*.bin`, `tokens-*.idx` (`layout_megatron.py`)
nanogpt      one `<split>.bin` (`layout_nanogpt.py`)
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, cast, get_args

from glasshouse.data.tokens.layout_reading import Documents, ImportedDocument, LayoutError, write_imported
from glasshouse.data.tokens.shard_reader import ShardManifest, TokenShards

Layout = Literal["glasshouse", "olmo", "megatron", "nanogpt"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


def export_shards(shards: TokenShards, directory: str | Path, layout: Layout) -> list[Path]:
    """Writes shards in another layout, one shard at a time, and returns the files.

    Raises:
        LayoutError: the layout is the shards' own, or cannot hold their ids.
        DiskFullError: naming the file.
    """
    module = _module(layout)
    home = Path(directory)
    home.mkdir(parents=True, exist_ok=True)
    return module.export(shards, home)


def import_shards(
    source: str | Path, directory: str | Path, layout: Layout, *, vocabulary: int, eos_id: int, dtype: str = "uint16"
) -> ShardManifest:
    """Reads another layout into `directory`, which becomes a split of token shards.

    Args:
        source: what `export_shards` wrote into: a directory, or one file of it.
        vocabulary: every id must be below it.
        eos_id: ends every document; where it is missing it is added.
        dtype: of the raw ids, where the layout does not say (olmo, nanogpt).

    Raises:
        FileNotFoundError: nothing of that layout there.
        LayoutError: the files do not fit together, or an id is outside the vocabulary.
    """
    documents: Iterator[ImportedDocument] = _module(layout).read(Path(source), dtype, eos_id)
    return write_imported(documents, Path(directory), vocabulary, eos_id)


def _module(layout: str) -> Documents:
    if layout not in LAYOUTS or layout == "glasshouse":
        others = ", ".join(name for name in LAYOUTS if name != "glasshouse")
        raise LayoutError(f"there is no other layout {layout!r}; there are: {others}")
    return cast("Documents", importlib.import_module(f"glasshouse.data.tokens.layout_{layout}"))


__all__ = ["LAYOUTS", "Layout", "LayoutError", "export_shards", "import_shards"]
