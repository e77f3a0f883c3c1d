"""Captions and streams -> a trained model."""
