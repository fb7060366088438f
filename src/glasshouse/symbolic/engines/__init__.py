"""Engines that answer calls: language models behind HTTP or in this process, recordings, rules, embedders."""
