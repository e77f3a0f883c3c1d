"""Files: what may come from anyone is opened here, and what others will read is written here.

Reading: a store, a model, an index or a result may have been made by anyone. So what it names are plain names,
what is opened is a regular file, sizes are compared before memory is taken, and JSON is bounded.

Writing: a file is written as .<name>.<process>, synced and renamed, and its folder is synced. It exists with all
of its content or not at all, also after a power cut.
"""

from __future__ import annotations

import json
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from mee.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST_NAME = 255  # bytes
MOST_BYTES = 16 << 20  # of a file that is read into memory whole: as JSON it takes up to 20 times as much there
ROOM, UNFOLDED = 512 << 20, 16  # bytes that a library may take for any file, and for each byte of it
LARGEST_JSON = 40 << 20  # of the few kinds that are known to be larger: vocabularies, lists of videos
KINDS = {stat.S_ISLNK: "a symbolic link", stat.S_ISFIFO: "a pipe", stat.S_ISDIR: "a folder"}
KINDS |= {stat.S_ISREG: "a regular file", stat.S_ISSOCK: "a socket"}
_LIMITED = RLock()  # the limit is one of the process


def is_bare(name: object) -> bool:
    """Whether a name found in a file or a folder is that of an entry, and no path: printable, not hidden."""
    return (
        isinstance(name, str)
        and 0 < len(name.encode("utf-8", "replace")) <= LONGEST_NAME
        and name.isprintable()
        and not name.startswith(".")
        and not {"/", "\\"} & set(name)
    )


def entry(folder: Path, *names: str) -> Path:
    """The path of a regular file below a folder that may come from anyone, to be opened.

    Args:
        folder: given by the user; may be a link.
        names: of the folders on the way and of the file; none may be a link. The hub's cache keeps files as links
            into the `blobs` of the same model: these are followed.

    Raises:
        InputError: a name is a path, or what stands there is not a regular file.
        OSError: there is no such file.
    """
    path = folder
    for number, name in enumerate(names, 1):
        if not is_bare(name):
            raise InputError(
                f"'{folder}' names a file {name!r:.80}, which is no plain name; nothing is read of it"
            )
        path /= name
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode) and (blob := _blob(folder, path)) is not None:
            return blob
        if number < len(names) and not stat.S_ISDIR(mode):
            raise _not(path, mode, "a folder")
    regular_size(path)
    return path


def _blob(folder: Path, path: Path) -> Path | None:
    """The file of the hub's cache that a link of one of its snapshots leads to."""
    target = path.resolve()
    snapshots = (place for place in (folder / "file").resolve().parents if place.parent.name == "snapshots")
    of_cache = any(target.parent == snapshot.parents[1] / "blobs" for snapshot in snapshots)
    return target if of_cache and target.is_file() else None


def regular_size(path: Path, most: int | None = None, *, follow: bool = False) -> int:
    """The bytes of a regular file, for a library that opens it by its name.

    Args:
        path: of the file.
        most: bytes that such a file may have; None: any number.
        follow: also through links, as for a file that the user named.

    Raises:
        InputError: it is a link, a pipe, a device or a folder, or larger.
        OSError: there is no such file.
    """
    status = path.stat(follow_symlinks=follow)
    if not stat.S_ISREG(status.st_mode):
        raise _not(path, status.st_mode, "a regular file")
    if status.st_size > max(LARGEST_JSON, 64 * 512 * status.st_blocks):  # a few kB on the disk, and endless memory
        raise InputError(f"'{path}' is damaged: it is a sparse file, nearly all of it without content")
    if most is not None and status.st_size > most:
        raise InputError(f"'{path}' has {status.st_size:,} bytes; no more than {most:,} are read of such a file")
    return status.st_size


def _not(path: Path, mode: int, wanted: str) -> InputError:
    found = next((word for test, word in KINDS.items() if test(mode)), "a device")
    return InputError(f"'{path}' is {found} and not {wanted}; put {wanted} in its place")


