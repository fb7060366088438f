"""Recipes: one module per paper, and the quickstart. Each reads like a methods section and ends in its claims."""
