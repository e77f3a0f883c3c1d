"""Open, probe, decode by time, cut into clips."""
