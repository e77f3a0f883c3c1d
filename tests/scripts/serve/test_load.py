"""Many clients and a writer: each answer is one of a fresh Searcher, and nobody goes back in time."""

import asyncio
import random
import shutil

from index import IndexWriter, Request, Searcher
from scripts.serve import Service

SENTENCES = ("a dog", "rain falls", "the drums", "a blue square")
CLIENTS, CHANGES = 9, 9  # of 12 clips


def remove(directory, number):
    """A change: one clip less."""
    with IndexWriter.open(directory) as writer:
        writer.remove([f"v{number:02d}.mp4"])


def hits_of(found):
    return tuple((hit.clip_id, hit.score) for hit in found)


def test_every_answer_is_of_a_state_that_the_index_had(directory, tmp_path):
    copy, states = shutil.copytree(directory, tmp_path / "copy"), []
    for number in range(CHANGES + 1):
        fresh = Searcher.load(copy)
        states.append({text: hits_of(fresh.search([Request(sentence=text, top=5)])[0]) for text in SENTENCES})
        if number < CHANGES:
            remove(copy, number)

    async def client(service, seed, writing):
        rng, at = random.Random(seed), 0
        while not writing.done():
            text = rng.choice(SENTENCES)
            found = hits_of((await service.search(Request(sentence=text, top=5), size=5)).found)
            at = next((n for n in range(at, len(states)) if states[n][text] == found), None)
            assert at is not None, f"{text}: {found} was never so, or is of the past"

    async def write():
        for number in range(CHANGES):
            await asyncio.to_thread(remove, directory, number)

    async def use():
        async with Service(Searcher.load(directory)) as service:
            writing = asyncio.create_task(write())
            await asyncio.gather(writing, *(client(service, seed, writing) for seed in range(CLIENTS)))
            return hits_of((await service.search(Request(sentence="a dog", top=5), size=5)).found)

    assert asyncio.run(use()) == states[-1]["a dog"]
    assert len({state["a dog"] for state in states}) > CHANGES // 2
