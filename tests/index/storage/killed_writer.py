"""A writer to be killed: does random operations on an index, and says on stdout what was acknowledged.

    python tests/index/storage/killed_writer.py INDEX SEED OPERATIONS

A line "begin N" stands before operation N, "done N" after it. What each operation is follows from the seed alone,
so that whoever kills it can tell what the index must hold.
"""

import random
import sys
from pathlib import Path

from index.storage import writer as writer_module
from index.storage.snapshot import Snapshot
from index.storage.writer import IndexWriter
from mee.errors import InputError
from tests.index.made_clips import LAYOUT, ORIGIN, made_entries

IDS = [f"c{number:03d}" for number in range(60)]


def operations(seed, count):
    """(name, clips, seed of their vectors) of each operation; None: of all."""
    rng = random.Random(seed)
    there = set()
    for number in range(count):
        name = rng.choice(["put"] * 6 + ["remove"] * 2 + ["flush", "compact", "overwrite"])
        clips = sorted(rng.sample(IDS, rng.randint(1, 12)))
        if name == "remove":
            clips = sorted(there & set(clips))
            there -= set(clips)
        elif name == "put":
            there |= set(clips)
        elif name == "overwrite":
            there = set(clips)
        yield name, clips, number


def expected_after(done, seed, count):
    """Clip -> seed of its vectors, once so many operations are done."""
    held = {}
    for number, (name, clips, vectors) in enumerate(operations(seed, count)):
        if number == done:
            break
        if name == "overwrite":
            held = {}
        if name in ("put", "overwrite"):
            held |= dict.fromkeys(clips, vectors)
        elif name == "remove":
            held = {clip_id: kept for clip_id, kept in held.items() if clip_id not in clips}
    return held


def holds(snapshot: Snapshot):
    """Clip -> seed of its vectors, of an index."""
    return {
        facts["clip_id"]: facts["seed"]
        for segment in snapshot.segments
        for row, facts in enumerate(segment.table.arrow.to_pylist())
        if segment.is_live(row)
    }


def work(directory, seed, count, say):
    """Do them, one after the other."""
    writer = IndexWriter.open(directory)
    for number, (name, clips, vectors) in enumerate(operations(seed, count)):
        say(f"begin {number}")
        if name == "put":
            writer.put(made_entries(clips, seed=vectors))
        elif name == "remove":
            writer.remove(clips)
        elif name == "flush":
            writer.flush()
        elif name == "compact":
            writer.compact()
        else:
            writer.close()
            writer = IndexWriter.create(directory, LAYOUT, ORIGIN, overwrite=True)
            writer.put(made_entries(clips, seed=vectors))
            writer.close()
            writer = IndexWriter.open(directory)
        say(f"done {number}")
    writer.close()


def say(line):
    """To whoever started this."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main():
    """See above."""
    directory, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    writer_module.DIRECT, writer_module.LOG_RECORDS = 400, 6
    say("ready")
    work(directory, seed, count, say)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
