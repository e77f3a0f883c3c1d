"""An index made to do harm, with checksums that are right: one sentence, and nothing outside changes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from index.scanners import Settings, coded, kinds
from index.storage.manifest import digest_of
from index.storage.snapshot import read_snapshot
from index.storage.verify import verify_index
from index.storage.writer import IndexWriter
from index.video_index import VideoIndex
from mee.errors import InputError
from tests.index.galleries import LAYOUT, ORIGIN, entries_of, random_gallery, random_text
from tests.index.made_clips import resealed, resealed_segment

ROOT = Path(__file__).parents[3]
TEXT = random_text(2)
COUNT = 200


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Kind of scanner -> an index of one segment with a removed clip and offsets."""
    places = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "SMALL", 1)
        for kind in ("flat", "certified", "fastscan"):
            places[kind] = tmp_path_factory.mktemp(kind) / "ix"
            settings, facts = Settings(kind=kind), {"method": "made"}
            with IndexWriter.create(places[kind], LAYOUT, ORIGIN, settings=settings, offsets=facts) as writer:
                more = {"note": [None if n % 3 else f"é{n}" for n in range(COUNT)], "flag": [True] * COUNT}
                writer.put(entries_of(random_gallery(COUNT), offset=np.arange(COUNT) / 1000, **more))
                writer.compact()
                writer.remove(["c00007"])
    return places


@pytest.fixture(autouse=True)
def _no_hang():
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture
def victim(tmp_path):
    """Files outside of the index."""
    folder = tmp_path / "victim"
    (folder / "000009").mkdir(parents=True)
    for name in ("000009/precious", "clips.arrow", "secret.npy", "lock"):
        (folder / name).write_text("precious")
    return folder


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def segment_of(place):
    (folder,) = (path for path in (place / "segments").iterdir() if path.name[0] != ".")
    return folder


USES = {
    "open": read_snapshot,
    "search": lambda place: VideoIndex.open(place).rank(TEXT, 5),
    "exactly": lambda place: VideoIndex.open(place).rank(TEXT, 5, exact=True),
    "write": lambda place: IndexWriter.open(place).close(),
    "compact": lambda place: compacted(place),
}


def compacted(place):
    with IndexWriter.open(place) as writer:
        writer.compact()


def sentence(use, place):
    """What a use of an index says; nothing if it goes through."""
    try:
        USES[use](place)
    except InputError as error:
        return str(error)
    return None


def put_in_place(path, what, victim):
    path.unlink() if path.is_file() or path.is_symlink() else shutil.rmtree(path)
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a folder":
        path.mkdir()
    else:
        path.symlink_to(victim if path.suffix == "" else victim / "secret.npy")


PLACES = {
    "index.json": lambda place: place / "index.json",
    "removed rows": lambda place: next(place.glob("removed-*")),
    "segments": lambda place: place / "segments",
    "a segment": segment_of,
    "facts": lambda place: segment_of(place) / "segment.json",
    "table": lambda place: segment_of(place) / "clips.arrow",
    "vectors": lambda place: segment_of(place) / "vectors-1111.npy",
    "rows": lambda place: segment_of(place) / "rows-1111.npy",
    "codes": lambda place: segment_of(place) / "certified-1111",
    "their numbers": lambda place: segment_of(place) / "certified-1111.safetensors",
}


@pytest.mark.parametrize("what", ["a pipe", "a symbolic link", "a folder"])
@pytest.mark.parametrize("name", PLACES)
def test_what_is_no_file_or_folder_of_the_index_is_not_opened(whole, tmp_path, victim, name, what):
    place, before = tmp_path / "ix", tree(victim)
    shutil.copytree(whole["certified"], place)
    path = PLACES[name](place)
    if what == "a folder" and path.is_dir():
        what = "a pipe"
    put_in_place(path, what, victim)
    for use in USES:
        said = sentence(use, place)
        assert path.name in said
        assert what in said or "'segments' is no folder" in said.replace(f"{place}/", "")
    if name != "index.json":
        assert any(what in finding for finding in verify_index(place))
    if name in ("index.json", "segments"):
        with pytest.raises(InputError, match=path.name):
            IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True)
    else:
        IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True).close()
        assert verify_index(place) == []
    assert tree(victim) == before


