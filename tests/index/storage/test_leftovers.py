"""What a killed writer left goes; what is not of an index stays."""

import pytest

from index.storage.leftovers import clear, is_foreign, last_number, parts_in
from index.storage.writer import IndexWriter
from tests.index.made_clips import LAYOUT, ORIGIN, contents, made_entries

LEFT = (
    "log-000917",
    "removed-000918.safetensors",
    "queries-000919.safetensors",
    ".index.json.77",
    ".log-000001.77",
)
LEFT += (".removed-000918.safetensors.7", "segments/000920/vectors-1.npy", "segments/.000921/clips.arrow")
KEPT = ("notes.txt", "log-1", ".index.json.bak", "segments/readme", "queries.safetensors", "clips-000001.parquet")


def test_the_next_writer_takes_away_what_was_left(tmp_path):
    place = tmp_path / "ix"
    with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
        writer.put(made_entries(["a", "b"]))
        writer.flush()
        writer.remove(["a"])
        writer.flush()
        before = contents(writer.snapshot)
    own = {path for path in place.rglob("*") if path.is_file()}
    for name in (*LEFT, *KEPT):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("left")
    with IndexWriter.open(place) as writer:
        assert contents(writer.snapshot) == before
    assert {path for path in place.rglob("*") if path.is_file()} == own | {place / name for name in KEPT}


def test_numbers_are_not_used_twice(tmp_path):
    assert last_number(tmp_path) == 0
    (tmp_path / "log-000917").touch()
    (tmp_path / "segments" / "1000003").mkdir(parents=True)
    assert parts_in(tmp_path) == {"log-000917", "segments/1000003"}
    assert last_number(tmp_path) == 1000003


@pytest.mark.parametrize(
    ("names", "foreign"),
    [
        ((), False),
        (("lock", "segments/000001/x", ".index.json.5", "log-000001"), False),  # the beginnings of one
        (("lock", "mine"), True),
        (("index.json",), True),  # of something else
        (("index.json", "log-000001"), False),  # damaged
    ],
)
def test_what_is_an_index(tmp_path, names, foreign):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{")
    assert is_foreign(tmp_path) is foreign


def test_clearing_follows_no_links(tmp_path):
    mine = tmp_path / "mine"
    (mine / "deep").mkdir(parents=True)
    place = tmp_path / "ix"
    (place / "segments").mkdir(parents=True)
    (place / "segments" / "000001").symlink_to(mine)
    clear(place, ())
    assert (mine / "deep").is_dir()
    assert not (place / "segments" / "000001").is_symlink()
