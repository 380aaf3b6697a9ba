"""Keeping a store in order: verify, vacuum, pack, merge."""
