"""A store that came from anyone: one sentence, soon, and nothing beside the store is touched."""

import hashlib
import json
import os
import re
import shutil
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from features.errors import InputError
from features.store import layout
from features.store.feature_store import FeatureStore
from features.store.shard import read_sums, write_sums
from tests.features.small_stores import change, read_all, shard_of

NAMED = {"part": "parts/{}.parquet", "sums": "checksums/{}.sha256", "rows": "sight/{}.safetensors"}
NAMED |= {"times": "sight/{}.times.safetensors"}
FILES = [*NAMED, layout.STORE_FILE, f".{layout.STORE_FILE}.lock", "writers/dead-1-a.lock", "writers/dead-1-a.json"]
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
    if name in FOLDERS or name == layout.STORE_FILE:
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


COLUMNS = [None, "abc", ["a", "b"], ["a", "b", 3], ["", "b", " "], ["a", "", "c"], ["", "", ""], ["", 0, "c"]]
COLUMNS += [["a", "b", "x\x1b[2J"], ["a", "b", "x" * 201]]
MANIFESTS = {
    **{f"format {each!r}": lambda c, v=each: c.update(format=v) for each in (True, "5", 5.0, 4, 10**400)},
    **{f"cut {each!r}": lambda c, v=each: c.update(clip_seconds=v) for each in (True, "5", 0, -1, [])},
    **{f"dim {each!r}": made_by("dim", each) for each in (10**18, -1, 1.5, True, "3", None)},
    **{f"version {each!r}": made_by("version", each) for each in ("1", None)},
    "no parameters": made_by("parameters", []),
    **{f"columns {each!r:.20}": made_by("columns", each) for each in COLUMNS},
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
    said, before = [], (store / layout.STORE_FILE).read_bytes()
    for edit in MANIFESTS.values():
        change(store, edit)
        with pytest.raises(InputError) as raised:
            read_all(store)
        said.append(str(raised.value))
        (store / layout.STORE_FILE).write_bytes(before)
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
NONSENSE += [b'{"format": 1}', b'{"format": 99}', b'{"format": 6, "streams": {"a": {"b": 1}}, "clip_seconds": 1}']


@pytest.mark.parametrize("content", NONSENSE)
def test_a_manifest_that_makes_no_sense_is_one_sentence(refused, content):
    refusals = refused(lambda store, victim: (store / layout.STORE_FILE).write_bytes(content))
    assert len(refusals) == 8
    assert re.search(r"store\.json'? (is (damaged|of format (1|99),.*mee precompute)|cannot)", refusals["read"])


def test_a_manifest_without_an_end_takes_no_memory(refused):
    refusals = refused(lambda store, victim: os.truncate(store / layout.STORE_FILE, 1 << 40))
    assert "it is a sparse file" in refusals["read"]


def test_what_a_dead_job_left_is_removed_inside_the_store_only(store, refused):
    """A foreign folder that is a link, and names of temporary files that are links."""

    def spoil(store, victim):
        (store / "writers" / "dead-1-a.lock").write_text("/../../victim/\nmodel\n")
        (store / "evil").symlink_to(victim)
        for name in (f".{layout.STORE_FILE}.{os.getpid()}", f"parts/.{shard_of(store)}.parquet.{os.getpid()}"):
            (store / name).symlink_to(victim / "pipe")

    assert refused(spoil) == {}
    assert not (store / "writers" / "dead-1-a.lock").exists()
    assert (store / "evil").is_symlink()


# ---- parts: sizes are compared before memory is taken, and values are looked at


def listed(store, shard):
    """Correct the checksums: a part that came so is not damaged."""
    sums = {name: hashlib.sha256((store / name).read_bytes()).hexdigest() for name in read_sums(store, shard)}
    write_sums(store, shard, sums)


def rewritten(edit=lambda table: table, metadata=None, **settings):
    """The part of a shard after edit(table)."""

    def spoil(store, victim):
        shard = shard_of(store)
        path = store / "parts" / f"{shard}.parquet"
        table = pq.read_table(path)
        kept = {"streams": metadata or table.schema.metadata[b"streams"]}
        pq.write_table(edit(table).replace_schema_metadata(kept), path, **settings)
        listed(store, shard)

    return spoil


def column(name, *values, kind=None, **settings):
    """Two rows of other values."""
    values = values * 2 if len(values) == 1 else values

    def edit(table):
        return table.set_column(table.column_names.index(name), name, pa.array(values, kind or table[name].type))

    return rewritten(edit, **settings)


def many(table, rows=2_000_000):
    """As many equal rows, in few bytes."""

    def repeat(name):
        if table[name].null_count:
            return pa.nulls(rows, table[name].type)
        if pa.types.is_string(table[name].type):
            return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), table[name][:1].combine_chunks())
        return pa.array(np.zeros(rows, table[name].type.to_pandas_dtype()))

    return pa.table({name: repeat(name) for name in table.column_names})


