"""The segments that a manifest names, open: what is open already stays, the rest is checked and mapped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from index.manifest import Manifest
from index.removed import read_removed
from index.segment import Segment
from index.segment_file import check_content, folder_of, open_segment, read_facts

CHECKED = 256 << 20  # bytes of new files that are compared with their SHA-256, if they are no more in all
SKIMMED = 32 << 20  # bytes of the smallest of them, if they are more; verify compares them all


def open_segments(directory: Path, manifest: Manifest, known: Sequence[Segment] = ()) -> list[Segment]:
    """The segments, less what was removed of them when the manifest was written.

    Args:
        directory: of the index.
        manifest: of the index.
        known: segments that may be among them.

    Raises:
        InputError: a file is not there, or damaged.
    """
    removed = read_removed(directory, manifest.removed)
    there = {(segment.name, segment.digest): segment for segment in known}
    facts = {
        part: read_facts(folder_of(directory, part.name), part.sha256)
        for part in manifest.segments
        if (part.name, part.sha256) not in there
    }
    files = [
        (folder_of(directory, part.name) / name, file)
        for part in facts
        for name, file in facts[part].files.items()
    ]
    left = CHECKED if sum(file.bytes for _, file in files) <= CHECKED else SKIMMED
    for path, file in sorted(files, key=lambda item: item[1].bytes):
        left -= file.bytes
        if left >= 0:
            check_content(path, file)
    constants, opened = manifest.constants is not None, []
    for part in manifest.segments:
        segment = there.get((part.name, part.sha256))
        if segment is None:
            segment = open_segment(directory, part, facts[part], manifest.layout, constants=constants)
        segment = segment.with_live(None)
        opened.append(segment.without(removed[part.name]) if part.name in removed else segment)
    return opened
