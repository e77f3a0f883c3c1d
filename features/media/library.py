"""A library: the media files below a folder, or a single one; and the limits beyond which a file is refused."""

from __future__ import annotations

import codecs
import math
import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from features.errors import InputError, MediaError
from features.files import open_file

SUBTITLES = {".srt": "srt", ".vtt": "webvtt"}  # suffix -> ffmpeg's name of the format
_VIDEOS = "mp4 m4v mov mkv webm avi mpg mpeg ts mts m2ts m2t tp trp vob evo mod tod m2p mpe mpv mpv2 m2v m1v"
_VIDEOS += " mp2v mp4v wmv asf wm dvr-ms wtv flv f4v 3gp 3g2 3gpp 3gp2 ogv ogm ogx divx xvid rm rmvb dv dif mxf"
_VIDEOS += " gxf nut y4m qt mk3d ismv insv mj2 mjpg mjpeg apng ivf obu h264 264 hevc h265 265 amv"
_SOUNDS = "mp3 mp2 mpa m4a m4b m4r 3ga aac adts wav w64 rf64 flac alac ogg oga spx opus wma aif aiff aifc mka weba"
_SOUNDS += " ac3 ec3 eac3 dts mlp thd amr awb caf au snd voc ape wv tta mpc tak ra"
IMAGE_SUFFIXES, VIDEO_SUFFIXES, SOUND_SUFFIXES = (
    frozenset(f".{ending}" for ending in endings.split())
    for endings in ("jpg jpeg png webp gif", _VIDEOS, _SOUNDS)
)
# TypeScript, Go and Fortran modules, Squirrel scripts, device trees, references to streams: where it is text
OFTEN_TEXT = (".ts", ".mts", ".mod", ".tod", ".nut", ".dif", ".dts", ".asf", ".wm", ".rm", ".ra", ".qt")
_NO_TEXT = bytes({*range(32)} - {*b"\t\n\f\r\x1b"})
# hidden files (with those of macOS, ._*), recycle bins, previews of network drives, remains of file systems
EXCLUDED = ".*:$RECYCLE.BIN:RECYCLER:#recycle:@Recycle:@Recently-Snapshot:#snapshot:@eaDir"
EXCLUDED += ":System Volume Information:lost+found:__MACOSX:FOUND.[0-9][0-9][0-9]"
KINDS_SHOWN = 8
LAST_MTIME = float(1 << 40)  # a time of change beyond is no time


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which files of a folder are read."""

    endings: tuple[str, ...] = ()  # read files with these endings too, such as .dat .rec
    # skip also files and folders whose name, or path below the folder, is like one of these: drafts '*.proxy.mp4'
    exclude: tuple[str, ...] = ()
    audio_files: bool = True  # skip files of sound alone, by their endings: .mp3 .wav .flac …

    def __post_init__(self) -> None:
        if wrong := [word for word in (*self.endings, *self.exclude) if not word.strip("*./")]:
            raise ValueError(f"endings and exclude take words such as .dat and drafts, got '{wrong[0]}'")

    @cached_property
    def _excluded(self) -> re.Pattern[str]:
        words = (word.removeprefix("./").rstrip("/") for word in (*EXCLUDED.split(":"), *self.exclude))
        return re.compile("|".join(translate(normalize("NFC", word).casefold()) for word in words))

    def excludes(self, path: str) -> bool:
        """Whether a file or folder, by its path below the library's, is skipped for a name on the way to it."""
        parts = normalize("NFC", path).casefold().split("/")
        ways = ("/".join(parts[:number]) for number in range(1, len(parts) + 1))
        return any(map(self._excluded.match, (*parts, *(place for way in ways for place in (way, f"/{way}")))))

    def other_kind(self, path: Path) -> str:
        """What a file is that is not read; empty for media."""
        suffix, more = path.suffix.lower(), tuple(f".{word.lstrip('*.')}".lower() for word in self.endings)
        added = path.name.lower().endswith(more)
        if not added and (not is_media(path) or (suffix in SOUND_SUFFIXES and not self.audio_files)):
            return suffix or "no ending"
        return f"{suffix} (text)" if (added or suffix in OFTEN_TEXT) and _is_text(path) else ""


ANY = Selection()


def _is_text(path: Path) -> bool:
    with suppress(OSError, InputError), open_file(path, follow=True) as file:
        head = file.read(1024)
        marked = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return bool(head) and (marked or head.translate(None, _NO_TEXT) == head)
    return False


def is_media(path: Path) -> bool:
    """Whether the suffix, in upper or lower case, is that of a video, a still image or a file of sound."""
    return path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES | SOUND_SUFFIXES


