"""Choosing what stays: rules, curation of a corpus, what-if, explanations and the datasheet."""
