"""Connections to a PostgreSQL database, and its errors as one sentence each, which never hold a password.

A url is `postgresql://user:password@host:port/database?parameters`, as libpq reads it: several hosts, sslmode, …;
the password may also come from PGPASSWORD or a password file. An index lies in one schema of the database: `mee`,
or the one that `?options=-csearch_path%3Dname` names.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mee.errors import InputError, Unavailable

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

    Connection = psycopg.Connection[Any]

SCHEME, SCHEMA = "postgresql://", "mee"
CONNECT_S, READ_S = 5, 120  # to wait for a host, and for the answer to a read
ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
OLDEST_SERVER, OLDEST_VECTOR = 13, (0, 8)  # with iterative scans: else a filter leaves HNSW few results
SEARCH_PATH = re.compile(r"-(?:c\s*|-)search_path=(\w{1,60})")
OPENED = """SELECT set_config('search_path', concat_ws(',', quote_ident(%s), quote_ident(min(nspname))), false),
    min(extversion), current_setting('transaction_read_only')
    FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'"""
TAKE = "SELECT pg_try_advisory_lock(hashtext('mee'), %s::regnamespace::oid::bigint::int)"
HOLDER = """SELECT concat('process ', pid, ' there, ', application_name, ', since ' || backend_start::timestamp(0))
    FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted
    AND classid = hashtext('mee')::bigint::bit(32)::bigint::oid AND objid = %s::regnamespace::oid"""
REMEDIES = {  # of an SQLSTATE or, while there is no connection, of what libpq and the server say, ports included
    "authentication failed": "refuses the user or the password; check both (in a url they are percent-encoded)",
    "no password supplied": "wants a password; give it in the url, in PGPASSWORD or in a password file",
    "too many c|remaining connection|^53300$": "has no connection free; try later, or raise max_connections",
    "starting up|shutting down|recovery mode|^57P03$": "is starting or stopping; try again in a moment",
    'role "': "does not know the user; check the name in the url",
    'database "': "does not exist on that server; make it: createdb NAME",
    "^25006$": "is read-only, as a standby is; give the url of the primary",
    "^(53...|58030)$": "has no room left; free disk or memory there, and run it again: nothing of it was kept",
    "^57014$": "did not answer in time; ?options=-cstatement_timeout%3D600000 gives it more, in milliseconds",
    "^(42P01|3F000)$": "has no index; make one with: mee index STORE MODEL URL",
    "^(22021|22P05)$": "cannot keep a text with the character NUL; take it out",
    "^(57P0.|08...)$|server closed|connection is|SSL|EOF": "closed the connection; see that it runs, try again",
    "connect|resolve|translate": "cannot be reached; check host and port, and that it runs and takes connections",
}


class Place:
    """Where an index is. As text it is a url without what is secret."""

    def __init__(self, url: str) -> None:
        """Read a url.

        Raises:
            InputError: it is malformed, or the package psycopg is missing.
        """
        where, facts = url.removeprefix(SCHEME), dict[str, Any]()
        if url.startswith(SCHEME) and where.count("@") == where.partition("/")[0].count("@") <= 1:
            facts = _facts(url)
        if not facts:
            raise InputError(
                "the url of the database is malformed; it is postgresql://user:password@host:port/database, and "
                "in a name or password %3A stands for :, %2F for /, %3F for ?, %40 for @ and %25 for %"
            )
        named = SEARCH_PATH.search(facts.get("options") or "")
        self.schema = named[1] if named else SCHEMA
        user, host, port = (facts.get(name) or "" for name in ("user", "host", "port"))
        self._text = (
            f"{SCHEME}{user}{'@' if user else ''}{host}{':' if port else ''}{port}/{facts.get('dbname', '')}"
        )
        self._text += f"?options=-csearch_path%3D{self.schema}" if named else ""
        self._facts = facts

    def __str__(self) -> str:
        return self._text

    __repr__ = __str__

    @property
    def beside(self) -> Place:
        """Where an index is made that replaces the one here: in a schema that no url can name."""
        other = copy(self)
        other.schema = f"{self.schema}~"
        return other

    @property
    def texts(self) -> Path:
        """Where this machine keeps text sides of indexes in databases: in the user's cache directory."""
        cache = os.environ.get("XDG_CACHE_HOME", "")
        return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "mee" / "texts"

    def connect(self, *, write: bool = False, create: bool = False) -> Connection:
        """Open a connection, without write to read alone; create: the extension may be missing.

        Raises:
            InputError: it cannot be opened; the message says why.
        """
        import psycopg

        settings = {
            "statement_timeout": 0 if write else READ_S * 1000,
            "jit": "off",
            "client_min_messages": "error",
        }
        settings |= {} if write else {"enable_indexscan": "off"}
        options = [*(f"-c{name}={value}" for name, value in settings.items()), self._facts.get("options") or ""]
        name = f"mee ({socket.gethostname()}, process {os.getpid()})"
        given = {"connect_timeout": CONNECT_S, "fallback_application_name": name, **ALIVE, **self._facts}
        with sentences(self):
            connection = psycopg.connect(**given | {"options": " ".join(options)}, autocommit=True)
            try:
                _, version, read_only = connection.execute(OPENED, (self.schema,)).fetchone() or ("", None, "")
                if not write:  # not before: target_session_attrs would take it for a standby
                    connection.execute("SET default_transaction_read_only = on")
                if connection.info.server_version < OLDEST_SERVER * 10_000:
                    raise InputError(f"the server of {self} is older than PostgreSQL {OLDEST_SERVER}; upgrade it")
                if write and read_only == "on":
                    raise psycopg.errors.ReadOnlySqlTransaction
                if version is None and not create:
                    raise InputError(f"the database at {self} has no extension vector, so no index; {MAKE_ONE}")
                if version is not None and tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_VECTOR:
                    raise InputError(
                        f"the database at {self} has the extension vector {version}, and 0.8 or newer is needed; "
                        "install pgvector there, then run in the database: ALTER EXTENSION vector UPDATE"
                    )
            except BaseException:
                connection.close()
                raise
        return connection


