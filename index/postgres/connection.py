"""Connections to a PostgreSQL database, and its errors as one sentence each, which never hold a password.

A url is `postgresql://user:password@host:port/database?parameters`, as libpq reads it (several hosts, sslmode, …;
the password may also come from PGPASSWORD, or a password file). An index lies in one schema of the database: `mee`,
or the one that `?options=-csearch_path%3Dname` names.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mee.errors import InputError

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

    Connection = psycopg.Connection[Any]

SCHEME = "postgresql://"
SCHEMA = "mee"
CONNECT_S, READ_S = 5, 120  # seconds to wait for each host, and for the answer to a read
ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
OLDEST_SERVER, OLDEST_VECTOR = 13, (0, 7)
SEARCH_PATH = re.compile(r"-c\s*search_path=(\w+)|--search_path=(\w+)")


class Place:
    """Where an index is. As text it is a url without what is secret."""

    def __init__(self, url: str) -> None:
        """Read a url.

        Raises:
            InputError: it is malformed, or the package psycopg is missing.
        """
        conninfo = _psycopg().conninfo
        where, facts = url.removeprefix(SCHEME), dict[str, Any]()
        if url.startswith(SCHEME) and where.count("@") == where.partition("/")[0].count("@") <= 1:
            try:
                facts = conninfo.conninfo_to_dict(url)
            except _psycopg().Error:  # its text, and the error, may hold a part of the password
                facts = {}
        if not facts and url != SCHEME:
            raise InputError(
                "the url of the database is malformed; it is written postgresql://user:password@host:port/database, "
                "and in a name or password %3A stands for :, %2F for /, %3F for ?, %40 for @ and %25 for %"
            )
        named = SEARCH_PATH.search(facts.get("options") or "")
        self.schema = (named[1] or named[2]) if named else SCHEMA
        user, host, port = (facts.get(name) for name in ("user", "host", "port"))
        at = ",".join(filter(None, [host])) + (f":{port}" if port else "")
        self._text = f"{SCHEME}{f'{user}@' if user else ''}{at}/{facts.get('dbname') or ''}"
        self._text += f"?options=-csearch_path%3D{self.schema}" if named else ""
        self._facts = facts

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Place('{self._text}')"

    def connect(self, *, write: bool = False) -> Connection:
        """Open a connection; one to read cannot write.

        Raises:
            InputError: there is none to be had; the message says why.
        """
        psycopg = _psycopg()
        settings = {
            "statement_timeout": 0 if write else READ_S * 1000,
            "jit": "off",
            "client_min_messages": "error",
        }
        settings |= {} if write else {"default_transaction_read_only": "on"}
        options = " ".join(f"-c{name}={value}" for name, value in settings.items())
        given = {"connect_timeout": CONNECT_S, **ALIVE, **self._facts}
        given["options"] = f"{options} {self._facts.get('options') or ''}"  # the later ones count
        given["fallback_application_name"] = f"mee ({socket.gethostname()}, process {os.getpid()})"
        with sentences(self):
            connection = psycopg.connect(**given, autocommit=True)
        try:
            with sentences(self):
                query = "SELECT set_config('search_path', concat_ws(',', quote_ident(%s), (SELECT quote_ident(nspname) "
                query += "FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector')), false)"
                connection.execute(query, (self.schema,))
        except BaseException:
            connection.close()
            raise
        return connection


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise InputError(
            "an index in a PostgreSQL database needs the package psycopg: pip install 'mee[postgres]'"
        ) from error
    return psycopg


@contextmanager
def sentences(place: Place) -> Iterator[None]:
    """Turn errors of the database into one sentence; they may hold more than a user should see."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        said = sentence(error, place)
        raise InputError(said) from None


def sentence(error: psycopg.Error, place: Place) -> str:
    """What went wrong, and what to do."""
    reason = (error.diag.message_primary or str(error)).strip().partition("\n")[0]
    return f"the database at {place}: {reason}"


def composed(query: str, *names: str) -> sql.Composed:
    """A query whose {} are names, quoted."""
    from psycopg import sql

    return sql.SQL(query).format(*map(sql.Identifier, names))
