"""Captions, pairs, splits and leaks; the protocol of a source of streams."""