def test_an_overwritten_index_deletes_nothing_behind_links(whole, tmp_path, victim):
    """A link in the place of a segment is removed, as a link; what a temporary file is called is not followed."""
    place, before = tmp_path / "ix", tree(victim)
    shutil.copytree(whole["flat"], place)
    (place / "segments" / "000077").symlink_to(victim)
    (place / f".index.json.{os.getpid()}").symlink_to(victim / "lock")
    (place / f".removed-000001-000009.npy.{os.getpid()}").symlink_to(victim / "lock")
    with IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True) as writer:
        (place / f".index.json.{os.getpid()}").unlink(missing_ok=True)
        (place / f".index.json.{os.getpid()}").symlink_to(victim / "lock")
        writer.put(entries_of(random_gallery(3)))
    assert tree(victim) == before
    assert len(read_snapshot(place)) == 3
    assert sorted(path.name for path in place.iterdir()) == ["index.json", "lock", "segments"]


@pytest.mark.parametrize("what", ["a pipe", "a symbolic link", "a folder"])
def test_a_lock_that_is_no_file_is_refused(whole, tmp_path, victim, what):
    place, before = tmp_path / "ix", tree(victim)
    shutil.copytree(whole["flat"], place)
    put_in_place(place / "lock", what, victim / "lock")
    with pytest.raises(InputError, match=rf"lock' is {what} and not a regular file"):
        IndexWriter.open(place)
    assert tree(victim) == before


MANIFESTS = {
    "an expert that is a path": lambda content: content["layout"].update(
        names=["../x", "motion", "audio", "face"]
    ),
    "an expert that is a number": lambda content: content["layout"].update(names=[1, 2, 3, 4]),
    "many experts": lambda content: content["layout"].update(names=[f"e{n}" for n in range(99)], sizes=[1] * 99),
    "a size that is large": lambda content: content["layout"].update(sizes=[10**12, 3, 4, 2]),
    "a size that is true": lambda content: content["layout"].update(sizes=[True, 3, 4, 2]),
    "a size that is text": lambda content: content["layout"].update(sizes=["6", 3, 4, 2]),
    "a large generation": lambda content: content.update(generation=10**30),
    "a generation below 0": lambda content: content.update(generation=-1),
    "a generation that is text": lambda content: content.update(generation="7"),
    "an origin that is a list": lambda content: content.update(origin=["/", "", ""]),
    "a model that is no text": lambda content: content["origin"].update(model=["/"]),
    "offsets that are a list": lambda content: content.update(offsets=[1]),
    "a recall of text": lambda content: content.update(settings={"kind": "fastscan", "recall": "all"}),
    "a recall without facts": lambda content: content.update(recall={"reached": 1}),
    "no candidates": lambda content: content.update(
        recall={"target": None, "reached": 1, "rerank": 0, "at": 10, "queries": 1, "source": "x", "clips": 1}
    ),
    "candidates of text": lambda content: content.update(
        recall={"target": None, "reached": 1, "rerank": "9", "at": 10, "queries": 1, "source": "x", "clips": 1}
    ),
    "a segment twice": lambda content: content.update(segments=content["segments"] * 2),
    "a segment that is a list": lambda content: content.update(segments=[["000001", "", None]]),
    "a hidden segment": lambda content: content["segments"][0].update(name=".000001"),
    "other digits": lambda content: content["segments"][0].update(name="\u0660" * 6),
    "a checksum of a number": lambda content: content["segments"][0].update(sha256=7),
    "removed rows that are text": lambda content: content["segments"][0].update(
        removed="removed-000001-000001.npy"
    ),
    "removed rows that are a path": lambda content: content["segments"][0]["removed"].update(name="/dev/zero"),
}


def test_hostile_manifests(whole, tmp_path, says):
    place, said = tmp_path / "ix", {}
    shutil.copytree(whole["flat"], place)
    text = (place / "index.json").read_bytes()
    for name, change in MANIFESTS.items():
        resealed(place, change)
        said[name] = sentence("open", place)
        assert {sentence(use, place) for use in USES} == {said[name]}
        (place / "index.json").write_bytes(text)
    says("\n".join(f"{name}: {words}" for name, words in said.items()))


def first(facts, name):
    return next(file for file in facts["files"] if file.startswith(name))


def set_file(facts, name, value):
    facts["files"][first(facts, name)] = value


def dropped(facts, name):
    del facts["files"][first(facts, name)]


