"""Your own collection: the table of mee.data.tables, a row a caption.

    video_id, caption[, split][, query_id]

Queries without an id are called 1, 2, … in the file's order. Without a split, every caption is of the test, and
training holds videos out by its seed.
"""

from __future__ import annotations

from pathlib import Path

from mee.data import SPLITS, read_captions
from mee.protocols.files import AnnotationFiles
from mee.protocols.protocol import COLUMNS, Protocol, Reading


def read(protocol: Protocol, path: Path, _: str | None) -> Reading:
    """The captions of one's own table."""
    if path.is_dir():
        path = AnnotationFiles(path, protocol).need("captions.csv", "captions.parquet", "captions.jsonl")
    table = read_captions(path)
    if "query_id" not in table:
        table = table.assign(query_id=[str(number) for number in range(1, len(table) + 1)])
    table = table.astype({"query_id": "string"})[[column for column in COLUMNS if column in table]]
    if "split" in table:
        of_split = {split: tuple(table["video_id"][table["split"] == split].unique()) for split in SPLITS}
        ids = {split: videos for split, videos in of_split.items() if videos}
    else:
        ids = {"test": tuple(table["video_id"].unique())}
    return Reading(table=table, ids=ids, files={"captions": path})
