"""Shard: one shard of an index in an actor, which scores its clips for a server."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.queries import Queries
from index.request import Chain, Request, sequences_of
from index.scanners import Floats, Rows
from index.storage import Snapshot, read_snapshot, refreshed
from index.video_index import Masks, VideoIndex
from mee.errors import InputError, Unavailable

Bits = Sequence[NDArray[np.uint8] | None]  # of each segment, a packed mask; None: all rows


def version_of(snapshot: Snapshot) -> str:
    """What a server and an actor call the same state of a shard: it names the content of all files."""
    return "" if snapshot.source is None else sha256(snapshot.source[1]).hexdigest()


class Shard:
    """Two versions of a shard: the one that was searched last, and the one that a server goes on to."""

    def __init__(self, folder: str) -> None:
        self._folder, self._searched = Path(folder), ""
        self._held: dict[str, VideoIndex] = {}

    def open(self, version: str) -> None:
        """Hold a version.

        Raises:
            InputError: this node does not see the folder, the shard is damaged, or it has another version now.
        """
        self._at(version)

    def rank(
        self, version: str, where: Bits | None, queries: Queries, k: int, options: dict[str, Any]
    ) -> tuple[Floats, Rows, Rows]:
        """As `VideoIndex.rank`: (Q, K) scores, and numbers of the shard's partitions and rows in them, or -1."""
        index, masks = self._asked(version, where)
        ranked = index.rank(queries, k, where=masks, **options)
        places = {(its.segment, its.pattern): n for n, its in enumerate(index.snapshot.partitions)}
        number = np.array([*(places[its.segment, its.pattern] for its in ranked.partitions), -1], dtype=np.int64)
        return ranked.scores, number[ranked.number], ranked.row

    def sequences(self, version: str, where: Bits | None, queries: Queries, request: Request) -> list[Chain]:
        """As `sequences_of`: a video is in one shard as a whole."""
        index, masks = self._asked(version, where)
        return sequences_of(index, queries, request, masks)

    def _asked(self, version: str, where: Bits | None) -> tuple[VideoIndex, Masks | None]:
        index = self._at(version)
        self._searched = version
        if where is None:
            return index, None
        sizes = (len(segment.table) for segment in index.snapshot.segments)
        return index, [
            None if its is None else np.unpackbits(its, count=n).astype(bool) for its, n in zip(where, sizes)
        ]

    def _at(self, version: str) -> VideoIndex:
        if version not in self._held:
            if not self._folder.is_dir():
                raise InputError(
                    f"node {socket.gethostname()} does not see '{self._folder}'; put the index on a file system "
                    "that all nodes have at the same place"
                )
            known = next(reversed(self._held.values()), None)
            now = read_snapshot(self._folder) if known is None else refreshed(known.snapshot)
            if version_of(now) != version:
                raise Unavailable(f"'{self._folder}' is of another generation now; search again")
            kept = {name: its for name, its in self._held.items() if name == self._searched}
            self._held = kept | {version: VideoIndex(now)}
        return self._held[version]
