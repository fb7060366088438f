"""Alignment: preferences, reward models, exploration, transforms of rewards and policies that follow them."""
