"""Dialogue state tracking: what has the user asked for so far?"""
