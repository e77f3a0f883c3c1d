"""An index on disk, format 8: immutable segments, and one manifest that is replaced atomically.

    index.json                   the manifest: which segments the index has, and what they were made from
    removed-000003-000007.npy    (N,) int64: the rows of segment 3 that are removed as of generation 7
    segments/000003/
        segment.json             clips; partitions {code: rows}; kinds {code: kind};
                                 files {name: [bytes, SHA-256, SHA-256 of a sample]} (checksums.py)
        clips.arrow              Arrow IPC file, uncompressed, sorted by clip_id (columns: entries.py)
        vectors-1011.npy         (N, W) float32, one file a partition: the clips of one availability pattern. Their
                                 present experts side by side, then their offset if the index has offsets
        rows-1011.npy            (N,) int64: the rows of those clips in the table, rising
        words-speech.arrow       of each expert of words that clips have: what is said or written when (table.py),
        words-speech.npy         and the vectors of these rows, (R, E) float32; no other file has columns for it
        certified-1011*          what the scanner of that kind needs beside the vectors (index/scanners)
    text-796ff2f3ced2/           the text side of the model of this fingerprint (index/text_side.py)
    lock                         held by the writer: its host, process and since when, for those who wait

Everything opens without this package: JSON, Arrow IPC, .npy, FAISS, safetensors.

Writing: every put is a new segment. A clip that is removed or replaced keeps its row in its segment, and the row
is listed in a removed file. A change writes its files under names with a leading dot, syncs and renames them, and
then replaces the manifest: that is the commit. A process killed before it leaves the state before, and files that
no manifest names; the next writer deletes them. Small segments are merged into larger ones (merge.py). Each
replaced manifest is a generation; a number is never used twice.

Reading: open the manifest, map what it names. Files that a reader has mapped stay readable when they are deleted.
An index may have been made by anyone, with checksums that are right: types, names, sizes, shapes and the places
that files refer to are checked before they are used. It names no other files than its own but the model's folder,
which is opened where nobody else can have named it, or near the index, and used if it has the fingerprint.

Checksums: index.json holds the SHA-256 of its other entries as canonical JSON, and those of every segment.json and
removed file; a segment.json holds those of all other files of its segment, and text.json those of its folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from index.scanners import Settings
from index.storage.checksums import FileFacts, check_size, discard, facts_of
from mee.errors import InputError
from mee.files import check_folder, entry, is_bare, parse_json, read_file, read_json, whole_file
from mee.layout import Layout, Scale

FORMAT = 8
INDEX_FILE, SHARDS_FILE, SEGMENTS, LOCK = "index.json", "shards.json", "segments", "lock"
CHECKSUM, TEXT_FACTS = "sha256", "text.json"
NUMBER = "[0-9]{6,15}"
REMOVED = rf"removed-{NUMBER}-{NUMBER}\.npy"
TEXT = "text-[0-9a-f]{12}"
KNOWN = re.compile(rf"segments/{NUMBER}|{REMOVED}|{TEXT}")  # what a manifest may name
SHARD = re.compile(
    r"shard-(0|[1-9]\d{0,2})(?:-([1-9]\d{0,8}))?"
)  # its number and version (index/storage/shards.py)
ASIDE = re.compile(rf"segments/\.{NUMBER}|\.{TEXT}|\.((index|shards)\.json|{REMOVED})\.\d+")  # not renamed yet
EXPERT = re.compile("[A-Za-z0-9_-]{1,64}")
MOST_EXPERTS, MOST_COLUMNS, MOST_NUMBER = 64, 1 << 16, 10**14  # of a vector; generation, and other numbers
Facts = TypeVar("Facts")
LARGE = 1e12  # above numbers of a scale, and one divided by its spreads
UPWARDS, MOST_BESIDE = 3, 200  # folders between an index and its model; entries beside an index, looked through
REMEDY = "restore it, or make the index again: mee index STORE MODEL INDEX --overwrite"


@dataclass(frozen=True)
class Origin:
    """What an index was made from; opening checks that it is still so."""

    model: str  # directory, absolute
    model_fingerprint: str
    store: str  # directory, absolute
    model_inode: int | None = None  # of the directory, on the machine that made the index
    index: str = ""  # directory of the index at that time, absolute: where the others are from it

    def models(self, directory: Path) -> Iterator[tuple[Path, bool]]:
        """Folders that may hold the model of the index in a directory, the likeliest first; and which surely do.

        These are the very folder that the index was made with, and the recorded one beside the index. The others
        may be anyone's: where a model would be that was moved or copied along, and those beside the index.
        """
        here, recorded, any_sure = directory.resolve(), Path(self.model), False
        places = {recorded: is_bare(recorded.name) and recorded.parent == here.parent}
        if (moved := self._moved(recorded, here)) is not None:
            places = {moved: places.get(moved, False), **places}
        for place, beside in places.items():
            if os.path.isdir(place) and not os.path.islink(place):
                sure = beside or place.stat().st_ino == self.model_inode
                any_sure |= sure
                if sure or place != recorded:
                    yield place, sure
        with suppress(OSError):
            for each in [] if any_sure else sorted(here.parent.iterdir())[:MOST_BESIDE]:
                if is_bare(each.name) and not each.is_symlink() and (each / "config.json").is_file():
                    yield each, False

    def stores(self, directory: Path) -> list[Path]:
        """Folders that may hold the store of the index in a directory, the likeliest first.

        They are near the index; the recorded one elsewhere counts where the model is the very folder that the
        index was made with, since anyone may have named it.
        """
        here, recorded, found = directory.resolve(), Path(self.store), []
        with suppress(OSError, ValueError):
            found += [recorded] if Path(self.model).stat().st_ino == self.model_inode else []
        moved = self._moved(recorded, here)
        found += [moved] if moved is not None else []
        found += [here.parent / recorded.name] if is_bare(recorded.name) else []
        return [place for place in dict.fromkeys(found) if place.is_dir() and not place.is_symlink()]

    def _moved(self, recorded: Path, here: Path) -> Path | None:
        """Where a folder is if it was moved along with the index; None: that is no place near it."""
        with suppress(ValueError):  # a path of anyone's may be no path
            way = Path(os.path.relpath(recorded, self.index)).parts
            names = [name for name in way if name != ".."]
            if os.path.isabs(self.index) and len(way) - len(names) <= UPWARDS and all(map(is_bare, names)):
                return Path(os.path.normpath(here.joinpath(*way)))
        return None


@dataclass(frozen=True)
class Recall:
    """The share of the exact answers that was found, and how it was measured (index/recall.py)."""

    target: float | None  # as requested
    reached: float  # below the target where no setting reaches it
    rerank: int  # candidates that are scored exactly for the best `at`
    at: int
    queries: int  # that `reached` is the mean of
    source: str  # what they are
    clips: int  # in the index at that time


@dataclass(frozen=True)
class FileRef:
    """A file of removed rows, as the manifest names it."""

    name: str
    sha256: str


@dataclass(frozen=True)
class SegmentRef:
    """A segment, as the manifest names it."""

    name: str  # of its folder
    sha256: str  # of its segment.json
    removed: FileRef | None = None  # the rows of it that do not count


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of index.json."""

    generation: int
    layout: Layout
    origin: Origin
    settings: Settings
    offsets: Mapping[str, Any] | None = None  # what the clips' offsets are; None: they have none
    recall: Recall | None = None  # None: not measured
    scale: Scale | None = None  # of the experts, where weights of sentences are how much they stand out
    segments: tuple[SegmentRef, ...] = ()

    def write(self, directory: Path) -> bytes:
        """Replace the manifest of an index; returns the file's content."""
        content = {"format": FORMAT, **asdict(self)}
        text = (json.dumps({**content, CHECKSUM: _checksum(content)}, indent=2, allow_nan=False) + "\n").encode()
        with whole_file(directory / INDEX_FILE, "changes") as aside:
            aside.write_bytes(text)
        return text

    @property
    def files(self) -> set[str]:
        """Names of its segments, its removed files and its text side, relative to the index."""
        removed = {ref.removed.name for ref in self.segments if ref.removed is not None}
        text = {name for name in (text_name(self.origin),) if re.fullmatch(TEXT, name)}
        return removed | text | {f"{SEGMENTS}/{ref.name}" for ref in self.segments}


