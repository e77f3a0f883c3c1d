"""Scores of other systems, from their files, and the rank file."""
