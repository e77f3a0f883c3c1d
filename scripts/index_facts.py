"""What an index is told of each clip of a store, besides its vectors.

    video start_s end_s                                   the moment
    file_seconds file_bytes width height fps              its whole file, as far as the store knows, for filters
    video_codec audio_codec audio_rate
    version                                               of what its vectors were made from

A version is a digest of the clip's place and file, and of the streams that the model reads: whether the clip has
them, which extractor made them, and how often the store began them anew. So it changes when a file was replaced
and extracted again, and when a stream was extracted or imported again with --overwrite; not when shards are
merged, nor when a stream is added that the model does not read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from features.store.feature_store import FeatureStore

PLACE = ("video", "start_s", "end_s")
FILE = {
    "file_seconds": "Float64",
    "file_bytes": "Int64",
    "width": "Int64",
    "height": "Int64",
    "fps": "Float64",
    "video_codec": "string",
    "audio_codec": "string",
    "audio_rate": "Int64",
}
VERSION = "version"
DIGITS = 16
BETWEEN = "\x1f"


def facts_of(store: FeatureStore, modalities: Sequence[str]) -> pd.DataFrame:
    """The table above, of all usable clips: index clip_id.

    Args:
        store: which has the streams of the model.
        modalities: that the model reads.
    """
    clips = store.clips
    place = clips[list(PLACE)]
    file = clips[list(FILE)].astype(FILE)
    file["file_bytes"] = file["file_bytes"].mask(file["file_bytes"] == 0)  # an import knows of no file
    return place.join(file).assign(**{VERSION: _versions(store, modalities)})


def _versions(store: FeatureStore, modalities: Sequence[str]) -> list[str]:
    """Of each usable clip, in their order."""
    keys = store.manifest.keys
    told = hashlib.sha256(BETWEEN.join(f"{name} {keys[name]}" for name in modalities).encode())
    columns = [store.clips[name].tolist() for name in (*PLACE, "file_bytes", "file_sha256", *modalities)]
    versions = []
    for row in zip(*columns):
        digest = told.copy()
        digest.update(BETWEEN.join(map(str, row)).encode())
        versions.append(digest.hexdigest()[:DIGITS])
    return versions
