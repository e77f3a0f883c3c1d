"""Make a folder of videos searchable, and show it as a page.

example:
  mee open videos/
  mee open videos/ "a dog jumps into the snow"
  mee open videos/ --preset clip --exclude drafts '*.proxy.mp4'

The page is there at once, and fills while the videos are read: first one frame of each clip, then all of them.
New, changed and deleted files are followed. Ctrl-C stops it, and the same command goes on from there. Nothing is
written into the folder: mee library list shows what is kept, mee library forget frees it.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from features.media import Selection
from mee.errors import InputError, count
from scripts.console import DONE, Terminated, parse, print_line, resumable, say
from scripts.open.reading import STOP_S, Reading, Terminal, so_far
from scripts.open.state import LibraryState, libraries_folder
from scripts.serve import Progress, bound, listen, need_packages, open_in_browser

if TYPE_CHECKING:
    import socket

    from index import Searcher

HOST, PORT = "127.0.0.1", 8765
PATIENCE_S = 20.0  # for a page that starts, or a process that ends; that takes 15 s at most
ASK_S, BROWSER_S = 10.0, 5.0  # for an answer of another page; for the browser to start
AGAIN_S, TRIES = 1.0, 10  # between attempts to search, and how many


@dataclass(frozen=True, kw_only=True)
class OpenArgs:
    """Arguments of mee open."""

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]  # of videos, still images and sound
    # in quotes: also answer it here, from what is read so far, and again when all is read
    sentence: Annotated[Positional[str | None], arg(metavar="[SENTENCE]")] = None
    # what the videos are read with, see mee precompute --help; auto: clip, or without a network offline
    preset: Literal["auto", "offline", "clip", "strong", "builtin"] = "auto"
    port: int | None = None  # of the page; default: 8765, or any that is free
    no_browser: bool = False  # do not open the page in the browser
    select: OmitArgPrefixes[Selection] = field(default_factory=Selection)

    def __post_init__(self) -> None:
        if self.port is not None and not 0 <= self.port < 1 << 16:
            raise InputError(f"--port must be 0 to 65535, got {self.port}")
        if self.sentence is not None and not self.sentence.strip():
            raise InputError("the sentence is empty; say what to find, or leave it away")


@resumable
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(OpenArgs, "open", argv, __doc__ or "")
    need_packages("open")
    state = _state_of(args.folder)
    until = time.monotonic() + PATIENCE_S
    while True:
        with state.locked() as handle:
            if handle is not None:
                return _open(args, state, handle)
        if (address := state.address()) is not None and _is_up(address):
            return _join(args, state, address)
        if time.monotonic() >= until:
            raise InputError(f"'{args.folder}' is open in another process whose page does not answer; stop it")
        time.sleep(0.2)


def _state_of(folder: Path) -> LibraryState:
    """What is kept of a folder; refuses what is none."""
    state, real = LibraryState.of(folder), Path(os.path.realpath(folder))
    if real.is_relative_to(os.path.realpath(libraries_folder().parent)):
        raise InputError(f"'{folder}' is where MEE keeps what it has read; name a folder of videos")
    if real.exists() and not real.is_dir():
        raise InputError(f"'{folder}' is a file; name its folder: mee open {shlex.quote(str(folder.parent))}")
    if not real.exists() and not state.record():
        raise InputError(f"there is no folder '{folder}'; name the folder of your videos")
    return state


def _open(args: OpenArgs, state: LibraryState, lock: int) -> int:
    """Read the folder and serve the page until it is stopped."""
    real = os.path.realpath(args.folder)
    state.publish(None)  # that of a killed process
    state.write(folder=real, preset=args.preset, opened=time.time())
    flags = {"exclude": args.select.exclude, "endings": args.select.endings}
    words = [real, str(state.directory), "--preset", args.preset]
    words += [word for name, its in flags.items() if its for word in (f"--{name}", *its)]
    words += [] if args.select.audio_files else ["--no-audio-files"]
    with closing(_listener(args.port)) as listener, Reading(words, state.log, lock) as reading:
        stopped = asyncio.run(_serve(args, state, reading, listener))
    if stopped:
        raise Terminated if stopped == signal.SIGTERM else KeyboardInterrupt
    return DONE


def _listener(port: int | None) -> socket.socket:
    try:
        return bound(HOST, PORT if port is None else port)
    except InputError:
        if port is not None:
            raise
    return bound(HOST, 0)


async def _serve(args: OpenArgs, state: LibraryState, reading: Reading, listener: socket.socket) -> int:
    """Answer requests until a signal comes, and return it."""
    from index import Searcher
    from scripts.serve import Service, Settings, create_app

    def load() -> Searcher:
        return Searcher.load(state.index)

    def ready() -> None:
        state.publish(address)
        with terminal.aside():
            print_line(f"'{args.folder}' is at {address}")
        if not args.no_browser:
            _show(address)

    address = f"http://{HOST}:{listener.getsockname()[1]}/"
    progress, terminal, changed = Progress(str(args.folder)), Terminal(), asyncio.Event()
    real = Path(os.path.realpath(args.folder))

    def on_message() -> None:
        changed.set()
        with suppress(OSError):  # nobody reads stderr
            terminal.show(progress)

    with closing(terminal):
        tasks = [asyncio.create_task(reading.follow(progress, on_message))]
        async with Service(None, reload=load) as service:
            if args.sentence is not None:
                tasks.append(asyncio.create_task(_answer(state, args.sentence, progress, changed, terminal)))
            try:
                app = create_app(service, Settings(progress=progress, videos=real))
                stopped = await listen(app, listener, ready)
            finally:
                state.publish(None)
                for task in tasks[1:]:
                    task.cancel()
        reading.stop()
        await asyncio.wait(tasks, timeout=STOP_S)
    return stopped


async def _answer(
    state: LibraryState, sentence: str, progress: Progress, changed: asyncio.Event, terminal: Terminal
) -> None:
    """Print the hits of what is read so far, as soon as there are any, and of all when all is read."""
    from scripts.search import print_hits

    before: Sequence[Any] | None = None
    tries = 0
    while True:
        await changed.wait()
        changed.clear()
        done, (found, of) = progress.status.done, so_far(progress)
        if not state.index.exists() or (before is not None and not done):
            continue
        try:
            searcher, hits = await asyncio.to_thread(_found, state, sentence)
        except (InputError, OSError) as error:  # it is made again just now
            if (tries := tries + 1) == TRIES:
                say(f'"{sentence}": {error}')
                return
            await asyncio.sleep(AGAIN_S)
            changed.set()
            continue
        part = "" if done else f"so far, {found} of {count(of, 'file')}: "
        if hits == before:
            say(f'"{sentence}": the hits of all files are the same')
        else:
            with terminal.aside():
                print_hits(f'{part}"{sentence}"', hits, searcher.modalities)
        if done:
            for note in searcher.text.unread.notes("sentences"):
                say(note)
            return
        before = hits


def _found(state: LibraryState, sentence: str) -> tuple[Searcher, Sequence[Any]]:
    """Hits of the index as it is now: the page goes over to a new one a little later."""
    from index import Request, Searcher

    searcher = Searcher.load(state.index)
    return searcher, searcher.search([Request(sentence=sentence)])[0]


# ---- a folder that is open already


def _join(args: OpenArgs, state: LibraryState, address: str) -> int:
    """Show the page of another process, and ask the index that it serves."""
    print_line(f"'{args.folder}' is open at {address}")
    browser = None if args.no_browser else _show(address)
    if args.sentence is not None:
        from scripts.search import print_hits

        if not state.index.exists():
            raise InputError("nothing can be searched for yet; the first moments come within a minute")
        searcher, hits = _found(state, args.sentence)
        print_hits(f'"{args.sentence}"', hits, searcher.modalities)
        for note in searcher.text.unread.notes("sentences"):
            say(note)
    if browser is not None:
        browser.join(BROWSER_S)
    return DONE


def _show(address: str) -> threading.Thread | None:
    """Open the page, where there is a screen: a text browser would take the terminal."""
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        return None
    return open_in_browser(address)


def _is_up(address: str) -> bool:
    """Whether a server of this machine answers, whatever it says; no proxy knows it."""
    if not address.startswith(f"http://{HOST}:"):
        return False
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(f"{address}healthz", timeout=ASK_S).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
