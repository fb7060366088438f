"""Choosing what stays: rules, judging, de-duplication across shards, and the finished corpus."""
