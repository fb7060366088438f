"""Token shards: written by `shard_writer.py`, read by `shard_reader.py`; these are the names to import."""

from glasshouse.data.tokens.shard_reader import (
    MANIFEST,
    SPANS,
    DocumentSpan,
    ShardEntry,
    ShardError,
    ShardManifest,
    TokenShards,
)
from glasshouse.data.tokens.shard_writer import HOLDOUT, TRAIN, write_shards

__all__ = [
    "HOLDOUT",
    "MANIFEST",
    "SPANS",
    "TRAIN",
    "DocumentSpan",
    "ShardEntry",
    "ShardError",
    "ShardManifest",
    "TokenShards",
    "write_shards",
]
