"""Score files of other systems."""
