"""Ranks -> figures and results."""
