"""A writer to be killed: does random operations on an index, and prints what was acknowledged.

A line "begin N" stands before operation N, "done N" after it. What each operation is follows from the seed alone,
so the test that kills it knows what the index must hold.
"""

import random
from functools import partial
from pathlib import Path

from index.storage import merge, writer
from tests.index.made_clips import LAYOUT, ORIGIN, made_entries

IDS = [f"c{number:03d}" for number in range(60)]
CHOICES = ["put"] * 8 + ["remove"] * 3 + ["reopen"] * 2 + ["compact", "overwrite"]


def operations(seed, count):
    """(name, clips, seed of their vectors) of each operation."""
    rng, there = random.Random(seed), set()
    for number in range(count):
        name = rng.choice(CHOICES)
        clips = sorted(rng.sample(IDS, rng.randint(1, 12)))
        if name == "remove":
            clips = sorted(there & set(clips))
            there -= set(clips)
        elif name in ("put", "overwrite"):
            there = set(clips) | (there if name == "put" else set())
        yield name, clips, number


def after(held, name, clips, vectors):
    """Clip -> seed of its vectors, after one operation."""
    if name == "remove":
        return {clip_id: kept for clip_id, kept in held.items() if clip_id not in clips}
    put = dict.fromkeys(clips, vectors)
    return {"put": held | put, "overwrite": put}.get(name, held)


def expected_after(done, seed, count):
    """The same after so many operations on an empty index."""
    held = {}
    for operation in list(operations(seed, count))[:done]:
        held = after(held, *operation)
    return held


def holds(snapshot):
    """Clip -> seed of its vectors, of an index; each clip once."""
    rows = [row for segment in snapshot.segments for row in segment.live_table().to_pylist()]
    held = {row["clip_id"]: row["seed"] for row in rows}
    assert len(held) == len(rows)
    return held


def merge_early(patch=setattr):
    """Let few and small segments be merged."""
    patch(writer, "MANY", 6)
    patch(merge, "FLOOR", 4)


def apply(open_writer, directory, name, clips, vectors):
    """Do one operation; returns the writer to go on with."""
    if name == "put":
        open_writer.put(made_entries(clips, seed=vectors))
    elif name == "remove":
        open_writer.remove(clips)
    elif name == "compact":
        open_writer.compact()
    else:
        open_writer.close()
        if name == "overwrite":
            with writer.IndexWriter.create(directory, LAYOUT, ORIGIN, overwrite=True) as other:
                for number in range(4):  # one of several segments
                    other.put(made_entries(clips[number::4], seed=vectors))
        open_writer = writer.IndexWriter.open(directory)
    return open_writer


def work(directory, seed, count, say):
    """Do all operations, one after the other."""
    open_writer = writer.IndexWriter.open(directory)
    for number, operation in enumerate(operations(seed, count)):
        say(f"begin {number}")
        open_writer = apply(open_writer, directory, *operation)
        say(f"done {number}")
    open_writer.close()


def main(directory, seed, count):
    """Print each line at once, for the process that started this."""
    merge_early()
    say = partial(print, flush=True)
    say("ready")
    work(Path(directory), int(seed), int(count), say)
