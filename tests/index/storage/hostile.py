"""Indexes that somebody changed, and let all checksums agree; and what the uses of an index say of them."""

import json

from index.storage.checksums import digest_of, sample_of
from index.storage.manifest import _checksum
from index.storage.snapshot import read_snapshot
from index.storage.writer import IndexWriter
from index.video_index import VideoIndex
from mee.errors import InputError
from tests.index.galleries import random_text

TEXT = random_text(2)
COUNT = 200


def segment_of(place):
    (folder,) = (place / "segments").glob("[0-9]*")
    return folder


def compacted(place):
    with IndexWriter.open(place) as writer:
        writer.compact()


USES = {
    "open": read_snapshot,
    "search": lambda place: VideoIndex.open(place).rank(TEXT, 5),
    "exactly": lambda place: VideoIndex.open(place).rank(TEXT, 5, exact=True),
    "write": lambda place: IndexWriter.open(place).close(),
    "compact": compacted,
}


def sentence(use, place):
    """What a use of an index says; nothing if it goes through."""
    try:
        USES[use](place)
    except InputError as error:
        return str(error)
    return None


def resealed(place, change=lambda content: None):
    """Change a manifest, and let its checksum agree."""
    content = json.loads((place / "index.json").read_text())
    content.pop("sha256")
    change(content)
    content["sha256"] = _checksum(content)
    (place / "index.json").write_text(json.dumps(content))


def resealed_segment(place, folder, change=lambda facts: None):
    """Let the checksums of a segment's files agree with what they are now, and change its facts."""
    facts = json.loads((folder / "segment.json").read_text())
    for name in facts["files"]:
        if (folder / name).is_file():
            path = (folder / name).resolve()
            facts["files"][name] = [path.stat().st_size, digest_of(path), sample_of(path)]
    change(facts)
    (folder / "segment.json").write_text(json.dumps(facts))
    digest = {"sha256": digest_of(folder / "segment.json")}
    resealed(place, lambda index: [ref.update(digest) for ref in index["segments"] if ref["name"] == folder.name])


def resealed_removed(place):
    digest = digest_of(next(place.glob("removed-*")))
    resealed(place, lambda content: content["segments"][0]["removed"].update(sha256=digest))
