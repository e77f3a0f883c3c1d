"""Extractors that need no download."""
