"""Videos x extractors -> store: isolated workers, limits, retries, resumable."""