FACTS = {
    "clips below 0": lambda facts: facts.update(clips=-1),
    "clips that are text": lambda facts: facts.update(clips="200"),
    "many clips": lambda facts: facts.update(clips=10**15),
    "fewer clips than rows": lambda facts: facts.update(clips=3),
    "a pattern that is a path": lambda facts: facts["partitions"].update({"../x": 3}),
    "a pattern of nothing": lambda facts: facts["partitions"].update({"0000": 3}),
    "rows that are text": lambda facts: facts["partitions"].update({"1111": "3"}),
    "rows that are true": lambda facts: facts["partitions"].update({"1111": True}),
    "many rows": lambda facts: facts["partitions"].update({"1111": 10**15}),
    "an unknown kind": lambda facts: facts["kinds"].update({"1111": "../round"}),
    "a kind that is a list": lambda facts: facts["kinds"].update({"1111": ["flat"]}),
    "a kind of nothing": lambda facts: facts["kinds"].update({"0000": "flat"}),
    "codes that are not there": lambda facts: facts["kinds"].update({"1111": "certified"}),
    "a file outside": lambda facts: facts["files"].update({"../../../victim/secret.npy": [8, ""]}),
    "a file of its own": lambda facts: facts["files"].update({"mine": [8, ""]}),
    "no table": lambda facts: dropped(facts, "clips"),
    "a size of text": lambda facts: set_file(facts, "clips", ["8", ""]),
    "a file that is a number": lambda facts: set_file(facts, "clips", 8),
    "files that are a list": lambda facts: facts.update(files=["clips.arrow"]),
    "patterns that are a list": lambda facts: facts.update(partitions=["1111"]),
    "one more entry": lambda facts: facts.update(more=1),
}


def test_hostile_facts_of_a_segment(whole, tmp_path, victim, says):
    place, said, before = tmp_path / "ix", {}, tree(victim)
    for name, change in FACTS.items():
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole["flat"], place)
        resealed_segment(place, segment_of(place), change)
        said[name] = sentence("open", place)
        assert {sentence(use, place) for use in USES} == {said[name]}
        assert verify_index(place) == [said[name]]
    assert tree(victim) == before
    says("\n".join(f"{name}: {words}" for name, words in said.items()))


def array_file(path, head, content=b""):
    """An .npy file whose header may say anything."""
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + content)


def header(shape, descr="<i8", order="False"):
    return f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n"


def resealed_removed(place):
    digest = digest_of(next(place.glob("removed-*")))
    resealed(place, lambda content: content["segments"][0]["removed"].update(sha256=digest))


