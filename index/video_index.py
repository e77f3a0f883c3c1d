"""VideoIndex: exact search under missing streams.

Clips with the same availability pattern A lie in one FAISS flat sub-index that holds the packed columns of A only.
Within it the score of mee.scoring is the inner product with one weighted query vector, so each sub-index gives its
exact best k, and the best k of all are among them. On disk:

    index.json                          format, layout, where model and store are, and the files that count
    clips-<generation>.parquet          clip_id, video, start_s, end_s, partition, row: one row a clip
    <pattern>-<generation>.faiss        one sub-index; 1011 says that the third expert is missing

A save writes files of a new generation and then replaces index.json, so a reader sees the old index or the new.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from index.hit import Hit, Share
from mee.errors import InputError
from mee.gallery import Gallery
from mee.layout import Layout
from mee.model import TextEmbedding
from mee.scoring import Pattern, group_by_pattern, mixture_weights, weighted_query

FORMAT = 1
NAME = "index.json"
COLUMNS = ("clip_id", "video", "start_s", "end_s", "partition", "row")

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Origin:
    """What an index was made from; opening checks that it is still so."""

    model: str  # directory, absolute
    model_fingerprint: str
    store: str  # directory, absolute


@dataclass
class Partition:
    """The clips of one availability pattern."""

    flat: Any  # faiss.IndexFlatIP over the packed columns of the pattern
    clips: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))  # (N,) row of `flat` -> of the index


class VideoIndex:
    """A gallery that can be searched. Ties are broken by clip id."""

    def __init__(self, layout: Layout, origin: Origin, *, mapped: bool = False) -> None:
        self.layout, self.origin, self.mapped = layout, origin, mapped
        self.clips = pd.DataFrame(columns=list(COLUMNS))
        self.partitions: dict[Pattern, Partition] = {}
        self.generation = 0
        self._order: Rows | None = None  # see _id_order

    def __len__(self) -> int:
        return len(self.clips)

    def add(self, gallery: Gallery, clips: pd.DataFrame) -> None:
        """Add clips.

        Args:
            gallery: their embeddings, made by the index's model.
            clips: index clip_id; columns video, start_s, end_s; has a row for every clip of the gallery.

        Raises:
            ValueError: a clip is in the index already, or the index was opened for reading only.
        """
        if self.mapped:
            raise ValueError(
                "this index was opened memory-mapped, which is for reading; load it with mapped=False"
            )
        known = set(self.clips["clip_id"]) & set(gallery.clip_ids)
        if known:
            raise ValueError(f"{len(known)} clips are in the index already, '{min(known)}' among them")
        first = len(self.clips)
        new = clips.loc[list(gallery.clip_ids), ["video", "start_s", "end_s"]].rename_axis("clip_id").reset_index()
        new = new.assign(partition="", row=0)
        for pattern, rows in group_by_pattern(gallery.video.available):
            vectors = self.layout.take(gallery.video.packed[rows], pattern).cpu().float().numpy()
            numbers = rows.cpu().numpy()
            partition = self.partitions.setdefault(pattern, Partition(faiss.IndexFlatIP(vectors.shape[1])))
            new.loc[numbers, "partition"] = _code(pattern)
            new.loc[numbers, "row"] = partition.flat.ntotal + np.arange(len(numbers))
            partition.flat.add(np.ascontiguousarray(vectors))
            partition.clips = np.concatenate([partition.clips, first + numbers])
        self.clips = pd.concat([self.clips, new], ignore_index=True) if first else new
        self._order = None

    def search(self, text: TextEmbedding, k: int) -> list[list[Hit]]:
        """The best clips for each query, exactly.

        Args:
            text: of Q queries, made by the index's model.
            k: how many hits a query, at least 1; fewer come back where the index holds fewer.

        Returns:
            For each query its hits, the best first.

        Raises:
            ValueError: k is less than 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if not self.partitions:
            return [[] for _ in range(len(text.packed))]
        scores, clips = self.rank(text, k)
        return [
            [self._hit(text, query, rank, score, clip) for rank, (score, clip) in enumerate(zip(*best), start=1)]
            for query, best in enumerate(zip(scores.tolist(), clips.tolist()))
        ]

    def rank(self, text: TextEmbedding, k: int) -> tuple[Floats, Rows]:
        """The same as bare numbers.

        Returns:
            (Q, K) scores in falling order, and the rows of `clips` they belong to; K is k, or the index's size.
        """
        found = [self._rank_partition(pattern, text, k) for pattern in self.partitions]
        scores = np.concatenate([scores for scores, _ in found], axis=1)
        clips = np.concatenate([clips for _, clips in found], axis=1)
        order = np.lexsort((self._id_order()[clips], -scores), axis=1)[:, :k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(clips, order, 1)

    def _rank_partition(self, pattern: Pattern, text: TextEmbedding, k: int) -> tuple[Floats, Rows]:
        partition = self.partitions[pattern]
        query = weighted_query(text.packed, text.logits, pattern, self.layout).cpu().float().numpy()
        query, count = np.ascontiguousarray(query), partition.flat.ntotal
        wanted = min(k + 1, count)
        scores, rows = partition.flat.search(query, wanted)
        while wanted < count and (scores[:, k - 1] == scores[:, -1]).any():  # others may tie for it
            wanted = min(2 * wanted, count)
            scores, rows = partition.flat.search(query, wanted)
        return scores, partition.clips[rows]

    def _id_order(self) -> Rows:
        """For each row of `clips`, the place of its id among all ids in alphabetical order."""
        if self._order is None:
            ids = self.clips["clip_id"].to_numpy(dtype=object)
            self._order = np.empty(len(ids), dtype=np.int64)
            self._order[np.argsort(ids, kind="stable")] = np.arange(len(ids))
        return self._order

    def _hit(self, text: TextEmbedding, query: int, rank: int, score: float, clip: int) -> Hit:
        """Take one clip's vector apart again, to say what each expert gave."""
        clip_id, video, start_s, end_s, code, row = self.clips.iloc[clip]
        pattern = _pattern(code)
        vector = self.partitions[pattern].flat.reconstruct(int(row))
        packed = self.layout.take(text.packed[query : query + 1], pattern)[0].cpu().float().numpy()
        weights = mixture_weights(text.logits[query : query + 1], pattern)[0].tolist()
        shares, end = {}, 0
        for name, weight, size in compress(zip(self.layout.names, weights, self.layout.sizes), pattern):
            start, end = end, end + size
            shares[name] = Share(weight, float(packed[start:end] @ vector[start:end]))
        return Hit(rank, str(clip_id), str(video), float(start_s), float(end_s), score, shares)

    def save(self, directory: Path) -> None:
        """Write the index whole; what was there of an earlier generation goes once the new one counts."""
        directory.mkdir(parents=True, exist_ok=True)
        generation = 1 + max([self.generation, *map(_generation, _files(directory))])
        table = f"clips-{generation:06d}.parquet"
        self.clips.to_parquet(directory / table, index=False)
        files = {_code(pattern): f"{_code(pattern)}-{generation:06d}.faiss" for pattern in self.partitions}
        for pattern, partition in self.partitions.items():
            faiss.write_index(partition.flat, str(directory / files[_code(pattern)]))
        content = {
            "format": FORMAT,
            "generation": generation,
            "layout": asdict(self.layout),
            "origin": asdict(self.origin),
            "clips": table,
            "partitions": files,
        }
        aside = directory / f".{NAME}"
        aside.write_text(json.dumps(content, indent=2) + "\n")
        counted = {table, *files.values()}
        for path in (aside, *(directory / name for name in counted)):
            with path.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(aside, directory / NAME)
        self.generation = generation
        for path in _files(directory):
            if path.name not in counted:
                path.unlink()

    @classmethod
    def load(cls, directory: Path, *, mapped: bool = True) -> VideoIndex:
        """Open a saved index.

        Args:
            directory: where `save` put it.
            mapped: read vectors from disk as they are needed; such an index cannot be added to.

        Raises:
            InputError: there is no index, or it is damaged or of another format.
        """
        path = directory / NAME
        if not path.is_file():
            raise InputError(f"no index at '{directory}'; make one with: mee index STORE MODEL {directory}")
        try:
            content = json.loads(path.read_text())
            if content["format"] != FORMAT:
                raise InputError(
                    f"{path} is of format {content['format']}, this version of mee reads format {FORMAT}"
                )
            layout = Layout(tuple(content["layout"]["names"]), tuple(content["layout"]["sizes"]))
            index = cls(layout, Origin(**content["origin"]), mapped=mapped)
            table = pd.read_parquet(directory / content["clips"])
            index._fill(directory, table, content["partitions"])
            index.generation = int(content["generation"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            if isinstance(error, InputError):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{directory} is damaged ({reason}); make it again with mee index") from error
        return index

    def _fill(self, directory: Path, table: pd.DataFrame, files: Mapping[str, str]) -> None:
        """Take in what is on disk, and see that the pieces belong together."""
        self.clips = table[list(COLUMNS)]
        for code, file in files.items():
            pattern = _pattern(code)
            flat = faiss.read_index(str(directory / file), faiss.IO_FLAG_MMAP_IFC if self.mapped else 0)
            here = table[table["partition"] == code].sort_values("row")
            width = sum(compress(self.layout.sizes, pattern))
            if len(pattern) != len(self.layout.names) or (flat.ntotal, flat.d) != (len(here), width):
                raise ValueError(f"{file} does not belong to {NAME}")
            if not isinstance(flat, faiss.IndexFlat) or flat.metric_type != faiss.METRIC_INNER_PRODUCT:
                raise ValueError(f"{file} is no flat index of inner products")
            self.partitions[pattern] = Partition(flat, here.index.to_numpy(dtype=np.int64))
        if len(table) != sum(len(partition.clips) for partition in self.partitions.values()):
            raise ValueError(f"some clips are in no partition of {NAME}")


def _files(directory: Path) -> list[Path]:
    """Tables and sub-indexes of every generation."""
    number = "-" + "[0-9]" * 6
    return [*directory.glob(f"clips{number}.parquet"), *directory.glob(f"[01]*{number}.faiss")]


def _generation(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _code(pattern: Pattern) -> str:
    return "".join("1" if present else "0" for present in pattern)


def _pattern(code: str) -> Pattern:
    return tuple(digit == "1" for digit in code)
