"""An index in PostgreSQL answers as one in a folder does, to the last bit, whatever is asked and put."""

import asyncio
import re
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest

from index.facets import facets
from index.queries import Queries
from index.recall import record_recall
from index.request import Request
from index.scanners import Settings
from index.searcher import Searcher
from index.storage.writer import IndexWriter
from index.text_side import Text
from index.video_index import VideoIndex, selection_of
from mee.errors import InputError
from mee.text import Unread
from tests.index.galleries import LAYOUT, ORIGIN, SPOKEN, entries_of, random_gallery, random_text

pytest.importorskip("psycopg")
pytest.importorskip("fastapi")
from httpx import ASGITransport, AsyncClient

from index.postgres.connection import Place
from index.postgres.database import Database
from index.postgres.mirror import Exact
from index.postgres.places import holds_index, snapshot_at
from index.postgres.writer import DatabaseWriter
from scripts.serve.app import Settings as ServeSettings
from scripts.serve.app import create_app
from scripts.serve.service import Service

WORDS = ("motion 0 of c00003", "face 1", "of c0000")


class Made(Text):
    """Sentences mean something that follows from their letters."""

    def __init__(self, layout):
        self.layout, self.unread = layout, Unread()

    def encode(self, sentences):
        texts = [random_text(1, crc32(sentence.encode()), layout=self.layout) for sentence in sentences]
        return Queries.stacked([Queries.of(text) for text in texts])


def searcher_of(place, layout):
    return Searcher(VideoIndex(snapshot_at(place)), Made(layout))


def clips(count, seed, layout, first=0):
    rng = np.random.default_rng(seed)
    gallery = random_gallery(count, seed, first=first, doubled=0.1, layout=layout)
    columns = {
        "label": rng.choice(["news", "sport", None], count),
        "size": rng.choice([1, 2, 3, None], count).astype("float"),
        "file_modified": rng.choice(["2024-05-01 10:00:00", "2023-01-01 00:00:00", None], count),
    }
    return entries_of(gallery, layout, **columns)


def request_of(rng, layout, ids):
    """One of all kinds."""
    some = [str(name) for name in rng.choice(ids, 4, replace=False)]
    kinds = {
        "sentence": {"sentence": f"s{rng.integers(50)}"},
        "also": {"sentence": "a", "also": ((0.5, "b"), (-1.0, f"c{rng.integers(9)}"))},
        "like": {"like": some[0]},
        "marks": {"sentence": "m", "good": (some[0],), "bad": (some[1],)},
        "closer": {"good": (some[0],), "closer": ((some[2], some[3]),)},
        "then": {"sentence": "first", "then": (f"then{rng.integers(9)}",), "within": 60.0},
        "only": {"sentence": "o", "only": (str(rng.choice(layout.names)),)},
        "weights": {"sentence": "w", "weights": {"appearance": 0.7, "face": 0.3}},
        "fold": {"sentence": f"f{rng.integers(9)}", "fold": True},
        "by_video": {"sentence": f"v{rng.integers(9)}", "by_video": True, "moments": 2},
    }
    if layout.words:
        name = ("said", "written")[rng.integers(2)]
        kinds["words"] = {name: str(rng.choice(WORDS))}
        kinds["both"] = {"sentence": "both", name: "of c"}
    fields = dict(kinds[str(rng.choice(list(kinds)))])
    fields["top"] = int(rng.choice([1, 3, 10, 40]))
    if rng.random() < 0.4:
        wheres = ('label == "news"', "size > 1 and not label == 'sport'", "start_s < 30", "label is None", "False")
        fields["where"] = str(rng.choice(wheres))
    if rng.random() < 0.2:
        fields["offset"] = 2
    if rng.random() < 0.2 and "fold" not in fields:
        fields["sort"] = "date"
    if rng.random() < 0.1:
        fields["min_score"] = 0.05
    if rng.random() < 0.1 and "like" not in fields and "then" not in fields:
        fields["video"] = f"v{rng.integers(3)}.mp4"
    return fields


def outcome(work, *asked):
    try:
        return work(*asked)
    except InputError as error:
        return str(error)


def answers(searcher, requests):
    return [outcome(lambda one: [hit.to_dict() for hit in searcher.search([one])[0]], each) for each in requests]


def requests_of(count, seed, layout, ids):
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        try:
            found.append(Request(**request_of(rng, layout, ids)))
        except InputError:  # what makes no sense together
            continue
    return found


@pytest.fixture
def both(postgres, place):
    """Writes the same to a folder and to a database."""

    def make(layout, steps, **how):
        url = Place(postgres.fresh())
        with IndexWriter.create(place, layout, ORIGIN) as writer:
            for step in steps:
                step(writer)
            writer.compact()
        with DatabaseWriter.create(url, layout, ORIGIN, **how) as writer:
            for step in steps:
                step(writer)
        return place, url

    return make


