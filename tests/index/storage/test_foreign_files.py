"""Tables, codes and vectors made to do harm, with checksums that are right; files that are cut while in use."""

import os
import re
import shutil
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file, save_file

from index.storage.snapshot import read_snapshot
from index.storage.verify import verify_index
from index.video_index import VideoIndex
from mee.errors import InputError
from tests.index.storage.hostile import COUNT, TEXT, USES, resealed_segment, segment_of, sentence

pytestmark = pytest.mark.usefixtures("no_hang")


@pytest.fixture
def with_table(copied):
    """with_table(change, options): an index whose table is another, and its path."""

    def write(change, /, *, kind="flat", name="clips.arrow", stream=False, **options):
        place = copied(kind)
        path = segment_of(place) / name
        table = change(pa.ipc.open_file(path.read_bytes()).read_all())
        make = pa.ipc.new_stream if stream else pa.ipc.new_file
        path.unlink()
        with make(path, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as file:
            file.write_table(table)
        resealed_segment(place, segment_of(place))
        return place, path

    return write


def column(name, values):
    """Another column of this name, of values or made of the one that was there."""

    def change(table):
        made = values(table[name]) if callable(values) else values
        return table.set_column(table.column_names.index(name), name, made)

    return change


def broken_text(name, offsets, content=None):
    """A column whose offsets, or letters, may be anything."""

    def change(old):
        text = old.chunk(0).buffers()[2] if content is None else pa.py_buffer(content)
        places = pa.py_buffer(np.asarray(offsets, np.int32).tobytes())
        return pa.Array.from_buffers(pa.string(), len(old), [None, places, text])

    return column(name, change)


def falsely_null(table, nulls):
    """A column that claims to have so many nulls."""
    bits = pa.py_buffer(bytes([0b01010101]) * (len(table) // 8 + 1))
    buffers = [bits, *table["video"].chunk(0).buffers()[1:]]
    return column("note", pa.Array.from_buffers(pa.string(), len(table), buffers, null_count=nulls))(table)


TABLES = {  # the table that is written in the place of another
    "offsets that fall": broken_text("clip_id", [0, 9] * 100 + [20]),
    "an offset far away inside": broken_text("video", [0] * 100 + [2**31 - 1] + [600] * 100),
    "an offset below 0": broken_text("pattern", [0, -(2**31)] + [9] * 199),
    "no text": broken_text("clip_id", [*range(COUNT + 1)], b"\xff\xfe" * COUNT),
    "no text of a user's column": broken_text("note", [*range(COUNT + 1)], b"\xe9" * COUNT),
    "a clip without an id": column("clip_id", pa.nulls(COUNT, pa.string())),
    "a start that is no number": column("start_s", pa.array([np.nan] * COUNT)),
    "an end that is not finite": column("end_s", pa.array([np.inf] * COUNT)),
    "a start that is text": column("start_s", pa.array(["0"] * COUNT)),
    "an id that is a number": column("clip_id", pa.array(range(COUNT))),
    "a dictionary": column("note", lambda note: note.combine_chunks().dictionary_encode()),
    "views": column("note", lambda note: note.cast(pa.string_view())),
    "large texts": column("note", lambda note: note.cast(pa.large_string())),
    "nested": lambda table: table.append_column("deep", pa.array([["x"]] * COUNT)),
    "an extension": lambda table: table.append_column("id", pa.array([b"0" * 16] * COUNT, pa.uuid())),
    "a column twice": lambda table: table.append_column("note", table["note"]),
    "no rows": lambda table: table.slice(0, 0),
    "many parts": lambda table: pa.concat_tables(table.slice(n, 1) for n in range(COUNT)),
    "only a schema": lambda table: table.schema.empty_table(),
}
WRITTEN = {"compressed": {"compression": "zstd"}, "compressed otherwise": {"compression": "lz4"}}
WRITTEN |= {"a stream": {"stream": True}}
PATCHED = {  # bytes that are changed afterwards
    "no messages": lambda content: content[:8] + bytes(len(content)),
    "a message of any length": lambda content: content[:12] + b"\xff\xff\xff\x7f" + content[16:],
    "a message cut": lambda content: content[: len(content) // 3],
}
OF_ARROW = ("no text", "no text of a user's column", "a message of any length", "a message cut")  # its own words


@pytest.mark.parametrize("name", [*TABLES, *WRITTEN, *PATCHED])
def test_hostile_tables(with_table, name, says):
    place, path = with_table(TABLES.get(name, lambda table: table), **WRITTEN.get(name, {}))
    if name in PATCHED:
        path.write_bytes(PATCHED[name](path.read_bytes()))
        resealed_segment(place, segment_of(place))
    said = sentence("open", place)
    assert said.startswith(f"'{path}' is damaged (")
    assert {sentence(use, place) for use in USES} == {said}
    assert verify_index(place) == [said]
    if name not in OF_ARROW:
        says(said)


WORDS = {  # the same of a table of words
    "clips that fall": column("clip", lambda clip: pa.array(clip.to_numpy()[::-1].copy())),
    "clips behind the last": column("clip", lambda clip: pa.array(clip.to_numpy() + COUNT)),
    "clips below 0": column("clip", lambda clip: pa.array(clip.to_numpy() - COUNT)),
    "words of other clips": column("clip", lambda clip: pa.array(clip.to_numpy() * 0 + clip[0].as_py())),
    "clips that are texts": column("clip", lambda clip: clip.cast(pa.string())),
    "a time that is not finite": column("end_s", lambda end: pa.array([np.nan] * len(end))),
    "no words": column("words", lambda words: pa.nulls(len(words), pa.string())),
    "fewer rows than vectors": lambda table: table.slice(0, len(table) - 1),
    "one more column": lambda table: table.append_column("note", table["words"]),
    "no column of words": lambda table: table.drop_columns(["words"]),
}


@pytest.mark.parametrize("name", WORDS)
def test_hostile_tables_of_words(with_table, name, says):
    place, _ = with_table(WORDS[name], kind="words", name="words-face.arrow")
    said = sentence("open", place)
    assert {sentence(use, place) for use in USES} == {said}
    assert verify_index(place) == [said]
    says(said)


@pytest.mark.parametrize("change", [lambda v: v * np.nan, lambda v: v * 9, lambda v: v[:, :1], lambda v: v[:-1]])
def test_hostile_vectors_of_words(copied, change):
    place = copied("words")
    path = segment_of(place) / "words-face.npy"
    np.save(path, change(np.load(path)))
    resealed_segment(place, path.parent)
    assert len(verify_index(place)) == 1
    if len(change(np.ones((2, 2)))) == 2 and change(np.ones((2, 2))).shape[1] == 2:  # what opening does not read
        assert sentence("open", place) is None
        assert np.isfinite(change(np.ones((1, 1)))) or "damaged" in sentence("search", place)
    else:
        assert "words-face" in sentence("open", place)


def test_a_false_number_of_nulls_and_batches_are_harmless(with_table):
    """Arrow would size its results by what a file says of its nulls."""
    for nulls in (1, COUNT):
        place, _ = with_table(partial(falsely_null, nulls=nulls))
        read = read_snapshot(place).segments[0].table.arrow
        read.validate(full=True)
        assert read["note"].null_count == COUNT // 2
        assert len(read["note"].drop_null()) == COUNT // 2
    for mixed in ("1x11", "11111", "0000", ""):
        place, _ = with_table(column("pattern", pa.array([mixed] * COUNT)))
        assert sentence("search", place) is None  # vectors are found by their rows
        assert "its rows are not those of its pattern" in sentence("compact", place)


# ---- codes, and vectors


CODES = {
    "another index": (0, int.from_bytes(b"IxFI", "little")),
    "an index of a class that runs others": (0, int.from_bytes(b"IxPT", "little")),
    "more columns": (4, 2**20), "more rows": (8, 2**40), "rows below 0": (8, -1), "more groups": (45, 2**40),
    "more bits": (53, 63), "a centroid that is not finite": (69, 0x7FC00000), "more codes": (-1, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", CODES)
def test_hostile_codes(copied, name):
    place, (at, value) = copied("fastscan"), CODES[name]
    path = max(segment_of(place).glob("fastscan-*[01]"), key=lambda path: path.stat().st_size)
    content, size = bytearray(path.read_bytes()), 4 if 0 <= value < 2**32 and at != 53 else 8
    content[at : at + size] = value.to_bytes(size, "little", signed=value < 0)
    path.write_bytes(content)
    resealed_segment(place, path.parent)
    said = sentence("search", place)
    assert re.search("damaged", said)
    assert path.name in said
    assert len(verify_index(place)) == 1


@pytest.mark.parametrize("value", [np.nan, 0, -1])
def test_numbers_kept_by_fastscan_are_above_0(copied, value):
    place = copied("fastscan")
    path = next(segment_of(place).glob("fastscan-*-kept.npy"))
    np.save(path, np.full_like(np.load(path), value))
    resealed_segment(place, path.parent)
    assert f"{path.name}' is damaged: it holds numbers that are not above 0" in sentence("search", place)


CODING = {
    "a scale that is not finite": {"scale": lambda array: array * np.nan},
    "a spread that is large": {"spread": lambda array: array + 2**40},
    "a spread below 0": {"spread": lambda array: -array},
    "a short centre": {"centre": lambda array: array[:1]},
    "an error of another type": {"error": lambda array: array.astype(np.int8)},
    "a basis of another width": {"basis-1": lambda _: np.ones((9, 1), np.float32)},
    "a basis of more columns": {"basis-1": lambda _: np.ones((3, 3), np.float32)},
    "one more array": {"more": lambda _: np.zeros(1)},
    "no scale": {"scale": lambda _: None},
}


@pytest.mark.parametrize("name", CODING)
def test_hostile_codings(copied, name):
    place = copied("certified")
    path = segment_of(place) / "coding.safetensors"
    arrays = load_file(path)
    for key, change in CODING[name].items():
        arrays[key] = change(arrays.get(key))
    save_file({key: array for key, array in arrays.items() if array is not None}, path)
    resealed_segment(place, path.parent)
    said = sentence("search", place)
    assert re.search(r"damaged \((it is not how (such )?clips are coded|it holds \(200, 32\))", said), said
    assert len(verify_index(place)) == 1


@pytest.mark.parametrize("kind", ["flat", "certified", "fastscan"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_no_missing_clips(copied, kind, value):
    place = copied(kind)
    for path in segment_of(place).glob("vectors-*"):
        np.save(path, np.full_like(np.load(path), value))
    resealed_segment(place, segment_of(place))
    for use in ("search", "exactly", "compact"):
        assert "damaged" in sentence(use, place)
    assert any("not finite" in finding for finding in verify_index(place))


@pytest.mark.parametrize("kind", ["flat", "certified", "fastscan", "words"])
def test_a_file_that_is_cut_under_a_reader_is_a_sentence(copied, kind):
    told = 0
    for name in sorted(path.name for path in segment_of(copied(kind)).iterdir()):
        place = copied(kind)
        video_index, copy = VideoIndex.open(place), segment_of(place) / name
        os.truncate(copy, 10)
        if copy.name != "segment.json":
            for use, given in ((video_index.rank, (TEXT, 5)), (video_index.clip_query, ("c00001",))):
                with pytest.raises(InputError, match=rf"{copy.name}' is damaged \(it has 10 bytes of"):
                    use(*given)
                told += 1
        writer = None if copy.name == "segment.json" else sentence("compact", place)
        assert writer is None or copy.name in writer
    assert told > 20


def test_a_file_that_is_deleted_or_replaced_under_a_reader_stays_readable(copied):
    place = copied("certified")
    video_index = VideoIndex.open(place)
    before = video_index.rank(TEXT, 5)
    for path in [*segment_of(place).iterdir()]:
        (place / "another").write_text("shorter")
        (place / "another").replace(path)
    assert video_index.rank(TEXT, 5).ids == before.ids
    shutil.rmtree(place)
    assert video_index.rank(TEXT, 5).ids == before.ids
