"""Test videos that training has seen, or nearly."""
