"""ShardsWriter: changes an index in shards as IndexWriter changes an index; `open_writer` opens either.

made         the shards are filled one after another, and shards.json is written last: before that there is no
             index, and the next writer goes on with what they have
changed      shard by shard, each as a whole
compacted    new shards are written beside those that are searched, and then replace all of them: readers never see
             shards of different settings, offsets or scales
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import numpy as np
from filelock import FileLock

from index.scanners import Settings
from index.storage.checksums import discard
from index.storage.entries import Entries
from index.storage.manifest import (
    INDEX_FILE,
    LOCK,
    SHARDS_FILE,
    Origin,
    Recall,
    clear,
    is_shard,
    parts_in,
    text_name,
)
from index.storage.merge import Progress
from index.storage.shards import FORMAT, MOST_SHARDS, shard_folders, shard_names, share_of, version_of
from index.storage.snapshot import Snapshot, joined_shards, read_single
from index.storage.writer import IndexWriter, check_place, locked, put_text
from mee.errors import InputError
from mee.files import make_folder, whole_file
from mee.layout import Layout


@final
class ShardsWriter:
    """A context manager; made by `create` or `open`. Of the shards' writers one is open at a time."""

    def __init__(self, directory: Path, names: Sequence[str], lock: FileLock, *, published: bool) -> None:
        """Open the shards of these names, under the lock of the whole."""
        self._directory, self._names, self._lock = directory, [*names], lock
        self.published = published  # whether readers see what is put; else another index, or none
        self._shards = [read_single(directory / name) for name in names]
        self._writing: tuple[int, IndexWriter] | None = None

    @classmethod
    def create(
        cls,
        directory: Path,
        count: int,
        layout: Layout,
        origin: Origin,
        *,
        settings: Settings | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Make an index without clips, as `IndexWriter.create`, in so many shards."""
        if not 0 < count <= MOST_SHARDS:
            raise ValueError(f"an index has 1 to {MOST_SHARDS:,} shards, got {count}")
        check_place(directory, overwrite=overwrite)
        make_folder(directory)
        with locked(directory) as lock:
            check_place(directory, overwrite=overwrite)  # again: from here on no other process writes it
            if not (directory / SHARDS_FILE).exists():
                clear(directory, parts_in(directory, shards=False))
            names = shard_names(count, 1 + version_of(list(parts_in(directory))))
            for name in names:
                with IndexWriter.create(directory / name, layout, origin, settings=settings):
                    pass
            return cls(directory, names, lock, published=False)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Change an index that exists, or go on with one that is not complete; raises as `IndexWriter.open`."""
        with locked(directory) as lock:
            folders = shard_folders(directory)
            names = [folder.name for folder in folders or begun(directory)]
            writer = cls(directory, names, lock, published=bool(folders))
            writer._clear()
            return writer

    @property
    def snapshot(self) -> Snapshot:
        """What the index holds."""
        self._leave()
        return joined_shards(self._directory, self._shards, agree=self.published)

    def share(self, video: str) -> int:
        """The number of the shard that has the clips of a video."""
        return share_of(video, len(self._names))

    def put(self, entries: Entries) -> None:
        """As `IndexWriter.put`, in each shard. A clip whose video changed its shard is to be removed before."""
        shares = np.array([self.share(video) for video in entries.table["video"].to_pylist()])
        for number in np.unique(shares).tolist():
            self._writer(number).put(entries.part(np.flatnonzero(shares == number)))

    def remove(self, clip_ids: Sequence[str]) -> int:
        """As `IndexWriter.remove`."""
        gone = list(dict.fromkeys(clip_ids))
        self._leave()
        found = [[name for its in shard.segments for name in its.ids(gone)] for shard in self._shards]
        if unknown := set(gone).difference(*found):
            raise ValueError(f"{len(unknown)} clips are not in the index, '{min(unknown)}' among them")
        for number, its in enumerate(found):
            if its:
                self._writer(number).remove(its)
        return len(gone)

    def compact(self, *, progress: Progress | None = None, **how: Any) -> None:
        """As `IndexWriter.compact`: all shards at once, where readers see them."""
        self._leave()
        names, shards, done, total = self._names, [], 0, sum(map(len, self._shards))
        if self.published:
            names = shard_names(len(names), 1 + version_of([*parts_in(self._directory)]))
        try:
            for number, name in enumerate(names):
                if self.published:
                    _copy(self._directory / self._names[number], self._directory / name)
                with IndexWriter.open(self._directory / name) as writer:
                    writer.compact(**how, progress=progress and partial(_shown, progress, done, total))
                shards.append(writer.snapshot)
                done += len(writer.snapshot)
            if self.published:
                self._publish(names)
        except BaseException:
            for name in set(names).difference(self._names):
                discard(self._directory / name)
            raise
        self._shards = shards

    def set_recall(self, measured: Recall | None) -> None:
        """Record the recall that was measured, of the whole."""
        for number in range(len(self._names)):
            self._writer(number).set_recall(measured)

    def set_origin(self, origin: Origin) -> None:
        """Record where the model and the store are now."""
        for number in range(len(self._names)):
            self._writer(number).set_origin(origin)

    def put_text(self, write: Callable[[Path], None]) -> None:
        """Keep the model's text side beside the index, as `write` fills its folder."""
        put_text(self._directory, self._shards[0].origin, write)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._leave()
                if not self.published:
                    self._publish(self._names)
                return
            if self._writing is not None:
                self._writing[1].__exit__(kind, error, trace)
            if not self.published and any((self._directory / file).exists() for file in (INDEX_FILE, SHARDS_FILE)):
                for name in self._names:
                    discard(self._directory / name)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Let readers see the index, and others write."""
        self.__exit__(None, None, None)

    def _writer(self, number: int) -> IndexWriter:
        if self._writing is None or self._writing[0] != number:
            self._leave()
            self._writing = number, IndexWriter.open(self._directory / self._names[number])
        return self._writing[1]

    def _leave(self) -> None:
        """Close the writer that is open."""
        if self._writing is not None:
            (number, writer), self._writing = self._writing, None
            writer.close()
            self._shards[number] = writer.snapshot

    def _publish(self, names: Sequence[str]) -> None:
        """Let readers see the shards of these names alone."""
        with whole_file(self._directory / SHARDS_FILE, "shards") as aside:
            aside.write_text(json.dumps({"format": FORMAT, "shards": [*names]}) + "\n")
        self._names, self.published = [*names], True
        discard(self._directory / INDEX_FILE)
        self._clear()

    def _clear(self) -> None:
        """Delete what is not part of the index."""
        clear(self._directory, {*self._names, text_name(self._shards[0].origin)})


def _shown(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    """Show the progress of a part."""
    progress(before + done, total)


def _copy(shard: Path, folder: Path) -> None:
    """The same shard in another folder; its files, which never change, by links where there are any."""

    def copy(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:  # a file system without links
            shutil.copyfile(source, target)

    discard(folder)
    shutil.copytree(shard, folder, symlinks=True, copy_function=copy, ignore=shutil.ignore_patterns(LOCK))


def begun(directory: Path) -> list[Path]:
    """The folders of an index in shards that is not complete, but has clips; []: there is none."""
    if not directory.is_dir() or any((directory / file).exists() for file in (INDEX_FILE, SHARDS_FILE)):
        return []
    count = sum(is_shard(folder) for folder in directory.iterdir())
    folders = [directory / name for name in shard_names(count, 1)]
    there = all(is_shard(folder) for folder in folders)
    return folders if there and any(read_single(folder).segments for folder in folders) else []


def has_index(directory: Path) -> bool:
    """Whether there is an index, in shards or not, or a part of one in shards."""
    return any((directory / file).exists() for file in (INDEX_FILE, SHARDS_FILE)) or bool(begun(directory))


def open_writer(directory: Path, shards: int | None = None) -> IndexWriter | ShardsWriter:
    """Change an index that exists, in shards or not; shards: so many, and then also one that is not complete.

    Raises:
        InputError: as `IndexWriter.open`; or it is in another number of shards.
    """
    folders = shard_folders(directory)
    if not folders and (directory / INDEX_FILE).exists():
        if shards is not None:
            raise InputError(f"'{directory}' is an index without shards; make it again in {shards}: --overwrite")
        return IndexWriter.open(directory)
    if not folders and (folders := begun(directory)) and shards is None:
        words = f"was not completed: go on with --shards {len(folders)}, or make it again with --overwrite"
        raise InputError(f"the index at '{directory}', in {len(folders)} shards, {words}")
    if not folders:
        return IndexWriter.open(directory)
    if shards not in (None, len(folders)):
        raise InputError(f"'{directory}' is in {len(folders)} shards; make it again in {shards}: --overwrite")
    return ShardsWriter.open(directory)


def create_writer(
    directory: Path, layout: Layout, origin: Origin, *, settings: Settings, overwrite: bool, shards: int
) -> IndexWriter | ShardsWriter:
    """Make an index without clips, in so many shards; 0: in one piece. Raises as `IndexWriter.create`."""
    if shards:
        return ShardsWriter.create(directory, shards, layout, origin, settings=settings, overwrite=overwrite)
    return IndexWriter.create(directory, layout, origin, settings=settings, overwrite=overwrite)
