"""The tasks of the benchmark, written from a seed: exact gold, a dial of difficulty, nothing to download."""
