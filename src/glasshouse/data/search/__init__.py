"""Exact and ranked search over a corpus: suffix arrays, longest matching spans, BM25."""
