"""What is asked: sentences, filters, grouping."""
