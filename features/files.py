"""Files: what may come from anyone is opened here, and what others will read is written here.

Reading: a store or an imported file may have been made by anyone. So what it names are plain names, what is opened
is a regular file, sizes are compared before memory is taken, and JSON is bounded. (`mee.files` is the same door of
that package: the two import nothing of each other.)

Writing: a file is written as .<name>.<process>, synced and renamed, and its folder is synced. It exists with all
of its content or not at all, also after a power cut.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, BinaryIO

from features.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST_NAME = 255  # bytes
NAME = re.compile("[A-Za-z0-9_-]{1,100}")  # of a stream, a shard or a version: as a file, a column or an option
MOST_BYTES = 16 << 20  # of a file that is read into memory whole: as JSON it takes up to 20 times as much there
ROOM, UNFOLDED = 512 << 20, 16  # bytes that a library may take for any file, and for each byte of it
SPARSE = 40 << 20  # bytes of a file; smaller ones may be without content on the disk
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
    """A regular file below a folder that may come from anyone: the path to open.

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

    ``most``: bytes that such a file may have. ``follow``: also through links, as for a file that the user named.
    Raises InputError where it is a link, a pipe, a device or a folder, or larger; OSError where it is gone.
    """
    status = path.stat(follow_symlinks=follow)
    if not stat.S_ISREG(status.st_mode):
        raise _not(path, status.st_mode, "a regular file")
    if status.st_size > max(SPARSE, status.st_blocks * 512 * 64):  # a few kB on the disk, and memory without end
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


def open_inside(folder: Path, name: str) -> BufferedReader:
    """Open a regular file below a folder by a path that may come from anyone; links may lead to others below it.

    What is checked is what the path leads to, before it is opened, and opened then, whatever is put in its place.

    Raises:
        InputError: it is no path below the folder, or what stands there is not a regular file, or lies outside.
        OSError: there is no such file, or it cannot be opened.
    """
    if not name or "\0" in name or name.startswith("/") or ".." in name.split("/"):
        raise InputError(f"{name!r:.80} is no path below a folder; nothing is read of it")
    try:
        place = os.open(folder / name, getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_CLOEXEC)
    except UnicodeEncodeError as error:
        raise InputError(f"{name!r:.80} is no path of a file") from error
    try:
        link = Path("/proc/self/fd", str(place))  # only Linux has it
        path = Path(os.readlink(link)) if link.is_symlink() else (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise InputError(f"{name!r:.80} leads out of the folder; nothing is read of it")
        opened = link if link.is_symlink() else path
        try:
            return open_file(opened, follow=True)
        except InputError as error:
            raise InputError(str(error).replace(str(opened), name)) from None
    finally:
        os.close(place)


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

    The limit is on the memory that the whole process takes meanwhile, where the system has one (Linux). Raises
    InputError where the file takes more, by its size, or is nested too deeply.
    """
    most = ROOM + UNFOLDED * (path.stat().st_size if path.exists() else 0)
    with _LIMITED:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        with suppress(OSError, ValueError):
            pages = int(Path("/proc/self/statm").read_text().split()[5])  # that are taken already
            limit = pages * resource.getpagesize() + most
            resource.setrlimit(
                resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
            )
        try:
            yield
        except MemoryError as error:
            raise InputError(
                f"'{path}' takes more than {most >> 20:,} MB to read, far more than its size; it is damaged, or "
                "made to fill the memory"
            ) from error
        except RecursionError as error:
            raise InputError(
                f"'{path}' is nested too deeply; it is damaged, or made to stop its readers"
            ) from error
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def read_parquet(path: Path) -> pa.Table:
    """The table of a Parquet file, with limited memory; of a damaged one the library raises anything."""
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
    """The content of a JSON file: without NaN or Infinity, and not nested too deeply; else as `read_file`."""
    try:
        return parse_json(read_file(path, most))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"'{path}' cannot be read as JSON: {error}") from error


def parse_json(text: bytes | str) -> Any:
    """Parse JSON with a bound on its nesting, without NaN and Infinity; raises ValueError for anything else."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of this content; after an error nothing remains."""
    with _renamed(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write in pieces; after an error nothing remains. Removes temporary files of killed processes."""
    for temporary in path.parent.glob(f".{path.name}.*"):
        if temporary.suffix[1:].isdecimal():
            try:
                with open_file(temporary) as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (OSError, InputError):  # another process writes it, it is gone, or no file
                continue
            temporary.unlink(missing_ok=True)
    with _renamed(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def link_whole(source: Path, path: Path) -> bool:
    """Hard-link a regular file that never changes to a second path; where that fails, copy it and return True."""
    regular_size(source)
    make_folder(path.parent)
    temporary = _temporary(path)
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # another file system, one without links, another owner; a missing source raises again below
        with open_file(source) as content, _renamed(path) as file:
            shutil.copyfileobj(content, file)
        return True
    os.replace(temporary, path)
    temporary.unlink(missing_ok=True)  # it remains where both are one file already
    sync(path.parent)
    return False


@contextmanager
def _renamed(path: Path) -> Iterator[BinaryIO]:
    make_folder(path.parent)
    temporary = _temporary(path)
    temporary.unlink(missing_ok=True)  # it may be a link to anywhere
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)  # the error of a full disk names no file
        raise
    sync(path.parent)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably."""
    for each in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        each.mkdir(exist_ok=True)
        sync(each.parent)


def remove(path: Path) -> None:
    """Remove a file or a link, if there is one; a folder stays."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Force a file's content, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
