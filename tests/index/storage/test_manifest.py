"""The manifest says what is part of an index, and no more than that."""

import json

import pytest

from index.scanners.kinds import Settings
from index.storage.manifest import Manifest, Part, read_manifest
from mee.errors import InputError
from tests.index.made_clips import LAYOUT, ORIGIN


def made(**changes):
    fields = {"identity": "1f", "generation": 7, "layout": LAYOUT, "origin": ORIGIN, "log": "log-000007"}
    return Manifest(**{**fields, "settings": Settings(kind="graph", recall=0.9), **changes})


@pytest.mark.parametrize(
    "manifest",
    [
        made(),
        made(
            constants={"method": "é", "bank": [1, 2.5, None]},
            recall={"reached": 0.995},
            segments=(Part("000001", "ab"), Part("1000003", "cd")),
            removed=Part("removed-000007.safetensors", "ef"),
            queries=Part("queries-000005.safetensors", "01"),
        ),
    ],
)
def test_it_comes_back(tmp_path, manifest):
    text = manifest.write(tmp_path)
    assert read_manifest(tmp_path) == (manifest, text)
    assert json.loads(text)["format"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]


def test_what_json_cannot_say_is_not_written(tmp_path):
    made().write(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        made(constants={"mean": float("nan")}).write(tmp_path)
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
