"""An animated gif, png or webp read as a video: one picture after the other, each as long as the file says.

Pillow lays every picture over the ones before it, as its file says; what is transparent becomes white. A picture
of 10 ms or less is shown for 100 ms, as browsers do, and how often the whole is repeated does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from PIL.ImageFile import ImageFile

from features.media.container import check_file
from features.media.image_reader import BROKEN, GIF_END, on_white, open_image
from features.media.library import DEFAULT_LIMITS, Limits
from features.media.probe import MediaFacts, PictureFacts
from features.media.pyav_reader import PyavPictures

TOO_SHORT_MS, INSTEAD_MS = 10, 100


class Animation:
    """The pictures of a file as `Decoder` gives those of a video: in one forward pass, one in memory at a time."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        image: Any
        self.kind, image = open_image(data, limits)
        self.moves, self.bad_packets = False, 0
        with suppress(*BROKEN):
            self.moves = bool(getattr(image, "is_animated", False))
        if self.kind == "webp" and self.moves:  # what no picture covers is transparent, though no picture is
            image.rawmode = image._mode = "RGBA"
        self._whole = self.kind != "gif" or GIF_END in data[-16:]
        self._image, self.size = image, image.size

    def pictures(self) -> Iterator[tuple[float, float, ImageFile]]:
        """From which second each is shown, for how many, and the picture, which the next one overwrites."""
        image, time = self._image, 0.0
        number = int(getattr(image, "default_image", False))  # of a png: for programs that show no animation
        while True:
            try:
                image.seek(number)
                image.load()
            except BROKEN as error:
                self.bad_packets += not (self._whole and isinstance(error, EOFError))
                return
            lasts = float(image.info.get("duration") or 0)
            seconds = (lasts if lasts > TOO_SHORT_MS else INSTEAD_MS) / 1000
            yield time, seconds, image
            time, number = time + seconds, number + 1

    def frames(self, needless: Callable[[float | None], bool]) -> Iterator[tuple[float | None, VideoFrame]]:
        """Each picture that is not needless, with its time."""
        for time, _, image in self.pictures():
            if not needless(time):
                yield time, VideoFrame.from_ndarray(on_white(image), "rgb24")


def animation_facts(path: Path, limits: Limits = DEFAULT_LIMITS) -> MediaFacts | None:
    """What the file holds; None where it is a still. Raises MediaError."""
    check_file(path)
    animation = Animation(path.read_bytes(), limits)
    times, end = [], 0.0
    for time, seconds, _ in animation.pictures() if animation.moves else ():
        times.append(time)
        end = time + seconds
        limits.check_seconds(end)
    if len(times) < 2:
        return None
    (width, height), step = animation.size, end / len(times)
    shown: Any = {"width": width, "height": height, "rate": 1 / step, "step": step}
    picture = PictureFacts(codec=animation.kind, pixel_format="rgb24", **shown, times=np.array(times), end_s=end)
    return MediaFacts(container=animation.kind, picture=picture, extent_s=end, limits=limits)


class AnimatedPictures(PyavPictures):
    """The pictures of an animation, picked and scaled like those of a video."""

    served_by = "image"

    def _open(self, path: Path, facts: MediaFacts) -> Animation:
        return Animation(path.read_bytes(), facts.limits)
