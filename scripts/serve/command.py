"""Serve an index as a page and an API, on this machine.

example:
  mee serve index/ --videos videos/
  mee serve index/ --videos videos/ --open
  mee serve index/ --videos videos/ --ray head.example.org:6379
  mee serve index/ --videos videos/ --host 0.0.0.0 --token-file token --allow-host archive.example.org

Ctrl-C stops it. Other machines can reach it only with --host and a token, which they send as Authorization:
Bearer, or once in the page. Nothing is encrypted: across a network, put a server in front of it that speaks HTTPS.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import re
import shlex
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, arg

from mee.errors import InputError, count
from scripts.console import (
    DONE,
    Device,
    Terminated,
    errors_as_sentences,
    parse,
    pick_device,
    print_line,
    say,
    sigterm_stops,
)
from scripts.search import At

if TYPE_CHECKING:
    from fastapi import FastAPI

    from index import Searcher
    from index.on_ray import Shards

NEEDED = ("fastapi", "uvicorn", "jinja2")
TOKEN = re.compile(r"[!-~]{16,1024}")
GRACE_S = 3  # for answers that are on their way when it is stopped
EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True, kw_only=True)
class ServeArgs:
    """Arguments of mee serve."""

    index: Annotated[Positional[At], arg(metavar="INDEX")]  # made by mee index: a folder, or postgresql://…
    videos: Path | None = None  # the folder that mee precompute read; without it nothing can be played
    host: str = "127.0.0.1"  # address to listen on; any but this machine's own needs --token-file
    port: int = 8765  # 0: any that is free
    token_file: Path | None = None  # file with a token of 16 letters or more, which every request must bring
    # one more name under which the server may be asked, such as archive.example.org; may be repeated
    allow_host: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    cache: Path | None = None  # folder for pictures and converted moments; default: in the user's cache directory
    cache_size: float = 2.0  # of this folder, in GB
    # have each shard scored by an actor of a Ray cluster, of which this machine is a node: HOST:PORT of its head;
    # alone: the cluster that runs here, or else one of this machine alone
    ray: Annotated[tuple[()] | tuple[str] | None, arg(metavar="[ADDRESS]")] = None
    shard_seconds: float = 5.0  # with --ray: how long a shard is waited for; the answer is then without its clips
    open: bool = False  # open the page in the browser
    model: Path | None = None  # the model, if it was moved since the index was made
    # where the model runs if the index has no text side; cuda: it runs there, and the clips are scored there
    device: Device = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.port < 1 << 16:
            raise InputError(f"--port must be 0 to 65535, got {self.port}")
        if not 0.01 <= self.cache_size <= 1e6:
            raise InputError(f"--cache-size is in GB, 0.01 to 1,000,000, got {self.cache_size:g}")
        if not 0.01 <= self.shard_seconds <= 3600:
            raise InputError(f"--shard-seconds must be 0.01 to 3,600, got {self.shard_seconds:g}")
        if self.ray is not None and self.device == "cuda":
            raise InputError("--device cuda scores the clips here, and --ray elsewhere; take one of them away")


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return serve(parse(ServeArgs, "serve", argv, __doc__ or ""))


def serve(args: ServeArgs) -> int:
    """Serve until it is stopped; what can be wrong is found before it listens.

    Raises:
        InputError: a package, the index, its model, the videos, the token or the port is missing or unusable.
        KeyboardInterrupt: it was stopped, by Ctrl-C or as `Terminated` by SIGTERM.
    """
    need_packages("serve")
    for flag, place in {"--videos": args.videos, "--cache": args.cache}.items():
        if place is not None and not place.is_dir():
            raise InputError(f"{flag} '{place}' is not a folder; name one that is there")
    token = _token(args.token_file) if args.token_file else None
    with sigterm_stops(), bound(args.host, args.port, token) as listener, _shards(args) as shards:
        from index import Searcher

        gpu = pick_device("cuda") if args.device == "cuda" else None

        def load() -> Searcher:
            found = Searcher.load(args.index, device=gpu or args.device, model=args.model, index_device=gpu)
            if shards is not None:
                shards.hold(found.video_index)
            return found

        searcher = load()
        from scripts.serve.app import LOOPBACK, Settings, create_app
        from scripts.serve.service import Service

        own = [socket.gethostname()] if args.host in EVERYWHERE else []
        names = (args.host, f"[{args.host}]", *own, *args.allow_host)
        settings = Settings(
            videos=args.videos,
            token=token,
            hosts=(*LOOPBACK, *names),
            cache=args.cache,
            cache_bytes=int(args.cache_size * 1e9),
        )
        shown = own[0] if own else f"[{args.host}]" if ":" in args.host else args.host
        address = f"http://{shown}:{listener.getsockname()[1]}/"
        about = f"{count(len(searcher.video_index), 'clip')} at {address}"
        if args.videos is None:
            about += " without --videos, so nothing can be played"

        def ready() -> None:
            print_line(about)
            if args.open:
                open_in_browser(address)

        async def run() -> int:
            async with Service(searcher, reload=load) as service:
                return await listen(create_app(service, settings), listener, ready)

        stopped = asyncio.run(run())
    if stopped:
        raise Terminated if stopped == signal.SIGTERM else KeyboardInterrupt
    return DONE


@contextmanager
def _shards(args: ServeArgs) -> Iterator[Shards | None]:
    """The actors that --ray asks for; they end with it."""
    if args.ray is None:
        yield None
        return
    from features.cluster import connected
    from index.on_ray import Shards

    with connected(*args.ray), closing(Shards(args.shard_seconds)) as shards:
        yield shards


def need_packages(command: str) -> None:
    """Refuse to start a server without the packages it needs; raises InputError."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(f"mee {command} needs the package {' and '.join(missing)}: pip install 'mee[serve]'")


