"""The subtitles of a video: of a file beside it, or of a text track inside.

    film.mp4  ->  film.srt, film.vtt             of a requested language: film.en.srt first
                  film.en.srt, film.de-AT.vtt    of any language if none is requested
                  a text track of film.mp4       of the requested language if one says so; no forced one

The first that has text counts. Files are UTF-8, with or without a byte order mark; ffmpeg parses them from memory.
A file that cannot be read is passed over, and the note of the video's clips says so.
"""

from __future__ import annotations

import codecs
import io
import os
import re
from contextlib import suppress
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple, cast

import av
from av.container import InputContainer
from av.stream import Disposition
from av.subtitles.stream import SubtitleStream

from features.errors import InputError
from features.files import is_bare, read_file
from features.media.clip import Cue, SubtitleNeed
from features.media.container import Timeline, beside_pictures, only, open_media, packet_time, packets
from features.media.library import SUBTITLES

TEXT_CODECS = frozenset(("subrip", "srt", "webvtt", "mov_text", "ass", "ssa", "text"))
MOST_BYTES, MOST_CUES = 4 << 20, 100_000  # of a file, and of a track: a film has 100 kB and 2,000
LONGEST_CUE_S = 60.0  # nothing is read for longer; else one cue could fill every clip of a film
_MARKUP = re.compile(r"\{\\[^}]*\}|</?[A-Za-z][^<>]*>")
_MARKS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
_LANGUAGE = re.compile("[A-Za-z]{2,3}(-[A-Za-z0-9]+)*")


class Subtitles(NamedTuple):
    """What was found."""

    cues: list[Cue] | None  # in order of time; None: the video has none
    fault: str  # why a file was passed over, or empty


def read_subtitles(path: Path, need: SubtitleNeed, origin_s: float, timeline: Timeline) -> Subtitles:
    """The subtitles of a video whose clock a pass over its packets has found."""
    faults: list[str] = []
    for name in _beside(path, need.language):
        try:
            if cues := _parsed(path.with_name(name)):
                return Subtitles(cues, "; ".join(faults))
        except (InputError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            faults.append(f"its subtitles '{name}' were not read: {reason}")
    return Subtitles(_inside(path, need.language, origin_s, timeline), "; ".join(faults))


def _beside(path: Path, language: str) -> list[str]:
    """The names of a video's subtitle files, the preferred first."""
    found = []
    for name in _files(path.parent, path.parent.stat().st_mtime_ns):
        stem, _, tag = name[:-4].removeprefix(path.stem).partition(".")
        if name.startswith(path.stem) and not stem and (not tag or _LANGUAGE.fullmatch(tag)):
            wanted = bool(tag) and _speaks(tag, language)
            if wanted or not tag or not language:
                found.append(((not wanted, bool(tag), name), name))
    return [name for _, name in sorted(found)]


def _speaks(tag: str, language: str) -> bool:
    """Whether a tag such as "en", "eng" or "en-GB" is of a language such as "en"."""
    return bool(language) and tag.lower().startswith(language)


@lru_cache(maxsize=8)
def _files(folder: Path, modified: int) -> tuple[str, ...]:
    """Names of all subtitle files of a folder, read again when it changes."""
    return tuple(name for name in os.listdir(folder) if name[-4:].lower() in SUBTITLES and is_bare(name))


def _parsed(path: Path) -> list[Cue]:
    content = read_file(path, MOST_BYTES)
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "")
        known = f"it is {kind}" if kind else f"byte {error.start} says so; an older one is often WINDOWS-1252"
        raise InputError(
            f"it is not in UTF-8 ({known}); convert it, such as by iconv -f {kind or 'WINDOWS-1252'} -t UTF-8 "
            f"{quote(path.name)}, and run again with --overwrite"
        ) from error
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        with av.open(io.BytesIO(content), "r", format=SUBTITLES[path.suffix.lower()]) as container:
            return _cues(container, container.streams.subtitles[0])
    except MemoryError:
        raise
    except (av.FFmpegError, OSError, ValueError, LookupError) as error:
        raise InputError("it is no file of subtitles") from error


def _inside(path: Path, language: str, origin_s: float, timeline: Timeline) -> list[Cue] | None:
    """The cues of the text track that a player would choose; None where there is none."""
    with open_media(path) as container:
        texts = [
            stream
            for stream in container.streams.subtitles
            if stream.codec_context is not None
            and stream.codec_context.name in TEXT_CODECS
            and not stream.disposition & Disposition.forced
            and beside_pictures(container, stream)
        ]
        texts.sort(
            key=lambda s: (not _speaks(s.language or "", language), not s.disposition & Disposition.default)
        )
        only(container, *texts[:1])
        return _cues(container, texts[0], origin_s, timeline) or None if texts else None


def _cues(
    container: InputContainer, stream: SubtitleStream, origin_s: float = 0.0, timeline: Timeline | None = None
) -> list[Cue]:
    """In order of time; a packet that cannot be decoded has none."""
    base = stream.time_base or Fraction(1, 1000)
    cues: list[Cue] = []
    for packet in packets(container, stream):
        if timeline is not None:
            timeline.apply(packet)
        time = packet_time(packet, base)
        if time is None or len(cues) >= MOST_CUES:
            continue
        start = time - origin_s
        end = start + min(float((packet.duration or 0) * base), LONGEST_CUE_S)
        with suppress(av.FFmpegError, ValueError):
            parts = [getattr(part, "dialogue", b"") for part in cast(Any, stream).decode(packet)]
            text = " ".join(_MARKUP.sub("", b" ".join(parts).decode("utf-8", "replace")).split())
            if end > 0 and text:
                cues.append((max(start, 0.0), end, text))
    return sorted(cues, key=lambda cue: cue[0])
