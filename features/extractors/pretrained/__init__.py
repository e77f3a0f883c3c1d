"""Extractors of pretrained models."""