@pytest.mark.slow
@pytest.mark.parametrize("layout", [LAYOUT, SPOKEN[0]], ids=["vectors", "words"])
def test_what_is_found_is_what_a_folder_finds(both, layout):
    def change(place):
        """Replace, add and remove."""
        writer = IndexWriter if place is folder else DatabaseWriter
        with writer.open(place) as its:
            its.put(clips(40, 7, layout, first=30))
            its.remove(["c00001", "c00035", "c00069"])
            if writer is IndexWriter:
                its.compact()

    folder, database = both(layout, [lambda writer: writer.put(clips(60, 1, layout))])
    one, other = searcher_of(folder, layout), searcher_of(database, layout)
    for step in range(2):
        ids = sorted(one.video_index.snapshot.segments[0].table.arrow["clip_id"].to_pylist())
        requests = requests_of(40, step, layout, ids)
        for request, wanted, found in zip(requests, answers(one, requests), answers(other, requests)):
            assert found == wanted, request
        together = [request for request in requests if not isinstance(outcome(one.search, [request]), str)]
        assert len(together) > 20
        assert one.search(together) == other.search(together)
        for request in requests[:5]:
            assert outcome(facets, one.video_index, request) == outcome(facets, other.video_index, request)
            assert outcome(one.explain, request, ids[5]) == outcome(other.explain, request, ids[5])
        for its, place in ((one, folder), (other, database)):
            assert not its.refresh()
            if not step:
                change(place)
                assert its.refresh()


def literal(rng, kind):
    if kind == "text":
        return repr(str(rng.choice(["", "ab", "b", "Zoë", "a%b", "_", "\0", "a\0c", "\U0001f600"])))
    if kind == "numbers":
        return str(rng.choice([0, 1, -2, 2.5, 1e300, 2**53 + 1, 9223372036854775807, -0.1, 3.0]))
    return str(rng.choice([True, False]))


def condition(rng, columns, depth=0):
    """A filter of random nodes; some compare what cannot be compared."""
    if depth < 3 and rng.random() < 0.5:
        parts = [condition(rng, columns, depth + 1) for _ in range(rng.integers(1, 4))]
        joined = f" {rng.choice(['and', 'or'])} ".join(f"({part})" for part in parts)
        return f"not ({joined})" if rng.random() < 0.3 else joined
    name = list(columns)[rng.integers(len(columns))]
    kind = columns[name] if rng.random() < 0.95 else rng.choice(["text", "numbers", "truth"])
    column = f"column({name!r})"
    match rng.integers(8):
        case 0:
            return f"{column} is {rng.choice(['', 'not '])}None"
        case 1:
            many = ", ".join(literal(rng, kind) for _ in range(rng.integers(0, 4)))
            return f"{column} {rng.choice(['in', 'not in'])} [{many}]"
        case 2 if kind == "text":
            return f"{literal(rng, kind)} {rng.choice(['in', 'not in'])} {column}"
        case 3 if kind == "text":
            few = "".join(f"{literal(rng, kind)}, " for _ in range(rng.integers(0, 3)))
            return f"{column}.{rng.choice(['startswith', 'endswith'])}(({few}))"
        case 4:
            other = [each for each, its in columns.items() if its == columns[name]]
            return f"{column} {rng.choice(['<', '==', '!='])} column({str(rng.choice(other))!r})"
        case 5 if kind == "truth":
            return str(rng.choice([column, "True", "False"]))
    sign = rng.choice(["==", "!="] if kind == "truth" else ["==", "!=", "<", "<=", ">", ">="])
    chain = f"{literal(rng, kind)} {sign} {column}"
    return f"{chain} {sign} {literal(rng, kind)}" if rng.random() < 0.3 else chain


def test_random_filters_allow_what_they_allow_in_a_folder(both):
    rng, count = np.random.default_rng(0), 300

    def column(values):
        return [None if rng.random() < 0.2 else values[rng.integers(len(values))] for _ in range(count)]

    text, long = 'Tïtle "x" %s', "l" * 80
    given = {
        text: column(["", "ab", "b", "Zoë", "a%b", "_", "\U0001f600", "Z", "a"]),
        "row": column([0, 1, -2, 3, 2**53 + 1, 2**63 - 1]),
        long: column([0.0, 1.0, 2.5, 1e300, -0.1, float("inf"), 3.0]),
        "xmin": column([True, False]),
        "nothing": [None] * count,
    }
    kinds = {text: "text", "video": "text", "row": "numbers", long: "numbers", "duration": "numbers"}
    kinds |= {"xmin": "truth", "nothing": "text"}
    entries = entries_of(random_gallery(count, 1), LAYOUT, **given)
    sides = [VideoIndex(snapshot_at(place)) for place in both(LAYOUT, [lambda writer: writer.put(entries)])]
    refused, query = 0, Queries.of(random_text(1, 2))

    def found(index, where):
        return index.rank(query, count, where=selection_of(Request(sentence="s", where=where), index)[0]).ids

    for _ in range(200):
        where = condition(rng, kinds)
        wanted, same = (outcome(found, index, where) for index in sides)
        assert same == wanted, where
        refused += isinstance(wanted, str)
    assert 5 < refused < 60


