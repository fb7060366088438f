"""Evaluation: what a model can do, always printed beside what a trivial method does."""
