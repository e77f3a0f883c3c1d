"""An index in a PostgreSQL database, beside one on disk."""

import re
import sys
import threading
import time
import traceback

import numpy as np
import pytest

from benchmarks.scale.server import Server
from index.postgres import Database, Outdated, Place
from index.storage import IndexWriter
from mee.errors import InputError
from mee.layout import Layout
from tests.index.made_clips import LAYOUT, ORIGIN, SPOKEN, contents, known, made_entries, said_of

psycopg = pytest.importorskip("psycopg")
PASSWORD = "s3cret-p@ss/w0rd"
WRONG = "not-s3cret-%40"
QUOTED = "s3cret-p%40ss%2Fw0rd"
ODD = {
    'a "b" %s {} c': [1, None, 3],
    "row": [True, None, False],
    "duration": [0.5, np.inf, None],
    "none": [None] * 3,
}


def held(database):
    """What `contents` says of an index on disk."""
    changes = database.since(-1)
    kept = {}
    for place, (row, facts) in enumerate(zip(changes.rows.tolist(), changes.table.to_pylist())):
        code = facts.pop("pattern")
        flags = [digit == "1" for digit in code]
        vector = database.vectors(tuple(flags), [row])[0] if any(flags) else np.empty(0, np.float32)
        vector = vector[: database.state.width(flags) - (database.state.offsets is not None)]
        said = {name: said_of(words, place) for name, words in changes.words.items() if place in words.clips}
        parts = [
            ([{**row, "clip": name} for row in rows], values) for name, (rows, values) in sorted(said.items())
        ]
        kept[facts["clip_id"]] = known(facts), vector.tobytes() + (repr(parts).encode() if parts else b""), flags
    return kept


@pytest.mark.parametrize(("layout", "offsets"), [(LAYOUT, {"kind": "made"}), (SPOKEN, None)])
def test_it_holds_what_an_index_on_disk_holds(postgres, tmp_path, layout, offsets):
    database = Database.create(postgres.fresh(), layout, ORIGIN, offsets=offsets)
    with IndexWriter.create(tmp_path / "ix", layout, ORIGIN, offsets=offsets) as writer, database.writing():
        for each in (database, writer):
            has = offsets is not None
            each.put(
                made_entries(["a", 'b"\n\\.,', "c"], layout=layout, offsets=has, title=["x", None, ""], **ODD)
            )
            each.put(made_entries([f"d{n}" for n in range(40)] + ["a"], 1, layout, offsets=has, none=[2.5] * 41))
            each.put(
                made_entries(["e", "c"], 2, layout, missing=1.0, offsets=has, **{'a "b" %s {} c': [0.5, 2.0]})
            )
            assert each.remove(["d3", "a", "d3"]) == 2
            with pytest.raises(ValueError, match="'zz'"):
                each.remove(["d4", "zz"])
            with pytest.raises(ValueError, match="'none'"):
                each.put(made_entries(["x"], layout=layout, offsets=has, none=["text"]))
        assert held(database) == contents(writer.snapshot)
    assert (database.state.generation, Database.open(str(database.place)).state) == (4, database.state)
    later = database.since(3)
    assert (len(later.table), later.generation) == (0, 4)
    assert set(later.removed) < set(database.since(-1).removed)
    database.write_state(scale=None, origin=ORIGIN)
    assert database.since(4).generation == 5


@pytest.mark.parametrize("hnsw", [False, True])
def test_it_finds_the_best(postgres, hnsw):
    database = Database.create(postgres.fresh(), LAYOUT, ORIGIN, hnsw=hnsw)
    names = [f"c{number:03}" for number in range(400)]
    database.put(made_entries(names, missing=0.0, number=list(range(400))))
    changes, pattern = database.since(-1), (True, True, True)
    vectors = database.vectors(pattern, changes.rows[::-1])[::-1]
    rng = np.random.default_rng(0)
    for query in rng.normal(size=(20, 13)).astype(np.float32):
        scores = vectors @ query
        for where, allowed in [(None, scores > -9), (changes.rows[:30], np.arange(400) < 30)]:
            best = np.argsort(-np.where(allowed, scores, -9))[:10]
            found, rows = database.search(pattern, query, 10, where, generation=1)
            np.testing.assert_allclose(found, scores[best], rtol=1e-4, atol=1e-5)
            assert rows.tolist() == changes.rows[best].tolist()
    assert len(database.search(pattern, query, 1000)[1]) == 400
    assert len(database.search(pattern, query, 5, np.empty(0, np.int64))[1]) == 0
    with pytest.raises(Outdated):
        database.search(pattern, query, 5, generation=0)
    with pytest.raises(Outdated):
        database.vectors(pattern, [10**9])
    again = Database.create(str(database.place), LAYOUT, ORIGIN, overwrite=True)
    with pytest.raises(Outdated):
        database.search(pattern, query, 5)
    with pytest.raises(InputError, match="made again"):
        database.put(made_entries(["a"]))
    assert len(again.since(-1).table) == 0


def test_wide_vectors_are_found_by_half_precision_and_compared_in_full(postgres):
    wide = Layout(("appearance", "motion"), (1500, 700))
    database = Database.create(postgres.fresh(), wide, ORIGIN, hnsw=True)
    database.put(made_entries([f"c{number}" for number in range(50)], layout=wide, missing=0.0))
    rows = database.since(-1).rows
    vectors = database.vectors((True, True), rows)
    for number in range(0, 50, 10):
        scores = vectors @ vectors[number]
        found, its = database.search((True, True), vectors[number], 1)
        assert its.tolist() == [rows[number]]
        np.testing.assert_allclose(found, scores[number], rtol=1e-5)
    with pytest.raises(InputError, match="16,000"):
        Database.create(str(database.place), Layout(("a",), (16_001,)), ORIGIN)


