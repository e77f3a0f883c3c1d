"""What mee evaluate does."""
