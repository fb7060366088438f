"""Worlds whose rewards are known exactly, in which a method of alignment can be measured in seconds."""
