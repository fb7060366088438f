"""Mixing: typed filters over columns, replaced spans, weights, re-sharding; Dolma's mixing files imported."""
