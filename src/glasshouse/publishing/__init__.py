"""Publishing a model: a folder others can load, read about and check; the same as GGUF."""
