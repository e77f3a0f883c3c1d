"""Clips made of numbers, for extractors."""

import numpy as np

from features.media.clip import Clip, Frames, Span


def clip_of(extractor, *images, sound=None, start=0.0, fps=1.0) -> Clip:
    """A clip of images, so many a second, or of sound, or of nothing; it meets the extractor's one need."""
    (need,) = extractor.needs
    seconds = len(images) / fps if sound is None else len(sound) / need.rate
    frames, heard = {}, {} if sound is None else {need: sound}
    if images:
        frames[need] = Frames(pixels=np.stack(images), times=start + np.arange(len(images)) / fps)
    span = Span(clip_id="c", video="c.mp4", start_s=start, end_s=start + seconds)
    return Clip(span=span, reader="test", frames=frames, sound=heard)