def more_columns(table):
    names = [*table.column_names, *(f"c{n}" for n in range(12_000))]
    return pa.table([*table.columns, *[table["note"]] * 12_000], names=names)


def long_notes(table, rows=3000):
    repeated = table.take(np.zeros(rows, int))
    notes, names = pa.array(["x" * 9000] * rows), pa.array([f"{n}" for n in range(rows)])
    kept = [name for name in table.column_names if name not in ("clip_id", "note")]
    return repeated.select(kept).append_column("clip_id", names).append_column("note", notes)


LONG = "x" * 3_000_000
PARTS = {
    "rows": rewritten(many, store_schema=False),
    "rows, not compressed": rewritten(many, compression="none", store_schema=False),
    "a dictionary": rewritten(many),
    "columns": rewritten(more_columns),
    "repeated text": rewritten(long_notes),
    "another codec": column("note", LONG, compression="zstd"),
    "another encoding": column("note", "x", use_dictionary=False, column_encoding={"note": "DELTA_BYTE_ARRAY"}),
    "metadata": rewritten(metadata=b" " * 3_000_000 + b"{}"),
    "nested metadata": rewritten(metadata=b'{"a":' * 100_000),
    "a path in its metadata": rewritten(metadata=b'{"../x": "0"}'),
    "a path as a version": rewritten(metadata=b'{"sight": "../x", "sound": "0"}'),
    "a number as a version": rewritten(metadata=b'{"sight": 1, "sound": "0"}'),
    "a column twice": rewritten(lambda table: table.append_column("clip_id", table["clip_id"])),
    "a nested column": column("note", [1], kind=pa.list_(pa.int64())),
    "numbers as ids": column("clip_id", 1, 2, kind=pa.int64()),
    "bytes as text": column("note", b"\xff", kind=pa.binary()),
}
VALUES = {"clip_id": ["same", ("", "b"), (None, "b"), (LONG, LONG + "1")], "video": [""], "note": [LONG]}
VALUES |= {"verdict": ["evil", None], "sight": ["evil"], "start_s": [5.0, -1e308], "end_s": [np.nan, np.inf]}
VALUES |= {"clips_of_video": [None, -1], "file_bytes": [-1], "written_at": [np.nan]}
for name, cases in VALUES.items():
    PARTS |= {
        f"{name} {case!r:.20}": column(name, *(case if isinstance(case, tuple) else (case,))) for case in cases
    }


@pytest.mark.parametrize("case", PARTS)
def test_a_part_that_cannot_be_is_refused_and_repaired(store, refused, case):
    shard = shard_of(store)
    refusals = refused(PARTS[case])
    assert refusals.keys() >= {"read", "export", "merge"}
    assert not (store / "parts" / f"{shard}.parquet").exists()  # repair is the last command
    read_all(store)


@pytest.mark.parametrize("place", ["../", "sight/../../", "./", "", "/", "../victim/"])
def test_checksums_name_no_other_files(refused, place):
    """Otherwise a merge would link a file from beside the source to a place beside the target."""

    def spoil(store, victim):
        path = store / "checksums" / f"{shard_of(store)}.sha256"
        if place != "/":
            (store / place / f"{path.stem}.safetensors").write_bytes(b"x")
        path.write_text(f"{hashlib.sha256(b'x').hexdigest()}  {place}{path.stem}.safetensors\n{path.read_text()}")

    assert refused(spoil).keys() >= {"read", "export", "merge"}


# ---- rows