@pytest.fixture
def database(both):
    return both(LAYOUT, [lambda writer: writer.put(clips(60, 1, LAYOUT))])[1]


def test_a_change_in_the_middle_of_a_search_is_seen_whole(database, monkeypatch):
    searcher, asked = searcher_of(database, LAYOUT), Exact._asked
    changes = [lambda writer: writer.put(clips(9, 3, LAYOUT, first=100)), lambda writer: writer.remove(["c00000"])]

    def changing(self, *given, **how):
        if changes:
            with DatabaseWriter.open(database) as writer:
                changes.pop()(writer)
        return asked(self, *given, **how)

    monkeypatch.setattr(Exact, "_asked", changing)
    request = Request(sentence="s", top=70)
    found = searcher.search([request])
    assert not changes
    assert found == searcher_of(database, LAYOUT).search([request])
    assert len(searcher.video_index) == len(found[0]) == 68


@pytest.mark.parametrize("settings", [Settings(), Settings("fastscan", 0.9)])
def test_an_index_that_replaces_another_is_seen_when_it_is_whole(database, settings):
    searcher, request = searcher_of(database, LAYOUT), Request(sentence="s", top=70)
    before, how = searcher.search([request]), {"settings": settings, "overwrite": True}

    def replace_it():
        with DatabaseWriter.create(database, LAYOUT, ORIGIN, **how) as writer:
            writer.put(clips(9, 3, LAYOUT))
            assert len(writer.snapshot) == 9
            assert not writer.published
            assert not searcher.refresh()
            with pytest.raises(InputError, match="another process"):
                DatabaseWriter.open(database)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_it()
    assert (searcher.refresh(), searcher.search([request])) == (False, before)
    assert not holds_index(database.beside)
    with DatabaseWriter.create(database.beside, LAYOUT, ORIGIN):
        pass  # as a killed process leaves it
    with DatabaseWriter.create(database, LAYOUT, ORIGIN, **how) as writer:
        writer.put(clips(9, 3, LAYOUT))
        assert searcher.search([request]) == before
    assert searcher.refresh()
    assert len(searcher.search([request])[0]) == len(searcher.video_index) == 9
    assert not holds_index(database.beside)


@pytest.mark.slow
def test_an_approximate_index_has_a_recall_and_exact_results_of_it_are_those_of_a_folder(both):
    steps, how = [lambda writer: writer.put(clips(60, 1, SPOKEN[0]))], {"settings": Settings("fastscan", 0.9)}
    folder, url = both(SPOKEN[0], steps, **how)
    assert record_recall(url).reached >= 0.9
    one, other = searcher_of(folder, SPOKEN[0]), searcher_of(url, SPOKEN[0])
    assert not other.video_index.proven
    for request in requests_of(10, 5, SPOKEN[0], [f"c{n:05d}" for n in range(60)]):
        exact = replace(request, exact=True)
        assert outcome(other.search, [exact]) == outcome(one.search, [exact])
        assert len(outcome(other.search, [request])) == len(outcome(one.search, [request]))


def test_a_lost_connection_is_replaced(database, monkeypatch):
    searcher, vectors = searcher_of(database, LAYOUT), Database.vectors
    wanted = searcher_of(database, LAYOUT).search([Request(sentence="s")])

    def interrupted(self, *given):
        with self.place.connect(write=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        return vectors(self, *given)

    monkeypatch.setattr(Database, "vectors", interrupted)
    assert searcher.search([Request(sentence="s")]) == wanted


def test_a_server_that_is_gone_is_told_and_served_again_when_it_is_back(database, postgres, says, monkeypatch):
    monkeypatch.setattr("scripts.serve.service.AGAIN_S", 0.0)
    request, searcher = {"q": "s", "size": "5"}, searcher_of(database, LAYOUT)
    monkeypatch.setattr(Text, "unread_of", lambda *_: Unread())

    async def ask():
        async with Service(searcher, reload=lambda: searcher_of(database, LAYOUT)) as service:
            app = create_app(service, ServeSettings())
            async with AsyncClient(transport=ASGITransport(app)) as client:
                found = [await client.get("http://localhost/api/search", params=request)]
                postgres.stop()
                found += [await client.get("http://localhost/api/search", params=request | {"q": "t"})]
                postgres.start()
                for _ in range(3):  # the first ones may find that it was lost
                    found += [await client.get("http://localhost/api/search", params=request)]
        return found

    first, lost, *_, last = asyncio.run(ask())
    assert (first.status_code, lost.status_code, last.status_code) == (200, 503, 200)
    assert first.json()["hits"] == last.json()["hits"]
    says(re.sub(r":\d+/\w+", ":PORT/DATABASE", lost.json()["error"]))
