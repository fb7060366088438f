"""From text to token shards: tokenizers, fast encoding, shards and the layouts others read."""
