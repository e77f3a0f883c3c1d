"""Command lines, thin: parse, call a package, print."""
