"""Symbolic composition: symbols, programs and engines in one graph; language models, solvers and plain Python."""
