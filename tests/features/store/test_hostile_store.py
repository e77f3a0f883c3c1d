"""A store that came from anyone: one sentence, soon, and nothing beside the store is touched."""

import json
import os
import re
import shutil

import pyarrow.parquet as pq
import pytest

from features.errors import InputError
from features.store.layout import STORE_FILE
from tests.features.small_stores import change, read_all, shard_of

NAMED = {"part": "parts/{}.parquet", "sums": "checksums/{}.sha256", "rows": "sight/{}.safetensors"}
NAMED |= {"times": "sight/{}.times.safetensors"}
FILES = [*NAMED, STORE_FILE, f".{STORE_FILE}.lock", "writers/dead-1-a.lock", "writers/dead-1-a.json"]
FILES += ["imports/a.json", "parts/x-1-a-000001.parquet", "sight/.x.1", "checksums/x-1-a-000009.sha256"]
FOLDERS = ["parts", "checksums", "writers", "imports", "sight"]
PUT = {
    "link": lambda path, victim: path.symlink_to(victim / "pipe"),
    "device": lambda path, victim: path.symlink_to("/dev/zero"),
    "pipe": lambda path, victim: os.mkfifo(path),
    "folder": lambda path, victim: path.mkdir(),
    "link to a folder": lambda path, victim: path.symlink_to(victim),
    "file": lambda path, victim: path.write_text("x"),
}
PLACES = [(name, put) for name in FILES for put in ("link", "device", "pipe", "folder")]
PLACES += [(name, put) for name in FOLDERS for put in ("link to a folder", "pipe", "file")]


@pytest.mark.parametrize(("name", "put"), PLACES)
def test_links_pipes_and_devices_are_not_followed_opened_or_waited_for(refused, name, put):
    def spoil(store, victim):
        path = store / NAMED.get(name, name).format(shard_of(store))
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        PUT[put](path, victim)

    refusals = refused(spoil)
    if name in FOLDERS or name == STORE_FILE:
        assert len(refusals) == 8
    elif name in ("part", "sums", "rows", "checksums/x-1-a-000009.sha256"):
        assert refusals.keys() >= {"read", "export"}
    elif name.endswith(".lock"):
        assert refusals.keys() >= {"write", "merge into", "repair"}


def renamed(name):
    """The stream `sound` under another name, wherever the store names it."""

    def spoil(store, victim):
        new = name.replace("VICTIM", str(victim))
        change(store, lambda content: content["streams"].update({new: content["streams"].pop("sound")}))
        for path in (store / "checksums").iterdir():
            path.write_text(path.read_text().replace("  sound/", f"  {new}/"))
        for path in (store / "parts").iterdir():
            table = pq.read_table(path)
            versions = json.loads(table.schema.metadata[b"streams"])
            versions[new] = versions.pop("sound")
            table = table.rename_columns([new if each == "sound" else each for each in table.column_names])
            pq.write_table(table.replace_schema_metadata({"streams": json.dumps(versions)}), path)

    return spoil


STREAMS = ["../victim", "VICTIM", "", ".", "..", "a/b", "a\\b", ".x", "a b", "a\nb", "\x1b[31m", "x" * 101, "ü"]
STREAMS += ["parts", "Parts", "clip_id", "writers", "shard"]


@pytest.mark.parametrize("name", STREAMS)
def test_no_name_of_a_stream_is_a_path(refused, store_job, tmp_path, name):
    refusals = refused(renamed(name))
    assert len(refusals) == 8
    assert all("no stream can be called" in message for message in refusals.values())
    with pytest.raises(InputError, match="no stream may be called"):
        store_job.declare(tmp_path / "other", **{name.replace("VICTIM", str(tmp_path)): 3})


def entry(key, value):
    return lambda content: content["streams"]["sight"].update({key: value})


def made_by(key, value):
    return lambda content: content["streams"]["sight"]["fingerprint"].update({key: value})


MANIFESTS = {
    **{f"format {each!r}": lambda c, v=each: c.update(format=v) for each in (True, "3", 3.0, 2, 10**400)},
    **{f"cut {each!r}": lambda c, v=each: c.update(clip_seconds=v) for each in (True, "5", 0, -1, [])},
    **{f"dim {each!r}": made_by("dim", each) for each in (10**18, 0, -1, 1.5, True, "3", None)},
    **{f"version {each!r}": made_by("version", each) for each in ("1", None)},
    "no parameters": made_by("parameters", []),
    "a model": made_by("model", {"a": 1}),
    "more": made_by("more", 1),
    "no fingerprint": entry("fingerprint", None),
    **{f"versions {each!r}": entry("versions", each) for each in ("abc", None, {}, [1], ["../x"])},
    "overwritten": entry("overwritten", ["/etc/passwd"]),
    "digest": entry("digest", "../x"),
    **{f"code {each!r}": entry("code", each) for each in ([], {"mee": 1})},
    "no streams": lambda c: c.update(streams=[]),
    "no stream": lambda c: c.update(streams={"sight": 1}),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_of_other_types_is_refused(refused, case):
    assert len(refused(lambda store, victim: change(store, MANIFESTS[case]))) == 8


def test_what_is_said_of_manifests(store, says):
    """A sentence each."""
    said, before = [], (store / STORE_FILE).read_bytes()
    for edit in MANIFESTS.values():
        change(store, edit)
        with pytest.raises(InputError) as raised:
            read_all(store)
        said.append(str(raised.value))
        (store / STORE_FILE).write_bytes(before)
    says("\n".join(said))


NONSENSE = [
    b"[" * 200_000,
    b'{"a":' * 200_000,
    b"\xff\xfe\x00",
    b"",
    '{"format": NaN}'.encode("utf-16"),
    b"{}",
    b"[]",
]
NONSENSE += [b'{"format": 1}', b'{"format": 99}', b'{"format": 3, "streams": {"a": {"b": 1}}, "clip_seconds": 1}']


@pytest.mark.parametrize("content", NONSENSE)
def test_a_manifest_that_makes_no_sense_is_one_sentence(refused, content):
    refusals = refused(lambda store, victim: (store / STORE_FILE).write_bytes(content))
    assert len(refusals) == 8
    assert re.search(r"store\.json'? (is (damaged|of format (1|99),.*mee precompute)|cannot)", refusals["read"])


def test_a_manifest_without_an_end_takes_no_memory(refused):
    refusals = refused(lambda store, victim: os.truncate(store / STORE_FILE, 1 << 40))
    assert "it is a sparse file" in refusals["read"]


def test_what_a_dead_job_left_is_removed_inside_the_store_only(store, refused):
    """A foreign folder that is a link, and names of temporary files that are links."""

    def spoil(store, victim):
        (store / "writers" / "dead-1-a.lock").write_text("/../../victim/\nmodel\n")
        (store / "evil").symlink_to(victim)
        for name in (f".{STORE_FILE}.{os.getpid()}", f"parts/.{shard_of(store)}.parquet.{os.getpid()}"):
            (store / name).symlink_to(victim / "pipe")

    assert refused(spoil) == {}
    assert not (store / "writers" / "dead-1-a.lock").exists()
    assert (store / "evil").is_symlink()
