"""Animated images: clips with the durations of their files, laid over one another as a browser does."""

import numpy as np
import pytest
from PIL import Image

from features.errors import MediaError
from features.media.clip import DEGRADED, NO_SOUND, FrameNeed, SoundNeed, SubtitleNeed
from features.media.library import Limits
from features.media.reader import read_clips

NEED = FrameNeed(fps=4, size=32)
RED, BLUE, GREEN = (255, 0, 0, 255), (0, 0, 255, 255), (0, 255, 0, 255)
KINDS = ("gif", "webp", "png")


def save(path, colours, duration, **how):
    """One picture a colour; equal neighbours may become one."""
    first, *others = [
        colour if isinstance(colour, Image.Image) else Image.new("RGBA", (48, 32), colour) for colour in colours
    ]
    how |= {"lossless": True} if path.suffix.lower() == ".webp" else {}
    first.save(path, save_all=True, append_images=others, duration=duration, **how)
    return path


def read(path, limits=Limits(), clip_seconds=None):  # noqa: B008
    needs = (NEED, SoundNeed(rate=16000), SubtitleNeed())
    return list(read_clips(path, "v/" + path.name, needs, limits=limits, clip_seconds=clip_seconds))


@pytest.mark.parametrize("kind", KINDS)
def test_each_picture_lasts_as_long_as_the_file_says_once(tmp_path, kind):
    path = save(tmp_path / f"a.{kind.upper()}", [RED, BLUE, GREEN], [500, 2000, 250], loop=0, format=kind)
    (clip,) = read(path)
    assert (clip.span.clip_id, clip.span.end_s, clip.verdict, clip.note) == ("v/" + path.name, 2.75, NO_SOUND, "")
    frames = clip.frames[NEED]
    shown = [RED] * 2 + [BLUE] * 8 + [GREEN]
    np.testing.assert_array_equal(
        frames.pixels, np.broadcast_to(np.array(shown)[:, None, None, :3], (11, 32, 48, 3))
    )
    assert (clip.reader, clip.source.video_codec, clip.source.width, clip.source.height) == ("image", kind, 48, 32)
    with pytest.raises(MediaError, match="too long: more than 2 s"):
        read(path, Limits(max_seconds=2))
    with pytest.raises(MediaError, match="48 x 32 pixels"):
        read(path, Limits(max_megapixels=0.001))


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_one_is_cut_and_what_is_transparent_is_white(tmp_path, kind):
    hole, other = Image.new("RGBA", (48, 32), BLUE), Image.new("RGBA", (48, 32), RED)
    hole.paste((0, 0, 0, 0), (0, 0, 24, 32))
    other.paste((0, 0, 0, 0), (24, 0, 48, 32))
    path = save(tmp_path / f"a.{kind}", [hole, other] * 3, 10_000, disposal=2 if kind == "gif" else 1)
    clips = read(path)
    assert [clip.span.start_s for clip in clips] == [0, 10, 20, 30, 40, 50]
    ends = [
        (clip.frames[NEED].pixels[-1, 16, 8].tolist(), clip.frames[NEED].pixels[0, 16, 40].tolist())
        for clip in clips
    ]
    assert ends == [([255, 255, 255], [0, 0, 255]), ([255, 0, 0], [255, 255, 255])] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_one_picture_is_a_still_and_no_time_is_100_ms(tmp_path, kind):
    (clip,) = read(save(tmp_path / f"a.{kind}", [RED], 500))
    assert (clip.span.end_s, clip.source.video_codec, clip.frames[NEED].pixels.shape) == (0, kind, (1, 32, 48, 3))
    (clip,) = read(save(tmp_path / f"b.{kind}", [RED, BLUE, GREEN], 0))
    assert clip.span.end_s == pytest.approx(0.3)


def test_what_is_cut_short_is_kept_as_far_as_it_goes(tmp_path, says):
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)) for _ in range(4)]
    notes = []
    for kind in ("gif", "png"):
        path = save(tmp_path / f"a.{kind}", noise, 1000)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 5 // 8])
        (clip,) = read(path)
        assert (clip.verdict, clip.span.end_s >= 2) == (DEGRADED, True)
        notes.append(f"{kind}: {clip.note}")
    says("\n".join(notes))