def tensors(kind, shape, value=0, clips="ab", **more):
    """A file of rows with one array a clip, whatever safetensors itself would write."""
    size = int(np.prod(shape)) * {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "F8_E4M3": 1}[kind]
    content = (value.to_bytes(2, "little") * size)[:size] if size else b""
    places = {
        c: {"dtype": kind, "shape": shape, "data_offsets": [n * size, n * size + size]}
        for n, c in enumerate(clips)
    }
    header = json.dumps(places | more).encode()
    return struct.pack("<Q", len(header)) + header + content * len(clips)


ROWS_FILES = {
    "NaN in rows": tensors("F16", [2, 3], 0x7E00),
    "infinity in rows": tensors("F16", [2, 3], 0xFC00),
    **{f"F16 {shape}": tensors("F16", shape) for shape in ([3, 2], [0, 3], [3], [], [1, 2, 3])},
    **{kind: tensors(kind, [2, 3]) for kind in ("F32", "BF16", "F8_E4M3")},
    "no clip": tensors("F16", [2, 3], clips="xy"),
    "overlapping": tensors("F16", [2, 3], b={"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}),
    "beyond the end": tensors("F16", [2, 3], b={"dtype": "F16", "shape": [2**62, 3], "data_offsets": [12, 24]}),
    "a long header": struct.pack("<Q", 1 << 62) + b"{}",
    "a large header": struct.pack("<Q", 17 << 20) + b"{}" + b" " * (17 << 20),
    "nested": struct.pack("<Q", 500_000) + b'{"a":' * 100_000,
    "short": b"abc",
}


def rows_file(case):
    def spoil(store, victim):
        (store / "sight" / f"{shard_of(store)}.safetensors").write_bytes(ROWS_FILES[case])
        listed(store, shard_of(store))

    return spoil


@pytest.mark.parametrize("case", ROWS_FILES)
def test_rows_that_cannot_be_are_refused(refused, case):
    assert {"read", "export"} <= refused(rows_file(case)).keys()


LIBRARIES = {"columns", "metadata", "no clip", "overlapping", "beyond the end", "nested", "short"}  # their words


def test_what_is_said(store, tmp_path, says):
    """A sentence each."""
    shard, said = shard_of(store), []
    for case, spoil in (PARTS | {case: rows_file(case) for case in ROWS_FILES}).items():
        if case not in LIBRARIES:
            copy = tmp_path / "copy"
            shutil.copytree(store, copy)
            spoil(copy, tmp_path)
            with pytest.raises(InputError) as raised:
                read_all(copy)
            said.append(str(raised.value).replace(shard, "SHARD").partition(". ")[0])
            shutil.rmtree(copy)
    says("\n".join(said))


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_times_that_cannot_be_are_one_sentence(store, value):
    path = store / "sight" / f"{shard_of(store)}.times.safetensors"
    for times in (np.float32([value, 1]), np.ones((2, 1), np.float32), np.ones(2)):
        save_file({"a": times, "b": times}, path)
        with pytest.raises(InputError, match="is damaged"):
            FeatureStore(store).times("sight", ["a"])


@pytest.mark.parametrize("sparse", [False, True])
def test_an_array_larger_than_memory_is_refused(store, monkeypatch, sparse):
    """By its shape; and a terabyte of zeros in one block by its file."""
    if sparse:
        os.truncate(store / "sight" / f"{shard_of(store)}.safetensors", 1 << 40)
    monkeypatch.setattr(layout, "MOST_NUMBERS", 5)
    with pytest.raises(InputError, match="it is a sparse file" if sparse else r"is damaged \('a' is F16 of shape"):
        FeatureStore(store).read("sight", ["a"])


@pytest.mark.parametrize("look", ["read", "times"])
def test_a_file_cut_under_a_reader_is_one_sentence_and_a_removed_one_is_read_on(store, look):
    """Reading a map beyond the end of its file would be a signal that ends the process."""
    opened = FeatureStore(store)
    name = f"sight/{shard_of(store)}{'.times' if look == 'times' else ''}.safetensors"
    first = getattr(opened, look)("sight", ["a"])[0]
    content = (store / name).read_bytes()
    os.truncate(store / name, 8)
    with pytest.raises(InputError, match="it has another size than when it was opened"):
        getattr(opened, look)("sight", ["a"])
    (store / name).write_bytes(content)
    (store / name).unlink()
    np.testing.assert_array_equal(getattr(opened, look)("sight", ["a"])[0], first)