ARRAYS = {
    "objects": header("(1,)", "|O"),
    "a large shape": header("(1000000000000,)"),
    "a shape below 0": header("(-1,)"),
    "two axes": header("(1, 1)"),
    "one number of 0 axes": header("()"),
    "flags": header("(1,)", "|b1"),
    "another order": header("(1,)", ">i8"),
    "by column": header("(1,)", order="True"),
    "nested": "(" * 9000,
    "an open text": '{\'descr\': """',
    "a call": header("__import__('os').getpid()"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_hostile_heads_of_arrays(whole, tmp_path, name):
    place = tmp_path / "ix"
    shutil.copytree(whole["flat"], place)
    folder = segment_of(place)
    for path in (next(place.glob("removed-*")), folder / "rows-1111.npy", folder / "vectors-1111.npy"):
        content = path.read_bytes()
        array_file(path, ARRAYS[name], bytes(8))
        resealed_segment(place, folder)
        resealed_removed(place)
        assert re.search(
            rf"{path.name}' is damaged \((it holds|it has|it does not begin|.* no more than)",
            sentence("open", place),
        )
        path.write_bytes(content)


@pytest.mark.parametrize("rows", [[-1], [COUNT], [3, 3], [5, 4], [2**62]])
def test_removed_rows_that_are_no_rows(whole, tmp_path, rows):
    place = tmp_path / "ix"
    shutil.copytree(whole["flat"], place)
    path = next(place.glob("removed-*"))
    np.save(path, np.array(rows))
    resealed_removed(place)
    assert "its rows are not those of 200 clips" in sentence("open", place)
    assert any("its rows are not" in finding for finding in verify_index(place))


# ---- tables


def arrow_file(path, table, *, stream=False, **options):
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(path, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as file:
        file.write_table(table)


def column(table, name, values):
    return table.set_column(table.column_names.index(name), name, values)


def broken_text(table, name, offsets, content=None):
    """A column whose offsets, or letters, may be anything."""
    _, _, text = table[name].chunk(0).buffers()
    offsets = pa.py_buffer(np.asarray(offsets, np.int32).tobytes())
    text = text if content is None else pa.py_buffer(content)
    return column(table, name, pa.Array.from_buffers(pa.string(), len(table), [None, offsets, text]))


def falsely_null(table, nulls):
    """A column that claims to have so many nulls."""
    bits = pa.py_buffer(bytes([0b01010101]) * (len(table) // 8 + 1))
    _, offsets, text = table["video"].chunk(0).buffers()
    buffers = [bits, offsets, text]
    return column(table, "note", pa.Array.from_buffers(pa.string(), len(table), buffers, null_count=nulls))


def patched(change):
    """A file whose bytes are changed after it was written."""

    def write(path, table):
        arrow_file(path, table)
        path.write_bytes(change(bytearray(path.read_bytes())))

    return write


def nested(table):
    kind = pa.list_(pa.string())
    return table.append_column("deep", pa.array([["x"]] * len(table), kind))


TABLES = {
    "offsets that fall": lambda path, t: arrow_file(path, broken_text(t, "clip_id", [0, 9] * 100 + [20])),
    "an offset far away inside": lambda path, t: arrow_file(
        path, broken_text(t, "video", [0] * 100 + [2**31 - 1] + [600] * 100)
    ),
    "an offset below 0": lambda path, t: arrow_file(path, broken_text(t, "pattern", [0, -(2**31)] + [9] * 199)),
    "no text": lambda path, t: arrow_file(
        path, broken_text(t, "clip_id", [*range(COUNT + 1)], b"\xff\xfe" * COUNT)
    ),
    "no text of a user's column": lambda path, t: arrow_file(
        path, broken_text(t, "note", [*range(COUNT + 1)], b"\xe9" * COUNT)
    ),
    "a clip without an id": lambda path, t: arrow_file(path, column(t, "clip_id", pa.nulls(COUNT, pa.string()))),
    "a start that is no number": lambda path, t: arrow_file(
        path, column(t, "start_s", pa.array([np.nan] * COUNT))
    ),
    "an end that is not finite": lambda path, t: arrow_file(path, column(t, "end_s", pa.array([np.inf] * COUNT))),
    "a start that is text": lambda path, t: arrow_file(path, column(t, "start_s", pa.array(["0"] * COUNT))),
    "an id that is a number": lambda path, t: arrow_file(path, column(t, "clip_id", pa.array(range(COUNT)))),
    "compressed": lambda path, t: arrow_file(path, t, compression="zstd"),
    "compressed otherwise": lambda path, t: arrow_file(path, t, compression="lz4"),
    "a dictionary": lambda path, t: arrow_file(
        path, column(t, "note", t["note"].combine_chunks().dictionary_encode())
    ),
    "views": lambda path, t: arrow_file(path, column(t, "note", t["note"].cast(pa.string_view()))),
    "large texts": lambda path, t: arrow_file(path, column(t, "note", t["note"].cast(pa.large_string()))),
    "nested": lambda path, t: arrow_file(path, nested(t)),
    "an extension": lambda path, t: arrow_file(
        path, t.append_column("id", pa.array([b"0" * 16] * COUNT, pa.uuid()))
    ),
    "a column twice": lambda path, t: arrow_file(path, t.append_column("note", t["note"])),
    "no rows": lambda path, t: arrow_file(path, t.slice(0, 0)),
    "only a schema": lambda path, t: arrow_file(path, t.schema.empty_table()),
    "a stream": lambda path, t: arrow_file(path, t, stream=True),
    "no messages": patched(lambda content: content[:8] + bytes(len(content))),
    "a message of any length": patched(lambda content: content[:12] + b"\xff\xff\xff\x7f" + content[16:]),
    "a message cut": patched(lambda content: content[: len(content) // 3]),
}


@pytest.mark.parametrize("name", TABLES)
def test_hostile_tables(whole, tmp_path, name, says):
    place = tmp_path / "ix"
    shutil.copytree(whole["flat"], place)
    path = segment_of(place) / "clips.arrow"
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    path.unlink()
    TABLES[name](path, table)
    resealed_segment(place, segment_of(place))
    said = sentence("open", place)
    assert said.startswith(f"'{path}' is damaged (")
    assert {sentence(use, place) for use in USES} == {said}
    assert verify_index(place) == [said]
    if name not in ("no text", "no text of a user's column", "a message of any length", "a message cut"):
        says(said)  # else the words are Arrow's


def test_a_false_number_of_nulls_and_batches_are_harmless(whole, tmp_path):
    """Arrow would size its results by what a file says of its nulls."""
    place = tmp_path / "ix"
    shutil.copytree(whole["flat"], place)
    path = segment_of(place) / "clips.arrow"
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    path.unlink()
    for nulls in (1, COUNT):
        arrow_file(path, pa.Table.from_batches(falsely_null(table, nulls).to_batches(max_chunksize=COUNT)))
        resealed_segment(place, segment_of(place))
        read = read_snapshot(place).segments[0].table.arrow
        read.validate(full=True)
        assert read["note"].null_count == COUNT // 2
        assert len(read["note"].drop_null()) == COUNT // 2
        path.unlink()
    for mixed in ("1x11", "11111", "0000", ""):
        arrow_file(path, column(table, "pattern", pa.array([mixed] * COUNT)))
        resealed_segment(place, segment_of(place))
        assert sentence("search", place) is None  # vectors are found by their rows
        assert "its rows are not those of its pattern" in sentence("compact", place)
        path.unlink()


# ---- codes, and vectors


def coded_file(place, kind, change):
    """Change what stands beside the codes, or the codes' file, and let all of its checksums agree."""
    folder = segment_of(place)
    path = max(folder.glob(f"{kind}-*[01]"), key=lambda path: path.stat().st_size)
    beside = path.with_name(f"{path.name}.safetensors")
    with safe_open(beside, framework="numpy") as file:
        facts, arrays = json.loads(file.metadata()["facts"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    content = bytearray(path.read_bytes())
    content, arrays = change(content, facts, arrays) or (content, arrays)
    path.write_bytes(content)
    facts |= {
        "bytes": len(content),
        "head": coded._digest(np.frombuffer(content, np.uint8)[: len(content) - facts["codes"]]),
    }
    text = json.dumps(facts)
    save_file(arrays, beside, {"facts": text, "sha256": coded._checksum(text, arrays)})
    resealed_segment(place, folder)
    return path


def at(place, value, size=4):
    """A number of FAISS's file."""

    def change(content, facts, arrays):
        content[place : place + size] = int(value).to_bytes(size, "little", signed=True)

    return change


def with_array(name, array):
    return lambda content, facts, arrays: (content, {**arrays, name: array})


CODES = {
    "another index": ("certified", at(0, int.from_bytes(b"IxFI", "little"))),
    "an index of a class that runs others": ("certified", at(0, int.from_bytes(b"IxPT", "little"))),
    "more columns": ("certified", at(4, 2**20)),
    "more rows": ("certified", at(8, 2**40, 8)),
    "rows below 0": ("certified", at(8, -1, 8)),
    "more columns of groups": ("fastscan", at(4, 2**20)),
    "more rows of groups": ("fastscan", at(8, 2**40, 8)),
    "more groups": ("fastscan", at(45, 2**40, 8)),
    "more bits": ("fastscan", at(53, 63, 8)),
    "a centroid that is not finite": ("fastscan", at(69, 0x7FC00000)),
    "fewer codes": ("certified", lambda content, facts, arrays: (content[:-1], arrays)),
    "more codes": ("fastscan", lambda content, facts, arrays: (content + b"0", arrays)),
    "nothing but a head": ("certified", lambda content, facts, arrays: (content[:30], arrays)),
    "a scale that is not finite": ("certified", lambda content, facts, arrays: arrays["scale"].fill(np.nan)),
    "a spread that is large": ("certified", lambda content, facts, arrays: arrays["spread"].fill(2**40)),
    "a spread below 0": ("certified", lambda content, facts, arrays: arrays["spread"].fill(-1)),
    "a short centre": ("certified", with_array("centre", np.zeros(1, np.float32))),
    "an error of another type": ("certified", with_array("error", np.zeros(5, np.int8))),
    "one more array": ("certified", with_array("more", np.zeros(1, np.float32))),
    "no number kept": ("fastscan", with_array("kept", np.zeros(0, np.float32))),
    "facts of text": ("certified", lambda content, facts, arrays: facts.update(rows="200")),
}


@pytest.mark.parametrize("name", CODES)
def test_hostile_codes(whole, tmp_path, name):
    kind, change = CODES[name]
    place = tmp_path / "ix"
    shutil.copytree(whole[kind], place)
    path = coded_file(place, kind, change)
    said = sentence("search", place)
    assert re.search("damaged", said)
    assert path.name in said
    assert len(verify_index(place)) == 1


@pytest.mark.parametrize("kind", ["flat", "certified", "fastscan"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_no_missing_clips(whole, tmp_path, kind, value):
    place = tmp_path / "ix"
    shutil.copytree(whole[kind], place)
    for path in segment_of(place).glob("vectors-*"):
        np.save(path, np.load(path) * np.float32(value))
    resealed_segment(place, segment_of(place))
    for use in ("search", "exactly", "compact"):
        assert "damaged" in sentence(use, place)
    assert any("not finite" in finding for finding in verify_index(place))


@pytest.mark.parametrize("kind", ["flat", "certified", "fastscan"])
def test_a_file_that_is_cut_under_a_reader_is_a_sentence(whole, tmp_path, kind):
    place, told = tmp_path / "ix", 0
    for path in sorted(segment_of(whole[kind]).iterdir()):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole[kind], place)
        video_index, copy = VideoIndex.open(place), segment_of(place) / path.name
        os.truncate(copy, 10)
        if copy.name != "segment.json":
            for use, given in ((video_index.rank, (TEXT, 5)), (video_index.clip_query, ("c00001",))):
                with pytest.raises(InputError, match=rf"{copy.name}' is damaged \(it has 10 bytes of"):
                    use(*given)
                told += 1
        writer = None if copy.name == "segment.json" else sentence("compact", place)
        assert writer is None or copy.name in writer
    assert told > 20


def test_a_file_that_is_deleted_or_replaced_under_a_reader_stays_readable(whole, tmp_path):
    place = tmp_path / "ix"
    shutil.copytree(whole["certified"], place)
    video_index = VideoIndex.open(place)
    before = video_index.rank(TEXT, 5)
    for path in [*segment_of(place).iterdir()]:
        (place / "another").write_text("shorter")
        (place / "another").replace(path)
    assert video_index.rank(TEXT, 5).ids == before.ids
    shutil.rmtree(place)
    assert video_index.rank(TEXT, 5).ids == before.ids


# ---- writers


HOLD = """
import sys
from pathlib import Path
from index.storage import IndexWriter
with IndexWriter.open(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_of_two_writers_one_goes_on_and_the_other_says_who_writes(whole, tmp_path):
    place = tmp_path / "ix"
    shutil.copytree(whole["flat"], place)
    command = [sys.executable, "-c", HOLD, str(place)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        who = (
            rf"another process \({process.pid} on {re.escape(os.uname().nodename)}, since 20[\d: +-]+\) is writing"
        )
        with pytest.raises(InputError, match=rf"{who} the index at '.*ix'; wait until it is done, or stop it"):
            IndexWriter.open(place)
        with pytest.raises(InputError, match=who):  # what was written about the first one stays
            IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True)
        for content in ("", "[" * 900, '{"host": 1}', "\0" * 5000):
            (place / "lock").write_text(content)
            with pytest.raises(InputError, match="another process is writing the index"):
                IndexWriter.open(place)
        (place / "lock").write_text(json.dumps({"host": "\x1b[2J", "process": "\u202e", "since": "x\n"}))
        with pytest.raises(InputError, match=r"another process \(\\u202e on \\x1b\[2J, since x\\n\) is writing"):
            IndexWriter.open(place)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    compacted(place)  # a dead one never blocks
    assert verify_index(place) == []


def test_folders_that_are_made_for_an_index_are_synced(tmp_path, monkeypatch):
    synced, real = set(), os.fsync

    def fsync(handle):
        synced.add(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    place = tmp_path / "a" / "b" / "ix"
    IndexWriter.create(place, LAYOUT, ORIGIN).close()
    assert {str(path) for path in (tmp_path, tmp_path / "a", tmp_path / "a" / "b", place)} <= synced
