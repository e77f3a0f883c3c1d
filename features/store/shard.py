"""One shard's part, words and checksums: read, check, commit, and remove streams. The format is in layout.py."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from shlex import quote
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.errors import InputError
from features.extractors import is_line
from features.files import entry, parse_json, read_file, regular_size, remove, write_whole
from features.media import VERDICTS
from features.store.layout import MISSING, PRESENT, SCHEMA, is_name, is_stream, part_name, stream_names, sums_path
from features.store.writers import store_lock

Sums = dict[str, str]  # SHA-256 in hexadecimal, by file relative to the store
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")
# What a part may take in memory is bounded by its size on the disk. Snappy shrinks text to a twentieth at best; a
# part that mee writes has 7 to 30 bytes a row. Other codecs and encodings would have no bound.
MOST_BYTES, MOST_ROWS, BYTES_A_ROW, TEXT_A_BYTE, LONGEST_TEXT = 32 << 20, 1_000_000, 4, 100, 10_000
CODECS = {"SNAPPY", "UNCOMPRESSED"}
ENCODINGS = {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY", "BIT_PACKED"}
LIMITS = {"thrift_string_size_limit": 1 << 20, "thrift_container_size_limit": 10_000}  # of a part's footer
TEXT = pa.dictionary(pa.int32(), pa.string())  # as text is read: each value once
KINDS = {each.name: TEXT if each.type == pa.string() else each.type for each in SCHEMA}
TEXTS = [name for name, kind in KINDS.items() if kind == TEXT]
NEEDED = ("clip_id", "video", "start_s", "end_s", "verdict", "clips_of_video", "file_bytes", "written_at")
DROPPED = "dropped"  # the verdict of a tombstone
ALLOWED = {"verdict": (*VERDICTS, DROPPED)}  # what a column may hold; of a stream:
STATES = (PRESENT, MISSING)
WORDS = pa.schema({"clip_id": pa.string(), "start_s": pa.float64(), "end_s": pa.float64(), "words": pa.string()})
Utterance = tuple[float, float, str]  # start and end in seconds on the video, and what is said or written then
SIGNED, LARGEST = ("start_s", "end_s", "written_at", "file_mtime"), float(1 << 53)


class Part(NamedTuple):
    """What was read of a part."""

    table: pa.Table  # text as dictionaries
    versions: dict[str, str]  # of each stream that the part has
    size: int  # bytes of the file


def read_part(directory: Path, shard: str, streams: Collection[str] | None = None, *, check: bool = False) -> Part:
    """Read the part of a shard: rows with the columns of SCHEMA and of these streams; None: no rows at all.

    ``check``: its values too; else `decoded` does. One that is damaged, or would take more memory than its size
    allows, is an InputError.
    """
    try:
        path = entry(directory, *part_name(shard).split("/"))
        size = regular_size(path, MOST_BYTES)
        with pa.OSFile(str(path)) as source:
            try:  # most parts have all of the streams
                file = pq.ParquetFile(source, read_dictionary=[*TEXTS, *(streams or ())], **LIMITS)
            except KeyError:
                file = pq.ParquetFile(source, read_dictionary=_there(source, [*TEXTS, *(streams or ())]), **LIMITS)
            facts, schema, names = file.metadata, file.schema_arrow, Counter(file.schema_arrow.names)
            versions = parse_json((schema.metadata or {}).get(b"streams", b"null"))
            if not isinstance(versions, dict):
                raise ValueError("it does not list the versions of its streams")
            if odd := [pair for pair in versions.items() if not (is_stream(pair[0]) and is_name(pair[1]))]:
                raise ValueError(f"it lists {odd[0]!r:.80}, no version of a stream")
            if lacking := [name for name in (*SCHEMA.names, *versions) if names[name] != 1]:
                raise ValueError(f"it has no column '{lacking[0]}', or several")
            if streams is None:
                return Part(schema.empty_table(), versions, size)
            kinds = KINDS | {stream: TEXT for stream in streams if stream in versions}
            for name, kind in kinds.items():
                if (found := schema.field(name).type) != kind:
                    raise ValueError(f"its column '{name}' is of type {found}"[:200])
            _check_sizes(facts, size)
            table = file.read(list(kinds), use_threads=False)
            if check:
                decoded(table, size)
            return Part(table, versions, size)
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:  # also where names are not UTF-8
        raise damaged(directory, directory / part_name(shard), str(error)) from error


def _there(source: pa.NativeFile, names: list[str]) -> list[str]:
    """Those of some columns that a part has."""
    paths = pq.ParquetFile(source, **LIMITS).metadata.schema
    return [name for name in names if name in {paths.column(number).path for number in range(len(paths.names))}]


def _check_sizes(facts: pq.FileMetaData, size: int) -> None:
    groups = [facts.row_group(number) for number in range(facts.num_row_groups)]
    rows, most = [group.num_rows for group in groups], min(MOST_ROWS, size // BYTES_A_ROW)
    if sum(rows) != facts.num_rows or not all(0 <= number <= most for number in (*rows, facts.num_rows)):
        raise ValueError(f"its {size:,} bytes are said to hold {facts.num_rows:,} rows")
    for group in groups:
        for number in range(group.num_columns):
            column = group.column(number)
            if column.compression not in CODECS or not ENCODINGS.issuperset(column.encodings):
                raise ValueError(f"it is compressed by {column.compression} ({', '.join(column.encodings)})")


def decoded(table: pa.Table, size: int) -> pa.Table:
    """Rows of one or several parts of ``size`` bytes, with text as text, after a look at each value.

    Raises ValueError where a value is of no clip, or the text would take too much memory.
    """
    table.validate(full=True)  # that all is UTF-8, and no index of a dictionary leads beyond its end
    table, room = table.combine_chunks(), TEXT_A_BYTE * size
    if len(table) == 0:
        return table
    for number, name in enumerate(table.column_names):
        column = table.column(number)
        if column.null_count and name in NEEDED:
            raise ValueError(f"its column '{name}' has empty cells")
        if column.type == TEXT:
            coded = column.chunk(0)
            lengths = np.append(pc.binary_length(coded.dictionary).to_numpy(), 0)
            room -= int(lengths[coded.indices.fill_null(-1).to_numpy()].sum())
            if room < 0 or lengths.max() > LONGEST_TEXT:
                raise ValueError(f"the text of its column '{name}' is too long")
            words = ALLOWED.get(name, STATES) if name in ALLOWED or name not in SCHEMA.names else ()
            found = coded.dictionary.drop_null()
            if words and not pc.all(pc.is_in(found, pa.array(words)), min_count=0).as_py():
                raise ValueError(f"its column '{name}' has other words than {', '.join(words)}")
            if name in ("clip_id", "video") and not lengths[:-1].all():
                raise ValueError(f"its column '{name}' has empty names")
            table = table.set_column(number, name, coded.cast(pa.large_string()))
        else:
            values = column.drop_null().to_numpy()
            low = -LARGEST if name in SIGNED else 0
            if len(values) and not (low <= values.min() and values.max() <= LARGEST):  # False also for NaN
                raise ValueError(f"its column '{name}' has numbers that cannot be")
    if pc.any(pc.less(table["end_s"], table["start_s"])).as_py():
        raise ValueError("a clip ends before it begins")
    if pc.count_distinct(table["clip_id"]).as_py() < len(table):
        keys = [name for name in ("clip_id", "shard") if name in table.column_names]
        if len(table.group_by(keys).aggregate([])) < len(table):
            raise ValueError("it has two rows of one clip")
    return table


def read_words(directory: Path, name: str) -> dict[str, list[Utterance]]:
    """What is said or written in each clip of a file of words, in order of time; errors as of `read_part`."""
    try:
        path = entry(directory, *name.split("/"))
        size = regular_size(path, MOST_BYTES)
        with pa.OSFile(str(path)) as source:
            return parse_words(source, size)
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        raise damaged(directory, directory / name, str(error)) from error


def parse_words(source: pa.NativeFile, size: int) -> dict[str, list[Utterance]]:
    """The same of an open file of ``size`` bytes; raises ValueError, LookupError or an error of Arrow."""
    texts = [each.name for each in WORDS if each.type == pa.string()]
    file = pq.ParquetFile(source, read_dictionary=texts, **LIMITS)
    kinds = [(each.name, TEXT if each.name in texts else each.type) for each in WORDS]
    if [(each.name, each.type) for each in file.schema_arrow] != kinds:
        raise ValueError(f"its columns are not {', '.join(WORDS.names)}")
    _check_sizes(file.metadata, size)
    table = file.read(use_threads=False)
    table.validate(full=True)
    if len(table) == 0 or any(column.null_count for column in table.columns):
        raise ValueError("it has no rows, or empty cells")
    columns = {name: table[name].combine_chunks() for name in WORDS.names}
    clips, lines = (columns[name].dictionary.to_pylist() for name in texts)
    if wrong := [line for line in lines if not is_line(line)]:
        raise ValueError(f"{wrong[0]!r:.80} is no line of printable text")
    codes = (columns[name].indices.to_pylist() for name in texts)
    found: dict[str, list[Utterance]] = {}
    for clip, line, start, end in zip(*codes, *(columns[name].to_pylist() for name in ("start_s", "end_s"))):
        said = found.setdefault(clips[clip], [])
        if not (said[-1][0] if said else -LARGEST) <= start <= end <= LARGEST:  # False also for NaN
            raise ValueError(f"the times of {clips[clip]!r:.80} cannot be")
        said.append((start, end, lines[line]))
    return found


def read_sums(directory: Path, shard: str) -> Sums:
    """Read the checksums of a shard; they name no files but those of this shard, all inside the store."""
    path = sums_path(directory, shard)
    try:
        text = read_file(entry(directory, *path.parts[-2:])).decode()
    except (OSError, ValueError) as error:
        raise damaged(directory, path, str(error)) from error
    lines = [_LINE.fullmatch(line) for line in text.split("\n")[:-1]]
    sums = {line[2]: line[1] for line in lines if line is not None}
    part = part_name(shard)
    streams = {name.partition("/")[0] for name in sums.keys() - {part}}
    known = {part, *(name for stream in streams for name in stream_names(stream, shard))}
    whole = len(sums) == len(lines) and text.endswith("\n") and part in sums
    if not whole or not all(map(is_stream, streams)) or not sums.keys() <= known:
        raise damaged(directory, path, "it is not a list of a shard's checksums")
    return sums


def write_sums(directory: Path, shard: str, sums: Mapping[str, str]) -> None:
    """Commit a shard whose files are in place; the part's line comes last, so that a cut file is noticed."""
    part = part_name(shard)
    ordered = [*sorted(sums.keys() - {part}), part]
    write_whole(sums_path(directory, shard), "".join(f"{sums[name]}  {name}\n" for name in ordered).encode())


def drop_streams(directory: Path, shard: str, streams: Collection[str]) -> None:
    """Remove streams from a shard: first from its checksums, then their files."""
    gone = {name for stream in streams for name in stream_names(stream, shard)}
    with store_lock(directory):  # a merge may be adding to the list
        sums = read_sums(directory, shard)
        if gone & sums.keys():
            write_sums(directory, shard, {name: digest for name, digest in sums.items() if name not in gone})
    for name in gone:
        remove(directory / name)


def drop_shard(directory: Path, shard: str, streams: Collection[str]) -> None:
    """Remove a shard from a store: first its checksums, then its files."""
    remove(sums_path(directory, shard))
    for name in (part_name(shard), *(name for stream in streams for name in stream_names(stream, shard))):
        remove(directory / name)


def damaged(directory: Path, path: Path, reason: str) -> InputError:
    """The error of a damaged file of a shard."""
    return InputError(
        f"{path} is damaged ({' '.join(reason.split())}). Remove it with mee store verify {quote(str(directory))} "
        "--repair, then run mee precompute again: it extracts the videos of this shard again"
    )
