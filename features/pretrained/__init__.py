"""Streams made by pretrained models, through transformers and OpenCV."""