def test_what_goes_wrong_is_one_sentence(postgres, monkeypatch, caplog, says):
    url, missing = postgres.fresh(), postgres.fresh(extension=False)
    users = f"plain{postgres.port}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {users} LOGIN PASSWORD '{PASSWORD}'")
        rules = postgres.folder / "data" / "pg_hba.conf"
        rules.write_text(f"host all {users} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(f"CREATE ROLE limited{postgres.port} LOGIN CONNECTION LIMIT 0")
    database = Database.create(url, LAYOUT, ORIGIN)
    mine = url.replace("postgres@", f"{users}:{QUOTED}@")
    limited = url.replace("postgres@", f"limited{postgres.port}@")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setenv("PGUSER", users)

    def change(statement, ask):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET search_path = mee, public")
            connection.execute(statement)
        ask()

    def full(connection):
        raise psycopg.errors.DiskFull("could not extend file")

    def without():
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "psycopg", None)
            Database.open(mine)

    def wrong_lock():
        with database.writing():
            Database.open(url).put(made_entries(["a"]))

    tries = {
        "malformed": lambda: Database.open(f"postgresql://u:{PASSWORD}@h/x"),
        "malformed too": lambda: Database.open(f"postgresql://u:{QUOTED}@h:p/x?sslmod=1"),
        "key=value": lambda: Database.open(f"host=h password={PASSWORD}"),
        "no server": lambda: Database.open(mine.replace(str(postgres.port), "1")),
        "no server at a port like an SQLSTATE": lambda: Database.open(mine.replace(str(postgres.port), "53100")),
        "no host": lambda: Database.open(f"postgresql://u:{QUOTED}@no.invalid/x"),
        "password": lambda: Database.open(mine.replace(QUOTED, WRONG)),
        "no database": lambda: Database.open(mine.replace("base", "nosuch")),
        "no index": lambda: Database.open(url.replace("/base", "/base") + "?options=-csearch_path%3Delsewhere"),
        "no extension": lambda: Database.open(missing),
        "no right": lambda: Database.create(missing.replace("postgres@", f"{users}:{QUOTED}@"), LAYOUT, ORIGIN),
        "no right to write": lambda: Database.open(mine),
        "there": lambda: Database.create(url, LAYOUT, ORIGIN),
        "lock": wrong_lock,
        "read-only": lambda: Database.open(f"{url}?options=-cdefault_transaction_read_only%3Don").put(
            made_entries(["a"])
        ),
        "NUL": lambda: database.put(made_entries(["a"], title=["a\0b"])),
        "full": lambda: database._asked(full),
        "no connection left": lambda: Database.open(limited),
        "no psycopg": without,
        "slow": lambda: Database.open(f"{url}?options=-cstatement_timeout%3D1")._asked(
            lambda connection: connection.execute("SELECT pg_sleep(1)")
        ),
        "format": lambda: change("UPDATE mee_index SET format = 7", lambda: Database.open(url)),
        "old": lambda: change("UPDATE pg_extension SET extversion = '0.5.1'", lambda: Database.open(url)),
    }
    said = []
    for name, attempt in tries.items():
        with pytest.raises(InputError) as caught:
            attempt()
        each = caught.value
        while each is not None:
            whole = "".join(traceback.format_exception(each)) + repr(each) + str(vars(each))
            assert not any(each in whole for each in (PASSWORD, PASSWORD[7:], QUOTED, WRONG, "not-s3cret-@")), name
            each = each.__context__
        text = re.sub(
            r"(plain|limited|base|such|process |:)\d+|(?<=mee .)\w+(?=,)|(?<=since )[-:0-9 ]+(?=\))",
            r"\1N",
            str(caught.value),
        )
        said.append(f"{name}: {text}")
    assert "s3cret" not in caplog.text + repr(database) + repr(database.state) + repr(Place(mine)) + str(
        vars(database)
    )
    says("\n".join(said))
    assert Database.create(missing, LAYOUT, ORIGIN).state.generation == 0


def test_a_read_survives_a_lost_connection_and_a_write_says_what_is_there(postgres):
    url = postgres.fresh()
    database = Database.create(url, LAYOUT, ORIGIN)
    database.put(made_entries(["a", "b"]))

    def end(seconds=0.0, like="%"):
        time.sleep(seconds)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE %s",
                (like,),
            )

    end()
    assert len(database.since(-1).table) == 2
    slow = threading.Thread(target=end, args=(0.3, "%pg_sleep%"))
    slow.start()
    assert database._asked(lambda connection: connection.execute("SELECT 7 FROM pg_sleep(1)").fetchone()) == (7,)
    slow.join()
    with database.writing():
        end()
        with pytest.raises(InputError, match="nothing is there"):
            database.put(made_entries(["c"]))
    database.put(made_entries(["c"]))
    assert database.since(-1).table["clip_id"].to_pylist() == ["a", "b", "c"]


@pytest.mark.slow
def test_a_killed_server_has_each_put_whole_or_not_at_all():
    from benchmarks.scale.postgres import kills

    with Server() as server:
        assert sum(kills(server, 3, clips=1000).values()) == 3


@pytest.mark.slow
def test_a_promoted_standby_answers_the_same():
    from benchmarks.scale.postgres import promoted

    assert promoted(clips=1000, queries=10)
