"""Glasshouse grows generative models in plain sight: documents in, traced and evaluated models out."""

__version__ = "0.1.0"
