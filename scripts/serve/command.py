"""Serve an index as a page and an API, on this machine.

example:
  mee serve index/ --videos videos/
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from scripts.console import DONE, errors_as_sentences, parse, print_line


@dataclass(frozen=True, kw_only=True)
class ServeArgs:
    """Arguments of mee serve."""

    index: Annotated[Positional[Path], arg(metavar="INDEX")]  # made by mee index
    videos: Path | None = None  # the folder that mee precompute read; without it nothing can be played
    host: str = "127.0.0.1"  # address to listen on; any but this machine's own needs --token-file
    port: int = 8765  # 0: any that is free


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(ServeArgs, "serve", argv, __doc__ or "")
    return serve(args)


def serve(args: ServeArgs) -> int:
    """Serve until it is stopped."""
    import uvicorn

    from index import Searcher
    from scripts.serve.app import Settings, create_app
    from scripts.serve.service import Service

    searcher = Searcher.load(args.index)

    async def run() -> None:
        async with Service(searcher) as service:
            app = create_app(service, Settings(videos=args.videos))
            config = uvicorn.Config(app, host=args.host, port=args.port, log_level="warning")
            print_line(f"http://{args.host}:{args.port}/")
            await uvicorn.Server(config).serve()

    asyncio.run(run())
    return DONE