def check_folder(path: Path) -> None:
    """Refuse what stands in a folder's place and is none, such as a link to a folder; nothing may stand there."""
    if os.path.lexists(path) and not stat.S_ISDIR(mode := path.lstat().st_mode):
        raise _not(path, mode, "a folder")


def open_file(path: Path, most: int | None = None, *, follow: bool = False) -> BufferedReader:
    """Open a regular file; parameters and errors as of `regular_size`. Nothing waits for the writer of a pipe."""
    regular_size(path, most, follow=follow)  # before it is opened: opening some devices has effects
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    return os.fdopen(handle, "rb")


def read_file(path: Path, most: int = MOST_BYTES, *, follow: bool = False) -> bytes:
    """The content of a regular file; parameters and errors as of `regular_size`."""
    with open_file(path, most, follow=follow) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1)
    if len(content) > size:
        raise InputError(f"'{path}' grows while it is read; read it when it is whole")
    return content


@contextmanager
def limited(path: Path) -> Iterator[None]:
    """Limit the memory of a library that reads a file: only it knows what a small file unfolds to.

    The limit is on the memory that the whole process takes meanwhile, where the system has one (Linux).

    Args:
        path: of the file, whose size counts, or of a folder.

    Raises:
        InputError: it takes more, or the file is nested too deeply.
    """
    most = ROOM + UNFOLDED * (path.stat().st_size if path.exists() else 0)
    with _LIMITED:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        with suppress(OSError, ValueError):
            pages = int(Path("/proc/self/statm").read_text().split()[5])  # that are taken already
            limit = pages * resource.getpagesize() + most
            limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
        try:
            yield
        except MemoryError as error:
            much = f"takes more than {most >> 20:,} MB to read, far more than its size"
            raise InputError(f"'{path}' {much}; it is damaged, or made to fill the memory") from error
        except RecursionError as error:
            reason = "is nested too deeply; it is damaged, or made to stop its readers"
            raise InputError(f"'{path}' {reason}") from error
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def read_parquet(path: Path) -> pa.Table:
    """The table of a Parquet file, with limited memory.

    Raises:
        InputError: it takes more memory than its size explains.
        Exception: it is damaged; the library raises anything.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with limited(path):
        table = pq.ParquetFile(path).read(use_threads=False)  # a thread that lacks memory would end the process
        table.validate(full=True)  # text that is no UTF-8 would be found much later
        for number, column in enumerate(table.schema):
            if pa.types.is_dictionary(column.type):  # so would a conversion to pandas that unfolds them
                table = table.set_column(number, column.name, table[number].cast(column.type.value_type))
    return table


def read_json(path: Path, most: int = MOST_BYTES) -> Any:
    """The content of a JSON file; parameters and errors as of `regular_size`.

    Raises:
        InputError: also where it is no JSON, nested too deeply, or holds a number that is not finite.
    """
    content = read_file(path, most)
    try:
        return parse_json(content)
    except ValueError as error:
        raise InputError(f"'{path}' cannot be read as JSON: {error}") from error


def parse_json(text: bytes | str) -> Any:
    """Parse JSON with a bound on its nesting, and without NaN and Infinity.

    Raises:
        ValueError: it is something else.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


@contextmanager
def whole_file(path: Path, what: str) -> Iterator[Path]:
    """The path to write to, synced and renamed to `path` at the end; after an error `path` is unchanged.

    Args:
        path: the file.
        what: its content in messages, in the plural: "ranks".

    Raises:
        InputError: it cannot be written there, or not in UTF-8.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.unlink(missing_ok=True)  # it may be a link to anywhere
        yield aside
        sync(aside)
        aside.replace(path)
        sync(path.parent)
    except UnicodeEncodeError as error:
        raise InputError(f"{what} cannot be written to '{path}': a name is no text that UTF-8 knows") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error  # a library would show the other name
        raise InputError(f"{what} cannot be written to '{path}': {reason}") from error
    finally:
        with suppress(OSError):
            aside.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably."""
    for each in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        each.mkdir(exist_ok=True)
        sync(each.parent)


def sync(path: Path) -> None:
    """Force a file's content, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
