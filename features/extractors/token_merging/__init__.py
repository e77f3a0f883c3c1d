"""Token merging (Bolya et al., arXiv 2210.09461) from outside a model."""
