"""The manifest says what is part of an index, and no more than that."""

import json

import pytest

from index.scanners.kinds import Settings
from index.storage.manifest import Manifest, Part, Recall, clear, is_foreign, last_number, parts_in, read_manifest
from index.storage.writer import IndexWriter
from mee.errors import InputError
from tests.index.made_clips import LAYOUT, ORIGIN, contents, made_entries


def made(**changes):
    fields = {"identity": "1f", "generation": 7, "layout": LAYOUT, "origin": ORIGIN, "log": "log-000007"}
    return Manifest(**{**fields, "settings": Settings(kind="fastscan", recall=0.9), **changes})


@pytest.mark.parametrize(
    "manifest",
    [
        made(),
        made(
            offsets={"method": "é", "bank": [1, 2.5, None]},
            recall=Recall(0.99, 0.995, 100, 10, 500, "500 sentences of q.txt", 1000),
            segments=(Part("000001", "ab"), Part("1000003", "cd")),
            removed=Part("removed-000007.safetensors", "ef"),
        ),
    ],
)
def test_it_comes_back(tmp_path, manifest):
    text = manifest.write(tmp_path)
    assert read_manifest(tmp_path) == (manifest, text)
    assert json.loads(text)["format"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]


def test_what_json_cannot_say_is_not_written(tmp_path):
    made().write(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        made(offsets={"mean": float("nan")}).write(tmp_path)
    assert read_manifest(tmp_path)[0] == made()


def test_an_error_in_between_leaves_the_one_before(tmp_path, monkeypatch):
    made().write(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        made(generation=8).write(tmp_path)
    assert read_manifest(tmp_path)[0] == made()
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]


def test_where_there_is_none(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file" / "x"):
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match=r"no index at '.*'; make one with: mee index STORE MODEL"):
            read_manifest(place)


def test_deeply_nested_json_is_no_crash(tmp_path):
    (tmp_path / "index.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match="is damaged"):
        read_manifest(tmp_path)


def test_another_format_is_to_be_made_again(tmp_path):
    for version in (1, 99, None):
        (tmp_path / "index.json").write_text(json.dumps({"format": version}))
        with pytest.raises(InputError, match=f"is of format {version}.* mee index STORE MODEL INDEX --overwrite"):
            read_manifest(tmp_path)


LEFT = ("log-000917", "removed-000918.safetensors", ".index.json.77", ".log-000001.77")
LEFT += (".removed-000918.safetensors.7", "segments/000920/vectors-1.npy", "segments/.000921/clips.arrow")
KEPT = ("notes.txt", "log-1", ".index.json.bak", "segments/readme", "queries.safetensors", "clips-000001.parquet")


def test_the_next_writer_takes_away_what_a_killed_one_left(tmp_path):
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
