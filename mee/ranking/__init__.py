"""Scores in blocks -> expected ranks, in bounded memory."""
