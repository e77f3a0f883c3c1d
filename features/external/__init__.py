"""Features made elsewhere -> store."""
