"""Clip -> stream."""