def text_name(origin: Origin) -> str:
    """The folder of the text side of an index; one that no index has, where the fingerprint is none."""
    name = f"text-{origin.model_fingerprint}"
    return name if re.fullmatch(TEXT, name) else "text-none"


HINTS: dict[type, dict[str, Any]] = {kind: get_type_hints(kind) for kind in (Origin, Recall, FileRef, SegmentRef)}


def read_manifest(directory: Path) -> tuple[Manifest, bytes]:
    """The manifest of an index, and the file's content."""
    path = directory / INDEX_FILE
    try:
        text = read_file(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        made = f"mee index STORE MODEL {shlex.quote(str(directory))}"
        raise InputError(f"no index at '{directory}'; make one with: {made}") from error
    with reading(path):
        content = parse_json(text)
        if content["format"] == FORMAT:
            if content.pop(CHECKSUM) != _checksum(content):
                raise ValueError("its checksum is wrong")
            return parsed(content), text
    raise InputError(
        f"'{path}' is of format {content['format']!r}, and this version of mee reads {FORMAT}; make the index "
        "again: mee index STORE MODEL INDEX --overwrite"
    )


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is read into the error that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise damaged(path, "it is missing") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(path, "an entry is missing, unknown or of another type") from error
    except (OSError, ValueError, EOFError, IndexError, RuntimeError, struct.error) as error:
        raise damaged(path, str(error)) from error


def write_text_facts(folder: Path, content: Mapping[str, Any]) -> None:
    """Describe the text side in a folder: content of text.json, besides its files and its checksum."""
    content = {**content, "files": facts_of(folder)}
    (folder / TEXT_FACTS).write_text(json.dumps({**content, CHECKSUM: _checksum(content)}, indent=2) + "\n")


def read_text_facts(folder: Path) -> tuple[dict[str, Any], dict[Path, FileFacts]]:
    """The content of text.json, and the files that it describes, all there in their full size."""
    with reading(folder / TEXT_FACTS):
        check_folder(folder)
        content = parse_json(read_file(entry(folder, TEXT_FACTS)))
        if content.pop(CHECKSUM) != _checksum(content):
            raise ValueError("its checksum is wrong")
        files = {entry(folder, name): about for name, about in content["files"].items()}
        for path, about in files.items():
            check_size(path, about)
    return content, files


def damaged(path: Path, reason: str) -> InputError:
    """The error for a file that is missing or not what was written."""
    return InputError(f"'{path}' is damaged ({reason.partition(chr(10))[0] or 'it cannot be read'}); {REMEDY}")


def _checksum(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def parsed(content: Mapping[str, Any]) -> Manifest:
    entries = {name: value for name, value in content.items() if name != "format"}
    layout, recall = entries["layout"], entries["recall"]
    entries |= {
        "layout": Layout(
            tuple(layout["names"]), tuple(layout["sizes"]), layout["missing"], tuple(layout["words"])
        ),
        "origin": typed(Origin, entries["origin"]),
        "settings": Settings(**entries["settings"]),
        "recall": None if recall is None else typed(Recall, recall),
        "scale": None if entries["scale"] is None else _scale(entries["scale"], len(layout["names"])),
        "segments": tuple(
            typed(
                SegmentRef, {**ref, "removed": None if ref["removed"] is None else typed(FileRef, ref["removed"])}
            )
            for ref in entries["segments"]
        ),
    }
    manifest = Manifest(**entries)
    for name, size in zip(manifest.layout.names, manifest.layout.sizes):
        if not (isinstance(name, str) and EXPERT.fullmatch(name)) or type(size) is not int:
            raise ValueError(f"an expert is called {name!r:.80} and has the size {size!r:.80}")
    if len(set(manifest.layout.words)) < len(manifest.layout.words):
        raise ValueError("it names an expert of words twice")
    if len(manifest.layout.names) > MOST_EXPERTS or manifest.layout.total > MOST_COLUMNS:
        raise ValueError(
            f"it has {len(manifest.layout.names):,} experts with {manifest.layout.total:,} components"
        )
    if type(manifest.generation) is not int or not 0 <= manifest.generation < MOST_NUMBER:
        raise ValueError(f"its generation is {manifest.generation!r:.80}")
    if manifest.offsets is not None and not isinstance(manifest.offsets, dict):
        raise TypeError("offsets are of another type")
    if manifest.recall is not None and manifest.recall.rerank < 1:
        raise ValueError("it re-ranks no candidates")
    strange = [name for name in manifest.files if not KNOWN.fullmatch(name)]
    if strange:
        raise ValueError(f"it names '{min(strange)}', which no index has")
    if len({ref.name for ref in manifest.segments}) < len(manifest.segments):
        raise ValueError("it names a segment twice")
    return manifest


def _scale(content: Mapping[str, Any], experts: int) -> Scale:
    for name, numbers in content.items():
        if len(numbers) != experts or not all(type(one) in (int, float) and abs(one) < LARGE for one in numbers):
            raise ValueError(f"its scale has {name} that are not finite numbers of {experts} experts")
        if "spread" in name and min(numbers) < 1 / LARGE:
            raise ValueError(f"its scale has {name} of 0 or less")
    return Scale(**{name: tuple(map(float, numbers)) for name, numbers in content.items()})


def typed(kind: type[Facts], content: Mapping[str, Any]) -> Facts:
    """A dataclass of entries that may be anything; true and false are no numbers, and no number is too large."""
    hints = HINTS[kind]
    for name, value in content.items():
        whole = type(value) is int and isinstance(0.0, hints[name])
        if isinstance(value, bool) or not (whole or isinstance(value, hints[name])):
            raise TypeError(f"{name} is of another type")
        if isinstance(value, int | float) and abs(value) >= 1 << 64:
            raise ValueError(f"its {name} is too large")
    return kind(**content)


def parts_in(directory: Path, *, shards: bool = True) -> set[str]:
    """Names of all segments, removed files, text sides and shards there, whether or not anything names them."""
    return {name for name in _names(directory) if KNOWN.fullmatch(name) or (shards and is_shard(directory / name))}


def is_shard(folder: Path) -> bool:
    """Whether a folder in an index is a shard of it by its name and by what it holds."""
    named = SHARD.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink()
    return bool(named) and not is_foreign(folder, shards=False)


def is_foreign(directory: Path, *, shards: bool = True) -> bool:
    """Whether a directory holds something that is neither an index, damaged or not, nor the start of one."""
    parts, names = parts_in(directory, shards=shards), set(_names(directory))
    if INDEX_FILE in names:
        try:
            content = read_json(directory / INDEX_FILE)
            return not (isinstance(content, dict) and {"format", "layout", "origin"} <= content.keys())
        except (OSError, ValueError):
            return not parts and not names >= {LOCK, SEGMENTS}
    known = {*parts, LOCK, SEGMENTS, *([SHARDS_FILE] if shards else [])}
    return any(name not in known and not ASIDE.fullmatch(name) for name in names)


def last_number(directory: Path) -> int:
    """The highest number in a name; 0 where there is none."""
    parts = (name for name in parts_in(directory, shards=False) if not re.fullmatch(TEXT, name))
    found = (int(number) for name in parts for number in re.findall(NUMBER, name))
    return max((number for number in found if number < MOST_NUMBER), default=0)


def clear(directory: Path, kept: Collection[str]) -> None:
    """Delete what `parts_in` names and what is not renamed yet, but for the kept; needs the lock."""
    for name in parts_in(directory) - set(kept) | set(filter(ASIDE.fullmatch, _names(directory))):
        discard(directory / name)


def _names(directory: Path) -> Iterator[str]:
    for path in sorted(directory.iterdir()):
        yield path.name
        if path.name == SEGMENTS:
            if path.is_symlink() or not path.is_dir():  # what is deleted there would not be the index's
                raise InputError(f"'{path}' is no folder but a link or a file; put a folder in its place")
            yield from (f"{SEGMENTS}/{folder.name}" for folder in sorted(path.iterdir()))
