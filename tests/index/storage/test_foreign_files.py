"""Tables, codes and vectors made to do harm, with checksums that are right; files that are cut while in use."""

import json
import os
import re
import shutil

import numpy as np
import pyarrow as pa
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from index.scanners import coded
from index.storage.snapshot import read_snapshot
from index.storage.verify import verify_index
from index.video_index import VideoIndex
from mee.errors import InputError
from tests.index.storage.hostile import COUNT, TEXT, USES, resealed_segment, segment_of, sentence

pytestmark = pytest.mark.usefixtures("no_hang")


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
    "many parts": lambda path, t: arrow_file(path, pa.concat_tables(t.slice(n, 1) for n in range(COUNT))),
    "only a schema": lambda path, t: arrow_file(path, t.schema.empty_table()),
    "a stream": lambda path, t: arrow_file(path, t, stream=True),
    "no messages": patched(lambda content: content[:8] + bytes(len(content))),
    "a message of any length": patched(lambda content: content[:12] + b"\xff\xff\xff\x7f" + content[16:]),
    "a message cut": patched(lambda content: content[: len(content) // 3]),
}


@pytest.mark.parametrize("name", TABLES)
def test_hostile_tables(indexes, tmp_path, name, says):
    place = tmp_path / "ix"
    shutil.copytree(indexes["flat"], place)
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


def test_a_false_number_of_nulls_and_batches_are_harmless(indexes, tmp_path):
    """Arrow would size its results by what a file says of its nulls."""
    place = tmp_path / "ix"
    shutil.copytree(indexes["flat"], place)
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
def test_hostile_codes(indexes, tmp_path, name):
    kind, change = CODES[name]
    place = tmp_path / "ix"
    shutil.copytree(indexes[kind], place)
    path = coded_file(place, kind, change)
    said = sentence("search", place)
    assert re.search("damaged", said)
    assert path.name in said
    assert len(verify_index(place)) == 1


@pytest.mark.parametrize("kind", ["flat", "certified", "fastscan"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_no_missing_clips(indexes, tmp_path, kind, value):
    place = tmp_path / "ix"
    shutil.copytree(indexes[kind], place)
    for path in segment_of(place).glob("vectors-*"):
        np.save(path, np.full_like(np.load(path), value))
    resealed_segment(place, segment_of(place))
    for use in ("search", "exactly", "compact"):
        assert "damaged" in sentence(use, place)
    assert any("not finite" in finding for finding in verify_index(place))


@pytest.mark.parametrize("kind", ["flat", "certified", "fastscan"])
def test_a_file_that_is_cut_under_a_reader_is_a_sentence(indexes, tmp_path, kind):
    place, told = tmp_path / "ix", 0
    for path in sorted(segment_of(indexes[kind]).iterdir()):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(indexes[kind], place)
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


def test_a_file_that_is_deleted_or_replaced_under_a_reader_stays_readable(indexes, tmp_path):
    place = tmp_path / "ix"
    shutil.copytree(indexes["certified"], place)
    video_index = VideoIndex.open(place)
    before = video_index.rank(TEXT, 5)
    for path in [*segment_of(place).iterdir()]:
        (place / "another").write_text("shorter")
        (place / "another").replace(path)
    assert video_index.rank(TEXT, 5).ids == before.ids
    shutil.rmtree(place)
    assert video_index.rank(TEXT, 5).ids == before.ids
