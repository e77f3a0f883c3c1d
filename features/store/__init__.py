"""The on-disk format: read, append, verify, merge, export."""
