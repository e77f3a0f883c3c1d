"""PyavReader, the default: one forward pass over the pictures, frames picked by time, on PyAV."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from features.media.assemble import assemble, split
from features.media.clip import Clip, FrameNeed, Frames, Need, Span
from features.media.container import Decoder
from features.media.cutting import Cutting
from features.media.frames import FramePicker, Pictures, on_display, steady, wanted_times
from features.media.limits import DEFAULT_LIMITS, Limits
from features.media.orientation import orientation, upright_size
from features.media.probe import MediaFacts, PictureFacts, probe_file
from features.media.reader import Reader
from features.media.sound import SoundTrack

# without full chroma and accurate rounding swscale is up to 2 of 255 too dark, and differs between machines
_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
BROKE_OFF_S = 0.5  # pictures that end this much before their packets do were not all decoded


class PyavPictures(Pictures):
    """A video track decoded by PyAV; a frame asked for twice at one size is converted once."""

    def __init__(
        self, path: Path, facts: MediaFacts, picture: PictureFacts, needs: Sequence[FrameNeed], note: str = ""
    ) -> None:
        """``picture``: of these facts; ``note``: why no other reader serves. Raises MediaError as Decoder does."""
        self._origin, self._planned_until = facts.origin_s, -math.inf
        self._scalers: dict[int, VideoReformatter] = {}
        self._displayed: set[float] = set()
        self._facts, self._needs, self._note = picture, tuple(needs), note
        self._decoder: Decoder[VideoFrame] = Decoder(path, "video", facts.timeline, facts.limits)
        decoded = self._decoder.frames(self._needless)
        timed = ((None if t is None else t - facts.origin_s, frame) for t, frame in decoded)
        self._picker = FramePicker(steady(timed, picture.step))
        self._converted: tuple[VideoFrame | None, dict[int, NDArray[np.uint8]]] = (None, {})

    @property
    def served_by(self) -> str:
        return PyavReader.name

    @property
    def note(self) -> str:
        return self._note

    @property
    def end_s(self) -> float:
        last = self._picker.last_time
        if last is not None and last < self._facts.times[-1] - BROKE_OFF_S:
            return last + self._facts.step
        return self._facts.end_s

    def take_bad_packets(self) -> int:
        return self._decoder.take_bad_packets()

    def read(self, span: Span) -> Mapping[FrameNeed, Frames]:
        wanted = wanted_times(self._needs, span, self.end_s)
        self._plan(span, wanted)
        pixels = {need: self._room(need, len(times)) for need, times in wanted.items()}
        filled = dict.fromkeys(wanted, 0)
        order = sorted((time, place) for place, need in enumerate(wanted) for time in wanted[need].tolist())
        by_place = list(wanted)
        for time, place in order:
            need = by_place[place]
            picture = self._picker.at(time)
            if picture is None or time >= self.end_s:
                break
            pixels[need][filled[need]] = self._convert(picture, need.size)
            filled[need] += 1
        self._picker.at(span.end_s - self._facts.step)  # so that its bad packets count here, not next time
        return {
            need: Frames(pixels=pixels[need][:count], times=wanted[need][:count])
            for need, count in filled.items()
            if count
        }

    def _plan(self, span: Span, wanted: Mapping[FrameNeed, NDArray[np.float64]]) -> None:
        """Note at which times the pictures stand that are displayed at wanted times, so that others can be spared.

        Where the file does not tell the times for certain, none is spared.
        """
        if not self._facts.spaced or self._facts.corrupt:
            return
        times = self._facts.times
        picked = [times[on_display(times, want)] for want in wanted.values()]
        self._displayed = {float(times[-1])}.union(*(part.tolist() for part in picked))
        self._planned_until = span.end_s

    def _needless(self, time: float | None) -> bool:
        if time is None or self._decoder.bad_packets:  # on display is then what is left of the picture before
            return False
        return time - self._origin < self._planned_until and time - self._origin not in self._displayed

    def _room(self, need: FrameNeed, count: int) -> NDArray[np.uint8]:
        return np.empty((count, *shape_of(self._facts, need.size), 3), dtype=np.uint8)

    def _convert(self, picture: VideoFrame, size: int) -> NDArray[np.uint8]:
        if self._converted[0] is not picture:
            self._converted = (picture, {})
        done = self._converted[1]
        if size not in done:
            scaler = self._scalers.setdefault(size, VideoReformatter())
            done[size] = upright(picture, self._facts, size, scaler)
        return done[size]


def shape_of(facts: PictureFacts, size: int) -> tuple[int, int]:
    """Height and width of a track's pictures, upright and scaled to a short side of ``size``."""
    return upright_size(facts.width, facts.height, facts.aspect, facts.orientation.transposed, size)


def upright(picture: VideoFrame, facts: PictureFacts, size: int, scaler: VideoReformatter) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of one frame, scaled by swscale and then turned upright; a scaler serves one size."""
    height, width = shape_of(facts, size)
    stored = orientation(picture)
    if stored.transposed:
        height, width = width, height
    small = scaler.reformat(picture, width=width, height=height, format="rgb24", interpolation=_SCALING, threads=1)
    return stored.upright(small.to_ndarray().astype(np.uint8, copy=False))


OpenPictures = Callable[[Path, MediaFacts, PictureFacts, Sequence[FrameNeed]], Pictures]


def clips_of(
    path: Path, video: str, needs: Sequence[Need], cutting: Cutting, limits: Limits, open_pictures: OpenPictures
) -> Iterator[Clip]:
    """As `Reader.read`, with pictures from anywhere; the sound always comes through PyAV."""
    facts = probe_file(path, limits)
    frame_needs, sound_needs = split(needs)
    pictures = sound = None
    if facts.picture is not None and frame_needs:
        pictures = open_pictures(path, facts, facts.picture, frame_needs)
    if facts.sound is not None and sound_needs:
        sound = SoundTrack(path, sound_needs, facts.origin_s, facts.timeline)
    yield from assemble(facts, cutting.spans(video, facts.held), pictures, sound, PyavReader.name)


class PyavReader(Reader):
    """Reads every file ffmpeg reads."""

    name: ClassVar[str] = "pyav"

    def read(
        self, path: Path, video: str, needs: Sequence[Need], cutting: Cutting, limits: Limits = DEFAULT_LIMITS
    ) -> Iterator[Clip]:
        yield from clips_of(path, video, needs, cutting, limits, PyavPictures)
