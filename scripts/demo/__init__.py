"""The demo: a small world of rendered videos, and the whole way through it."""
