"""decord: the same frames as PyAV inside its guard, PyAV outside."""

from fractions import Fraction

import av
import numpy as np
import pytest

from features.clip import FrameNeed, SoundNeed
from features.cutting import Cutting
from features.errors import InputError
from features.reader import open_reader

decord = pytest.importorskip("decord")
NEEDS = (FrameNeed(fps=10, size=32), FrameNeed(fps=4, size=24, window=4), SoundNeed(rate=16000))


def both(path, clip_seconds=None):
    cutting = Cutting(clip_seconds=clip_seconds)
    return [list(open_reader(name, path).read(path, "v", NEEDS, cutting)) for name in ("pyav", "decord")]


def pattern(media, number):
    frame = media.plain(number, (128, 96))
    frame[:48, :64] = (media.grey(number), 40, 90)
    return frame


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        ("mp4", "libx264", {}),
        ("mp4", "libx264", {"preset": "fast", "bf": "2"}),
        ("mkv", "libx264", {}),
        ("webm", "libvpx-vp9", {}),
        ("mp4", "mpeg4", {}),
    ],
)
def test_agrees_with_pyav(tmp_path, media, suffix, codec, options):
    frames = [pattern(media, n % 18) for n in range(40)]
    path = media.write(
        tmp_path / f"a.{suffix}",
        frames,
        codec=codec,
        options=options,
        sounds=[(0.0, media.tone(4))] if suffix != "webm" else [],
    )
    for ours, theirs in zip(*both(path, 2.0), strict=True):
        assert (ours.reader, theirs.reader) == ("pyav", "decord")
        assert (ours.span, ours.verdict, ours.note) == (theirs.span, theirs.verdict, theirs.note)
        for need, frames in ours.frames.items():
            np.testing.assert_array_equal(frames.times, theirs.frames[need].times)
            apart = np.abs(frames.pixels.astype(int) - theirs.frames[need].pixels).mean(axis=(1, 2, 3))
            assert apart.max() < 4
        for need, wave in ours.sound.items():
            np.testing.assert_array_equal(wave, theirs.sound[need])


def test_variable_rate(tmp_path, media):
    times = [0.0, 0.1, 0.5, 0.55, 1.3, 2.0]
    path = media.write(tmp_path / "a.mp4", [media.plain(n) for n in range(6)], times)
    ours, theirs = (clips[0].frames[NEEDS[0]].pixels for clips in both(path))
    assert media.number_of(ours) == media.number_of(theirs)


def trimmed(path, media):
    """An mp4 whose edit list starts in the middle: packets before time 0."""
    whole = media.write(path.with_name("whole.mp4"), [media.plain(n % 18) for n in range(40)], options={"g": "20"})
    with av.open(str(whole)) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                shift = round(0.95 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                output.mux(packet)
    return path


def test_a_trimmed_mp4_goes_to_pyav(tmp_path, media):
    ours, theirs = both(trimmed(tmp_path / "a.mp4", media))
    assert theirs[0].reader == "pyav"
    numbers = media.number_of(ours[0].frames[NEEDS[0]].pixels)
    assert numbers[:3] == [10, 11, 12]
    assert media.number_of(theirs[0].frames[NEEDS[0]].pixels) == numbers


@pytest.mark.parametrize(
    ("suffix", "how"),
    [
        ("mp4", {"codec": "libx265"}),
        ("mp4", {"rotation": 90}),
        ("mp4", {"aspect": Fraction(4, 3)}),
        ("ts", {}),
        ("mp4", {"codec": "libsvtav1"}),
    ],
)
def test_what_decord_reads_wrongly_goes_to_pyav(tmp_path, media, suffix, how):
    path = media.write(tmp_path / f"a.{suffix}", [pattern(media, n) for n in range(6)], **how)
    ours, theirs = both(path)
    assert theirs[0].reader == "pyav"
    np.testing.assert_array_equal(ours[0].frames[NEEDS[0]].pixels, theirs[0].frames[NEEDS[0]].pixels)


def test_pyav_goes_on_where_decord_gives_up(tmp_path, media, monkeypatch):
    path = media.write(tmp_path / "a.mp4", [media.plain(n % 18) for n in range(40)])
    clips = open_reader("decord", path).read(path, "v", NEEDS, Cutting(clip_seconds=2))
    assert next(clips).reader == "decord"

    def fail(*_):
        raise decord.DECORDError("no more")

    monkeypatch.setattr(decord.VideoReader, "get_batch", fail)
    (last,) = clips
    assert last.reader == "pyav"
    assert media.number_of(last.frames[NEEDS[0]].pixels) == [n % 18 for n in range(20, 40)]


def test_not_installed(tmp_path, monkeypatch):
    def fail(name):
        raise ImportError(name)

    monkeypatch.setattr("features.decord_reader.import_module", fail)
    with pytest.raises(InputError, match="decord is not installed"):
        open_reader("decord", tmp_path / "a.mp4")
    with pytest.raises(InputError, match="no reader is called 'fast'; there are pyav, decord"):
        open_reader("fast", tmp_path / "a.mp4")
