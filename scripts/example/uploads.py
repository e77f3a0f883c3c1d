"""Examples that a server gets: made one at a time in a thread of their own, beside the searches.

bytes -> a file in a private temporary folder -> Example -> its vectors, kept by name; the file is deleted
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING, final

from mee.errors import InputError
from scripts.example.example import Example, ExampleMaker

if TYPE_CHECKING:
    from index import Searcher

KEPT, LETTERS = 64, 100  # examples of an index; of the name of one
IMAGES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif"}  # by how they begin


@final
class Uploads:
    """For one event loop."""

    def __init__(self) -> None:
        self._thread, self._asked = ThreadPoolExecutor(1, "example"), set[Event]()
        self._maker: ExampleMaker | None = None  # of the searcher that was asked last

    async def make(self, searcher: Searcher, content: bytes, name: str) -> Example:
        """Content as an example; who is cancelled ends the work. Errors as of `ExampleMaker.make`."""
        unwanted = Event()
        self._asked.add(unwanted)
        work = asyncio.get_running_loop().run_in_executor
        try:
            return await work(self._thread, self._make, searcher, content, name, unwanted)
        finally:
            unwanted.set()
            self._asked.discard(unwanted)

    def _make(self, searcher: Searcher, content: bytes, name: str, unwanted: Event) -> Example:
        if self._maker is None or self._maker.searcher is not searcher:
            self._maker = ExampleMaker(searcher)
        webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
        kind = ".webp" if webp else next((IMAGES[head] for head in IMAGES if content.startswith(head)), ".mkv")
        with TemporaryDirectory(prefix="mee-") as folder:
            path = Path(folder) / f"example{kind}"  # what it is called by the client opens nothing
            path.write_bytes(content)
            return self._maker.make(path, name or "the file", unwanted)

    async def close(self) -> None:
        """End the thread; what it works on is given up."""
        for unwanted in self._asked:
            unwanted.set()
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)


def keep(searcher: Searcher, of: Searcher, made: Example, name: str, content: bytes) -> str:
    """Keep an example, and return the name for requests: its own, and digits of its content.

    Call it where searches run. The oldest is forgotten. Raises InputError where it is of another searcher.
    """
    if searcher is not of:
        raise InputError("the index was made again meanwhile; give the file again")
    short = re.sub(r"[^\w. -]+", "-", name)[-LETTERS:].strip() or "file"
    key, examples = f"{short}~{hashlib.sha256(content).hexdigest()[:8]}", searcher.meaning.examples
    examples.pop(key, None)
    examples[key] = made.queries
    while len(examples) > KEPT:
        del examples[next(iter(examples))]
    return key
