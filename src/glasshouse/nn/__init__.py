"""Modules: the transformer and its switches, attention, losses, and Hugging Face conversion."""