def open_in_browser(address: str) -> threading.Thread:
    """Open an address, in a thread: the browser's program may take as long as it likes."""
    import webbrowser

    def work() -> None:
        if not webbrowser.open(address):
            say(f"no browser could be started; open {address} in one")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


async def listen(app: FastAPI, listener: socket.socket, ready: Callable[[], None]) -> int:
    """Answer requests until a signal comes, and return it; 0: the server ended without.

    ready: called when requests are answered.
    """
    import uvicorn

    caught: list[int] = []

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """The first signal ends it in order, the second at once."""

            def stop(number: int, _: object) -> None:
                caught.append(number)
                self.should_exit, self.force_exit = True, len(caught) > 1

            if threading.current_thread() is not threading.main_thread():
                yield
                return
            before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for each, handler in before.items():
                    signal.signal(each, handler)

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    await Server(config).serve([listener])
    return caught[0] if caught else 0


def _token(path: Path) -> str:
    """The token of a file."""
    make = f"(umask 077; python3 -c 'import secrets; print(secrets.token_urlsafe())' > {shlex.quote(str(path))})"
    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read(4096)
    except FileNotFoundError:
        raise InputError(f"there is no token file '{path}'; make one: {make}") from None
    token = content.decode("ascii", "replace").strip()
    if not TOKEN.fullmatch(token):
        raise InputError(
            f"'{path}' must hold one token of 16 to 1,024 letters, digits and signs; make one: {make}"
        )
    if mode & 0o077:
        say(f"warning: other users can read the token in '{path}'; chmod 600 {shlex.quote(str(path))}")
    return token


def bound(host: str, port: int, token: str | None = None) -> socket.socket:
    """A socket at an address, which listens later; port 0: any that is free.

    Raises:
        InputError: the address is none of this machine, or taken, or others reach it and there is no token.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise InputError(f"--host '{host}' is no address of this machine; try 127.0.0.1") from None
    family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    if token is None and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise InputError(f"--host {host} lets other machines ask, so it needs a token: add --token-file FILE")
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} is taken; choose another with --port, or --port 0") from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise InputError(f"--host '{host}' is no address of this machine; try 127.0.0.1") from None
        raise InputError(f"port {port} cannot be used ({error.strerror}); choose another with --port") from None
    return listener
