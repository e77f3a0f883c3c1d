"""Text encoders and the towers of aligned experts."""