@dataclass(frozen=True)
class Library:
    """Which files there are."""

    root: Path
    videos: tuple[str, ...]  # paths below root with forward slashes, sorted
    ignored: Counter[str] = field(compare=False)  # endings that are no media, folders not entered
    folders: tuple[str, ...] = field(default=(), compare=False)  # below root that were listed; "." is root itself
    unreadable: tuple[str, ...] = ()  # folders below root that could not be listed

    @property
    def others(self) -> str:
        """The kinds of skipped files in words, the most frequent first."""
        kinds = [f"{count} x {kind}" for kind, count in self.ignored.most_common()]
        more = [f"{len(kinds) - KINDS_SHOWN} more kinds"] if len(kinds) > KINDS_SHOWN + 1 else kinds[KINDS_SHOWN:]
        return " and ".join([", ".join(kinds[:KINDS_SHOWN]), *more])


def find_media(path: Path, selection: Selection = ANY) -> Library:
    """Search a folder and its subfolders for media files, of which there is one; or take a single file."""
    if path.is_file():
        if kind := selection.other_kind(path):
            raise InputError(f"'{path}' is neither a video, a still image nor sound ({kind}); see --endings")
        return Library(path.parent, (path.name,), Counter())
    if not path.is_dir():
        raise InputError(f"there is nothing at '{path}'; name a folder of videos, or one video")
    library = list_media(path, selection)
    if not library.videos:
        found = library.others and f"only {library.others}"
        raise InputError(f"no videos, still images or sound in '{path}': {found or 'it is empty'}")
    return library


def list_media(root: Path, selection: Selection = ANY) -> Library:
    """The media files of a folder and its subfolders; there may be none."""
    videos: list[str] = []
    folders: list[str] = []
    unreadable: list[str] = []
    ignored: Counter[str] = Counter()

    def not_listed(error: OSError) -> None:
        ignored["unreadable folder"] += 1
        unreadable.append(Path(error.filename).relative_to(root).as_posix())

    for folder, below, names in os.walk(root, onerror=not_listed):
        place = Path(folder).relative_to(root)
        folders.append(place.as_posix())
        ignored["excluded folder"] += len(below)
        below[:] = [name for name in sorted(below) if not selection.excludes((place / name).as_posix())]
        ignored["excluded folder"] -= len(below)
        ignored["linked folder"] += sum(Path(folder, name).is_symlink() for name in below)  # not entered: circles
        for name in names:
            file, below_root = Path(folder, name), (place / name).as_posix()
            if any("\ud800" <= letter <= "\udfff" for letter in str(file)):  # it cannot be stored or printed
                ignored["name that is not Unicode"] += 1
            elif selection.excludes(below_root):
                ignored["excluded file"] += is_media(file)  # of others nobody asks
            elif file.suffix.lower() in SUBTITLES:
                continue  # these are read with their videos
            elif kind := selection.other_kind(file):
                ignored[kind] += 1
            else:
                videos.append(below_root)
    return Library(root, tuple(sorted(videos)), +ignored, tuple(folders), tuple(unreadable))


class Stamp(NamedTuple):
    """What tells, without reading it, that a file has changed."""

    bytes: int
    mtime: float | None  # seconds since 1970; None where it is not known


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a file; None where it does not exist or cannot be accessed."""
    with suppress(OSError):  # Path.exists raises some of these: no permission, a failing disk
        status = path.stat()
        return Stamp(status.st_size, max(-LAST_MTIME, min(status.st_mtime, LAST_MTIME)))
    return None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Longer and larger files are refused, in a message that names the flag."""

    max_seconds: float | None = None  # of actual pictures or sound, whatever the header says; None: no limit
    max_megapixels: float = 100.0  # of one picture

    def __post_init__(self) -> None:
        if self.max_seconds is not None and not 0 < self.max_seconds < math.inf:
            raise ValueError(f"max-seconds must be positive, got {self.max_seconds}")
        if not 0 < self.max_megapixels < math.inf:
            raise ValueError(f"max-megapixels must be positive, got {self.max_megapixels}")

    @property
    def max_pixels(self) -> int:
        """Of one picture."""
        return int(self.max_megapixels * 1e6)

    def check_seconds(self, seconds: float) -> None:
        """Raises MediaError where a file lasts longer."""
        if self.max_seconds is not None and seconds > self.max_seconds:
            raise MediaError(f"it is too long: more than {self.max_seconds:g} s (--max-seconds)")

    def check_pixels(self, width: int, height: int) -> None:
        """Raises MediaError where a picture is larger."""
        if width * height > self.max_pixels:
            raise MediaError(
                f"its pictures are too large: {width} x {height} pixels, more than {self.max_megapixels:g} "
                "megapixels (--max-megapixels)"
            )


DEFAULT_LIMITS = Limits()
