"""A media file in, its clips out, one at a time: pictures and sound decoded once, and a verdict on each clip."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from features.errors import InputError
from features.media.animation import AnimatedPictures, animation_facts
from features.media.clip import (
    DEGRADED,
    FIRST_LOOK,
    NO_PICTURE,
    NO_SOUND,
    OK,
    Clip,
    FrameNeed,
    Need,
    SoundNeed,
    Span,
    SubtitleNeed,
    cut,
)
from features.media.frames import CLOSE_S, Pictures, ReaderFailed
from features.media.image_reader import read_image
from features.media.key_frames import FirstLook
from features.media.library import DEFAULT_LIMITS, IMAGE_SUFFIXES, Limits
from features.media.probe import MediaFacts, PictureFacts, probe_file
from features.media.pyav_reader import PyavPictures
from features.media.sound import SoundTrack, Wave
from features.media.subtitles import read_subtitles

log = logging.getLogger(__name__)
SHORT_S, SHORT_SHARE = 1.0, 0.05  # a file this much shorter than its header says is degraded

OpenPictures = Callable[[Path, MediaFacts, PictureFacts, Sequence[FrameNeed]], Pictures]


def load_reader(name: str) -> OpenPictures:
    """What opens the pictures of videos; all that reading takes is imported afterwards."""
    if name == "pyav":
        return PyavPictures
    if name == FIRST_LOOK:
        return FirstLook
    if name != "decord":
        raise InputError(f"no reader is called '{name}'; there are pyav, decord")
    from features.media.decord_reader import DecordPictures, import_decord

    import_decord()
    return DecordPictures


def read_clips(
    path: Path,
    video: str,
    needs: Sequence[Need],
    *,
    clip_seconds: float | None = None,
    limits: Limits = DEFAULT_LIMITS,
    reader: str = "pyav",
) -> Iterator[Clip]:
    """Clips in order of time; memory holds one clip, however long the file.

    Args:
        path: the file.
        video: its path below the library's folder, with forward slashes; clip ids start with it.
        needs: what the extractors want; equal needs are decoded once.
        clip_seconds: length of a clip; None: whole up to 30 s, else 10 s.
        limits: how long and how large the file may be.
        reader: of videos, "pyav" or "decord"; images have their own. Sound always comes through PyAV. FIRST_LOOK:
            of one frame a clip, of which damage in other frames is not known.

    Raises:
        InputError: there is no such reader, or a clip of this length cannot be.
        MediaError: before the first clip, where the file cannot be read at all or exceeds the limits.
    """
    open_pictures = load_reader(reader)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        moving = animation_facts(path, limits)
        if moving is None:
            yield read_image(path, video, needs, limits)
            return
        facts, open_pictures = moving, FirstLook if reader == FIRST_LOOK else AnimatedPictures
    else:
        facts = probe_file(path, limits)
    union = dict.fromkeys(needs)
    frame_needs = [need for need in union if isinstance(need, FrameNeed)]
    sound_needs = [need for need in union if isinstance(need, SoundNeed)]
    picture, pictures, sound = facts.picture, None, None
    if picture is not None and frame_needs:
        try:
            pictures = open_pictures(path, facts, picture, frame_needs)
        except ReaderFailed as error:
            pictures = PyavPictures(path, facts, picture, frame_needs, note=str(error))
    if facts.sound is not None and sound_needs:
        sound = SoundTrack(path, sound_needs, facts.origin_s, facts.timeline)
    subtitles = {
        need: read_subtitles(path, need, facts.origin_s, facts.timeline)
        for need in union
        if isinstance(need, SubtitleNeed) and facts.timeline is not None
    }
    unread = dict.fromkeys(found.fault for found in subtitles.values() if found.fault)
    spans, source = cut(video, facts.held, clip_seconds), facts.source
    bad = 0
    for span in spans:
        try:
            frames = pictures.read(span) if pictures is not None else {}
        except ReaderFailed as error:
            assert picture is not None
            log.info("%s: %s", path, error)
            pictures = PyavPictures(path, facts, picture, frame_needs, note=str(error))
            frames = pictures.read(span)
        waves = sound.read(span) if sound is not None else {}
        if pictures is not None and not frames and not facts.has_sound(span):
            continue  # decoding the pictures broke off before this span
        known, bad = bad, sum(source.bad_packets for source in (pictures, sound) if source is not None)
        faults = [*_faults(facts, span, pictures, sound, bad - known, span is spans[-1]), *unread]
        said = {
            need: tuple(cue for cue in found.cues if cue[0] < span.end_s and cue[1] > span.start_s)
            for need, found in subtitles.items()
            if found.cues is not None
        }
        notes = [*facts.notes, *([pictures.note] if pictures is not None and pictures.note else [])]
        yield Clip(
            span=span,
            reader=pictures.served_by if pictures is not None else PyavPictures.served_by,
            frames=frames,
            sound=waves,
            said=said,
            verdict=DEGRADED if faults else _track_verdict(facts, span, waves, sound is not None),
            note="; ".join([*faults, *notes]),
            source=source,
        )


def _faults(
    facts: MediaFacts, span: Span, pictures: Pictures | None, sound: SoundTrack | None, bad: int, last: bool
) -> Iterator[str]:
    if bad:
        yield f"{bad} bad packet{'s' if bad > 1 else ''}"
    if facts.fault:
        yield facts.fault
    if sound is not None and sound.mute:
        yield "the sound track cannot be decoded"
    if pictures is not None and facts.picture is not None:
        promised, shown = (min(span.end_s, end) - span.start_s for end in (facts.picture.end_s, pictures.end_s))
        if shown < promised - CLOSE_S:
            yield f"{max(shown, 0):.1f} of {promised:.1f} s could be decoded"
    declared = facts.declared_s
    if last and declared is not None and declared - facts.extent_s > max(SHORT_S, SHORT_SHARE * declared):
        yield f"{facts.extent_s:.1f} of {declared:.1f} s could be decoded"


def _track_verdict(facts: MediaFacts, span: Span, waves: Mapping[SoundNeed, Wave], requested: bool) -> str:
    if facts.picture is None or span.start_s >= facts.picture.end_s - CLOSE_S:
        return NO_PICTURE
    return NO_SOUND if not facts.has_sound(span) or (requested and not waves) else OK
