"""Layers shared by the text side and the video side."""
