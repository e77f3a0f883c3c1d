"""Exact scores, and proofs that nothing better was missed."""
