"""SHA-256 of a file, or of a folder of one file a clip."""

from __future__ import annotations

import hashlib
from pathlib import Path

from features.external.formats import clip_files


def sha256_of(path: Path) -> str:
    """Sixty-four hexadecimal digits; of a folder, over the names and digests of its files."""
    if path.is_dir():
        parts = [f"{sha256_of(file)} {clip_id}\n" for clip_id, file in clip_files(path).items()]
        return hashlib.sha256("".join(parts).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