@contextmanager
def locked(place: Place) -> Iterator[Connection]:
    """A connection that is the only one that writes, until the end.

    Raises:
        InputError: another one writes.
    """
    connection = place.connect(write=True)
    try:
        with sentences(place):
            lock(connection, place)
        yield connection
    finally:
        connection.close()


def lock(connection: Connection, place: Place) -> None:
    """Be the only one that writes until the connection ends."""
    schema = (composed("{}", place.schema).as_string(),)
    if connection.execute(TAKE, schema).fetchone() != (True,):
        who = connection.execute(HOLDER, schema).fetchone()
        raise InputError(
            f"another process{f' ({who[0]})' if who else ''} is writing the index at {place}; "
            "wait until it is done, or stop it"
        )


MAKE_ONE = "make one with: mee index STORE MODEL URL"


def make_extension(connection: Connection, place: Place) -> None:
    """Make the extension where it is missing.

    Raises:
        InputError: it is not installed on the server, or the user may not.
    """
    import psycopg

    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported) as error:
        denied = isinstance(error, psycopg.errors.InsufficientPrivilege)
        why = "this user may not make it" if denied else "the server lacks it: install pgvector there"
        said = f"the database at {place} has no extension vector, and {why}"
        said += "; let an administrator run in the database: CREATE EXTENSION vector"
    else:
        return
    raise InputError(said)


def _facts(url: str) -> dict[str, Any]:
    """The parameters of a url; none where it is malformed, as the error may hold a part of a password."""
    try:
        import psycopg
    except ImportError as error:
        raise InputError(
            "an index in a PostgreSQL database needs the package psycopg: pip install 'mee[postgres]'"
        ) from error
    try:
        return psycopg.conninfo.conninfo_to_dict(url) or {"dbname": ""}
    except psycopg.Error:
        return {}


@contextmanager
def sentences(place: Place) -> Iterator[None]:
    """Turn errors of the database into one sentence."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        said = sentence(error, place)
        vars(error).clear()  # it is the context of what is raised, and holds the parameters of the connection
        error.__context__ = None
        raise (Unavailable if lost else InputError)(said) from None


def sentence(error: psycopg.Error, place: Place) -> str:
    """What went wrong, and what to do."""
    said = str(error) if error.sqlstate is None else error.sqlstate
    remedy = next((remedy for found, remedy in REMEDIES.items() if re.search(found, said)), "")
    if not remedy:
        reason = (error.diag.message_primary or str(error)).strip().partition("\n")[0]
        remedy = f"refuses it ({reason}); change it there, or let its administrator allow it"
    return f"the database at {place} {remedy}"


def composed(query: str, *names: str) -> sql.Composed:
    """A query whose {} are names, quoted."""
    from psycopg import sql

    return sql.SQL(query).format(*map(sql.Identifier, names))


def quoted(name: str) -> str:
    """A name, quoted; for queries with parameters, where % begins one."""
    from psycopg import sql

    return sql.Identifier(name).as_string(None).replace("%", "%%")
