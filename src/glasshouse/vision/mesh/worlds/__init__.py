"""Worlds whose shapes and pictures are known exactly."""
