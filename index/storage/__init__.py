"""What lies on disk, and its one writer."""
