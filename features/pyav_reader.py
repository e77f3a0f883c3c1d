"""PyavReader, the default: one forward pass over the pictures, frames picked by time, on PyAV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from features.assembly import assemble, split
from features.clip import Clip, FrameNeed, Frames, Need, Span
from features.cutting import Cutting
from features.frame_picker import FramePicker, steady
from features.frame_size import upright_size
from features.media_file import Decoder
from features.pictures import Pictures, wanted_times
from features.probe import PictureFacts, probe
from features.reader import Reader
from features.sound_track import SoundTrack

# without full chroma and accurate rounding swscale is up to 2 of 255 too dark, and differs between machines
_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
BROKE_OFF_S = 0.5  # pictures that end this much before their packets do were not all decoded


class PyavPictures(Pictures):
    """A video track decoded by PyAV; a frame asked for twice at one size is converted once."""

    def __init__(self, path: Path, facts: PictureFacts, needs: Sequence[FrameNeed], origin_s: float) -> None:
        """``origin_s``: time 0 on the file's own clock. Raises MediaError as Decoder does."""
        self._facts, self._needs = facts, tuple(needs)
        self._decoder: Decoder[VideoFrame] = Decoder(path, "video")
        timed = ((None if t is None else t - origin_s, frame) for t, frame in self._decoder.frames())
        self._picker = FramePicker(steady(timed, facts.step))
        self._converted: tuple[VideoFrame | None, dict[int, NDArray[np.uint8]]] = (None, {})
        self._taken = 0

    @property
    def served_by(self) -> str:
        """Always "pyav"."""
        return PyavReader.name

    @property
    def end_s(self) -> float:
        """Until when pictures are on display, as far as is known by now."""
        last = self._picker.last_time
        if last is not None and last < self._facts.times[-1] - BROKE_OFF_S:
            return last + self._facts.step
        return self._facts.end_s

    def take_bad_packets(self) -> int:
        """How many packets could not be decoded since the last call."""
        count, self._taken = self._decoder.bad_packets - self._taken, self._decoder.bad_packets
        return count

    def read(self, span: Span) -> Mapping[FrameNeed, Frames]:
        """Frames of one span, decoded on the way."""
        wanted = wanted_times(self._needs, span, self.end_s)
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

    def _room(self, need: FrameNeed, count: int) -> NDArray[np.uint8]:
        facts = self._facts
        height, width = upright_size(facts.width, facts.height, facts.aspect, facts.rotation, need.size)
        return np.empty((count, height, width, 3), dtype=np.uint8)

    def _convert(self, picture: VideoFrame, size: int) -> NDArray[np.uint8]:
        if self._converted[0] is not picture:
            self._converted = (picture, {})
        done = self._converted[1]
        if size not in done:
            done[size] = upright(picture, self._facts, size)
        return done[size]


def upright(picture: VideoFrame, facts: PictureFacts, size: int) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of one frame, scaled by swscale and then turned upright."""
    turns = round(picture.rotation / 90) % 4
    height, width = upright_size(facts.width, facts.height, facts.aspect, facts.rotation, size)
    small = picture.reformat(
        width=height if turns % 2 else width,
        height=width if turns % 2 else height,
        format="rgb24",
        interpolation=_SCALING,
        threads=1,
    )
    return np.rot90(small.to_ndarray(), turns).astype(np.uint8, copy=False)


class PyavReader(Reader):
    """Reads every file ffmpeg reads."""

    name: ClassVar[str] = "pyav"

    def read(self, path: Path, video: str, needs: Sequence[Need], cutting: Cutting) -> Iterator[Clip]:
        """Clips one at a time, as soon as they are decoded; raises MediaError before the first."""
        facts = probe(path)
        frame_needs, sound_needs = split(needs)
        pictures = sound = None
        if facts.picture is not None and frame_needs:
            pictures = PyavPictures(path, facts.picture, frame_needs, facts.origin_s)
        if facts.sound is not None and sound_needs:
            sound = SoundTrack(path, sound_needs, facts.origin_s)
        yield from assemble(facts, cutting.spans(video, facts.held), pictures, sound, self.name)
