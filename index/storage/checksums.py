"""Checksums of an index's files, and folders that appear whole.

Of each file its bytes, its SHA-256 and that of a sample are recorded: BLOCKS blocks of 4 kB, from the first to the
last. Opening compares small files whole and of large ones the sample, as far as that takes no time that a user
feels: a file of zeros, cut and filled up, or of another index is found, and a large hole; a flipped bit in a large
file is not. `index.storage.verify_index` compares everything.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from mee.files import open_file, regular_size, sync

BLOCK, BLOCKS = 4096, 16  # bytes, and how many, of a sample
SMALL = 256 << 10  # bytes of a file that is compared whole at opening
MOST = 8 << 20  # bytes that are compared at opening
FileFacts = tuple[int, str, str]  # bytes, SHA-256, that of its sample


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sample_of(path: Path) -> str:
    """SHA-256 of a file's sample."""
    digest = hashlib.sha256()
    with open_file(path) as file:
        last = max(0, os.fstat(file.fileno()).st_size - BLOCK)
        for number in range(BLOCKS):
            digest.update(os.pread(file.fileno(), BLOCK, last * number // (BLOCKS - 1)))
    return digest.hexdigest()


def facts_of(folder: Path) -> dict[str, FileFacts]:
    """Of every file in a folder."""
    paths = sorted(folder.iterdir())
    return {path.name: (path.stat().st_size, digest_of(path), sample_of(path)) for path in paths}


def check_size(path: Path, facts: FileFacts) -> None:
    """Refuse with a ValueError a file of another size."""
    size = regular_size(path)
    if size != facts[0]:
        raise ValueError(f"it has {size:,} bytes of {facts[0]:,}")


def check_file(path: Path, facts: FileFacts, *, whole: bool = True) -> None:
    """Refuse with a ValueError a file that is not what was written."""
    same = digest_of(path) == facts[1] if whole else sample_of(path) == facts[2]
    if not same:
        raise ValueError("its checksum is wrong")


def worth_checking(files: Mapping[Path, FileFacts]) -> Iterator[tuple[Path, bool]]:
    """The files to compare at opening, the small ones first, each with whether it is compared whole.

    Half of what is read is for files compared whole, the rest for samples of the others.
    """
    left = MOST
    for path, (size, _, _) in sorted(files.items(), key=lambda item: item[1][0]):
        whole = size <= BLOCK * BLOCKS or (size <= SMALL and left > MOST // 2)
        left -= size if whole else BLOCK * BLOCKS
        if left < 0:
            return
        yield path, whole


def discard(path: Path) -> None:
    """Delete a file or a folder where possible; what stays is deleted by a later writer."""
    with suppress(OSError, RecursionError):  # folders may be nested deeply
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Fill a folder aside, which then appears with all of its files, durably; an error leaves nothing."""
    aside = folder.with_name(f".{folder.name}")
    discard(aside)
    aside.mkdir(parents=True)
    try:
        yield aside
        for path in [*aside.iterdir(), aside]:
            sync(path)
        os.rename(aside, folder)
        sync(folder.parent)
    except BaseException:
        discard(aside)
        raise
