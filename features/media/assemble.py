"""Frames and sound of a file -> its clips, each with a verdict and what the verdict rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from features.media.clip import (
    DEGRADED,
    NO_PICTURE,
    NO_SOUND,
    OK,
    Clip,
    FrameNeed,
    Frames,
    Need,
    SoundNeed,
    Span,
)
from features.media.frames import CLOSE_S, Pictures
from features.media.probe import MediaFacts
from features.media.sound import SoundTrack, Wave

SHORT_S, SHORT_SHARE = 1.0, 0.05  # a file this much shorter than its header says is degraded


def split(needs: Sequence[Need]) -> tuple[tuple[FrameNeed, ...], tuple[SoundNeed, ...]]:
    """Needs by kind, each once, in the order given."""
    union = dict.fromkeys(needs)
    frames = tuple(need for need in union if isinstance(need, FrameNeed))
    return frames, tuple(need for need in union if isinstance(need, SoundNeed))


def assemble(
    facts: MediaFacts, spans: Sequence[Span], pictures: Pictures | None, sound: SoundTrack | None, reader: str
) -> Iterator[Clip]:
    """Clips in order of time; a span of which nothing could be decoded is left out.

    Args:
        facts: of the file.
        spans: of the file, in order of time.
        pictures: None where no frames are asked for, or the file has none.
        sound: None where no sound is asked for, or the file has none.
        reader: name of the reader, for files of which no pictures are read.
    """
    source = facts.source
    for span in spans:
        frames = pictures.read(span) if pictures is not None else {}
        waves = sound.read(span) if sound is not None else {}
        if _is_gone(facts, span, pictures, frames):
            continue
        served = [pictures.note] if pictures is not None and pictures.note else []
        notes = [*_bad_packets(pictures, sound), *_faults(facts, span, pictures, sound, spans[-1])]
        yield Clip(
            span=span,
            reader=pictures.served_by if pictures is not None else reader,
            frames=frames,
            sound=waves,
            verdict=DEGRADED if notes else _track_verdict(facts, span, waves, sound is not None),
            note="; ".join([*notes, *served]),
            source=source,
        )


def _is_gone(facts: MediaFacts, span: Span, pictures: Pictures | None, frames: Mapping[FrameNeed, Frames]) -> bool:
    """Whether decoding the pictures broke off before this span, and no sound is there either."""
    heard = facts.sound is not None and facts.sound.within(span.start_s, span.end_s)
    return pictures is not None and not frames and not heard


def _bad_packets(pictures: Pictures | None, sound: SoundTrack | None) -> list[str]:
    sources = [source for source in (pictures, sound) if source is not None]
    count = sum(source.take_bad_packets() for source in sources)
    return [f"{count} bad packet{'s' if count > 1 else ''}"] if count else []


def _faults(
    facts: MediaFacts, span: Span, pictures: Pictures | None, sound: SoundTrack | None, last: Span
) -> Iterator[str]:
    if facts.fault:
        yield facts.fault
    if sound is not None and sound.mute:
        yield "the sound track cannot be decoded"
    if pictures is not None and facts.picture is not None:
        promised, shown = (min(span.end_s, end) - span.start_s for end in (facts.picture.end_s, pictures.end_s))
        if shown < promised - CLOSE_S:
            yield f"{max(shown, 0):.1f} of {promised:.1f} s could be decoded"
    declared = facts.declared_s
    if span is last and declared is not None:
        missing = declared - facts.extent_s
        if missing > max(SHORT_S, SHORT_SHARE * declared):
            yield f"{facts.extent_s:.1f} of {declared:.1f} s could be decoded"


def _track_verdict(facts: MediaFacts, span: Span, waves: Mapping[SoundNeed, Wave], asked: bool) -> str:
    if facts.picture is None or span.start_s >= facts.picture.end_s - CLOSE_S:
        return NO_PICTURE
    silent = facts.sound is None or not facts.sound.within(span.start_s, span.end_s)
    return NO_SOUND if silent or (asked and not waves) else OK
