"""Laws that every built-in extractor obeys."""

import cv2
import numpy as np
import pytest
import skimage.data

from features.extractors.registry import EXTRACTORS, make_extractor
from features.media.clip import Clip, FrameNeed, Frames, Span


def clip_for(extractor, seed: int) -> Clip:
    """Two seconds of a portrait that drifts, with a buzz: it has every modality."""
    portrait = cv2.resize(skimage.data.astronaut(), (240, 240), interpolation=cv2.INTER_AREA)
    portrait = np.pad(portrait, ((0, 0), (20, 60), (0, 0)), mode="edge")
    frames, sound = {}, {}
    for need in extractor.needs:
        if isinstance(need, FrameNeed):
            times = need.times(0.0, 2.0)
            images = [np.roll(portrait, round(time * 8) + seed, axis=1) for time in times]
            size = (round(320 * need.size / 240), need.size)
            pixels = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images])
            frames[need] = Frames(pixels=pixels, times=times)
        else:
            time = np.arange(2 * need.rate) / need.rate
            sound[need] = (0.3 * np.sin(2 * np.pi * (300 + 100 * seed) * time)).astype(np.float32)
    span = Span(clip_id=str(seed), video="c.mp4", start_s=0.0, end_s=2.0)
    return Clip(span=span, reader="pyav", frames=frames, sound=sound)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_streams_keep_the_contract(name):
    extractor = make_extractor(name)
    assert extractor.modality == name
    first, second = clip_for(extractor, 0), clip_for(extractor, 1)
    nothing = Clip(span=first.span, reader="pyav")
    streams = extractor.extract([first, nothing, second])
    assert streams[1] is None
    again = [make_extractor(name).extract([clip])[0] for clip in (first, second)]
    for stream, alone in zip(streams[::2], again):
        rows = stream.rows
        np.testing.assert_array_equal(rows, alone.rows)  # batch = one by one, and the same every time
        assert (rows.dtype, rows.shape) == (np.float32, (len(rows), extractor.dim))
        assert np.isfinite(rows).all()
        assert 0.1 < np.abs(rows).max() < 8
        np.testing.assert_allclose(rows.astype(np.float16), rows, atol=4e-3)
        assert stream.times.shape == (len(rows),)
        assert (np.diff(stream.times) >= 0).all()
        assert 0 <= stream.times[0] <= stream.times[-1] <= 2
    assert extractor.extract([]) == []
    assert extractor.fingerprint.dim == extractor.dim
    assert len(extractor.fingerprint.digest) == 12
