"""Moments written as MP4 show and sound like the moment asked for, whatever file they come from."""

import gc

import av
import numpy as np
import pytest

from features.errors import MediaError
from features.media import FrameNeed, container, probe_file, read_clips
from features.playback import write_moment
from features.playback.moment import LONGEST_S
from tests.features.playback import clock_films as films
from tests.features.playback.clock_films import H264, HEVC

MPEG2 = "-c:v mpeg2video -q:v 3 -bf 2 -g 25"
VP9 = "-c:v libvpx-vp9 -b:v 200k -g 50 -deadline realtime -cpu-used 8"
AV1 = "-c:v libsvtav1 -preset 12 -g 50 -svtav1-params lp=1"
AAC, OPUS, MP2, PCM, WMA = "-c:a aac", "-c:a libopus", "-c:a mp2", "-c:a pcm_s16le", "-c:a wmav2"
CC, CV, VV = ("copied", "copied"), ("copied", "converted"), ("converted", "converted")
VC = CV[::-1]
# name -> pictures, sound, and how both come into the moment
FILES = {
    "h264.mp4": (H264, AAC, CC),
    "h264.mkv": (H264, AAC, CC),
    "ac3.mkv": (H264, "-c:a ac3", CV),
    "h264.mov": (H264, PCM, CV),
    "h264.ts": (H264, AAC, CC),
    "h264.flv": (H264, AAC, CC),
    "h264.avi": (H264.replace("bframes=2", "bframes=0"), "-c:a libmp3lame", VC),
    "open.mkv": (H264.replace("keyint", "open-gop=1:keyint"), AAC, VC),
    "hevc.mp4": (HEVC, AAC, VC),
    "hevc.mkv": (HEVC, OPUS, VV),
    "hevc.ts": (HEVC, "-c:a ac3", VV),
    "vp9.webm": (VP9, OPUS, CV),
    "vp9.mkv": (VP9, AAC, CC),
    "vp8.webm": (VP9.replace("libvpx-vp9", "libvpx"), "-c:a libvorbis", VV),
    "av1.mp4": (AV1, AAC, CC),
    "av1.mkv": (AV1, OPUS, CV),
    "mpeg2.ts": (MPEG2, MP2, VV),
    "mpeg2.mpg": (MPEG2, MP2, VV),
    "mpeg2.mkv": (MPEG2, AAC, VC),
    "xvid.avi": ("-c:v mpeg4 -vtag xvid -q:v 3 -bf 2 -g 50", "-c:a libmp3lame", VC),
    "prores.mov": ("-c:v prores_ks", PCM, VV),
    "mjpeg.avi": ("-c:v mjpeg -q:v 3", PCM, VV),
    "wmv.wmv": ("-c:v wmv2 -q:v 3 -g 50", WMA, VV),
}
CLOSE_S, TOGETHER_S = 0.1, 0.03


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """film(name, pictures, sound, ...): a film, written once."""
    made = {}

    def write(name, *words, **more):
        key = name, words, *more.items()
        if key not in made:
            made[key] = films.write(tmp_path_factory.mktemp("film") / name, *words, **more)
        return made[key]

    return write


@pytest.fixture
def moment(tmp_path):
    """moment(path, start, end): what was written, and the file."""

    def write(path, start, end):
        out = tmp_path / "moment.mp4"
        return write_moment(path, start, end, out), out

    return write


def check(out, start, end, pictures=True, sound=True, shift=0.0):
    """Pictures tell the right second all the time, and tones are where they belong."""
    if pictures:
        for time in np.linspace(start, end - 0.05, 7):
            assert films.at(out, time - start) == pytest.approx(time + shift, abs=CLOSE_S)
    if sound:
        due = np.arange(np.ceil(start), end - 0.1) - start
        tones = films.heard(out)
        assert [np.abs(tones - time).min() for time in due] == pytest.approx([0] * len(due), abs=TOGETHER_S)


@pytest.mark.parametrize("name", FILES)
def test_shows_and_sounds_like_the_moment(name, film, moment):
    pictures, sound, how = FILES[name]
    path = film(name, pictures, sound, pixels="yuv422p10le" if "prores" in name else "yuv420p")
    made, out = moment(path, 4.2, 7.4)
    assert (made.video, made.audio) == how
    check(out, 4.2, 7.4)
    assert out.read_bytes().index(b"moov") < 64  # the header comes first
    with av.open(str(out)) as result:
        assert result.duration / av.time_base == pytest.approx(3.2, abs=0.25)
        assert result.streams.video[0].codec_context.pix_fmt == "yuv420p"


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "h264.ts", "hevc.mp4", "hevc.ts", "mpeg2.mpg"])
@pytest.mark.parametrize("span", [(0.0, 2.0), (8.5, 10.0)])
def test_at_both_ends(name, span, film, moment):
    _, out = moment(film(name, *FILES[name][:2]), *span)
    check(out, *span)


@pytest.mark.parametrize("name", ["hevc.mp4", "hevc.mkv", "hevc.ts", "h264.mkv", "xvid.avi", "wmv.wmv"])
def test_does_not_read_from_the_start(name, film, moment, monkeypatch):
    read, packets = [], container.packets

    def counted(*streams):
        for packet in packets(*streams):
            read.append(packet)
            yield packet

    monkeypatch.setattr(container, "packets", counted)
    moment(film(name, *FILES[name][:2]), 8.5, 9.5)
    count = {kind: sum(packet.stream.type == kind for packet in read) for kind in ("video", "audio")}
    assert count["video"] <= 150  # of 250: the last group of 50, and searching for its key packet
    assert count["audio"] < 300  # of 430 and more, of 2 s at most


@pytest.mark.parametrize("name", ["late.mkv", "late.ts", "late.mp4"])
@pytest.mark.parametrize("pictures", [H264, HEVC])
def test_of_a_file_whose_clock_starts_late(name, pictures, film, moment):
    _, out = moment(film(name, pictures, AAC, after="-output_ts_offset 1000"), 4.2, 7.4)
    check(out, 4.2, 7.4)


@pytest.mark.parametrize("name", ["mute.mp4", "mute.avi"])
def test_without_sound(name, film, moment):
    made, out = moment(film(name, H264), 3.0, 5.0)
    assert made.audio == "none"
    check(out, 3.0, 5.0, sound=False)
    with av.open(str(out)) as result:
        assert not result.streams.audio


@pytest.mark.parametrize("sound", [AAC, PCM])
@pytest.mark.parametrize("late", [1.25, 3.25])
def test_sound_that_begins_late_is_preceded_by_silence(sound, late, film, moment):
    made, out = moment(film("late_sound.mkv", HEVC, sound, late=late), late - 0.75, late + 3)
    assert made.audio == "converted"
    check(out, late - 0.75, late + 3, sound=False)
    assert films.heard(out) == pytest.approx([0.75, 1.75, 2.75], abs=TOGETHER_S)


def test_a_gap_in_the_sound_becomes_silence(media, moment, tmp_path):
    pieces = [(0.0, media.tone(1.4)), (2.2, media.tone(1.0))]
    path = media.write(tmp_path / "gap.mkv", [media.plain(0)] * 40, sounds=pieces)
    made, out = moment(path, 1.0, 3.0)
    assert made.audio == "converted"
    assert films.heard(out) == pytest.approx([0.0, 1.2], abs=TOGETHER_S)


@pytest.mark.parametrize(("name", "sound", "how"), [("a.m4a", AAC, "copied"), ("a.wav", PCM, "converted")])
def test_sound_alone(name, sound, how, film, moment):
    made, out = moment(film(name, "", sound), 4.2, 7.4)
    assert (made.video, made.audio) == ("none", how)
    check(out, 4.2, 7.4, pictures=False)
    with pytest.raises(MediaError, match="neither"):
        moment(film(name, "", sound), 20.0, 21.0)


@pytest.mark.parametrize(("pictures", "how"), [(H264, "copied"), (HEVC, "converted")])
def test_a_long_group_of_pictures(pictures, how, film, moment):
    long = pictures.replace("keyint=50", "keyint=250:scenecut=0")
    made, out = moment(film("long.mkv", long), 9.0, 10.0)
    assert made.video == how
    check(out, 9.0, 10.0, sound=False)


def test_a_key_picture_too_long_ago(film, moment):
    endless = H264.replace("keyint=50", "keyint=1000:min-keyint=1000:scenecut=0")
    made, out = moment(film("endless.mkv", endless, seconds=15, rate=15), 13.0, 14.0)
    assert made.video == "converted"
    assert films.at(out, 0.5) * films.FPS == pytest.approx(13.5 * 15, abs=2)


@pytest.mark.parametrize("name", ["h264.ts", "mpeg2.ts", "mpeg2.mpg"])
def test_of_files_that_were_joined(name, film, moment, tmp_path):
    part = film(name, *FILES[name][:2])
    path = tmp_path / name
    path.write_bytes(2 * part.read_bytes())
    for start in (2.2, 13.2):
        _, out = moment(path, start, start + 2)
        shift = 0.0 if start < 10 else -probe_file(part).picture.end_s
        check(out, start, start + 2, sound=False, shift=shift)


@pytest.mark.parametrize("name", ["h264.mkv", "hevc.ts", "mpeg2.mpg", "xvid.avi"])
def test_of_a_file_that_was_cut_off(name, film, moment, tmp_path):
    data = film(name, *FILES[name][:2]).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: len(data) * 6 // 10])
    _, out = moment(path, 2.2, 4.0)
    check(out, 2.2, 4.0)


def test_at_most_thirty_seconds(film, moment):
    path = film("slow.mkv", "-c:v mpeg4 -q:v 3", PCM, seconds=40, rate=5)
    _, out = moment(path, 2.0, 39.0)
    with av.open(str(out)) as result:
        assert result.duration / av.time_base == pytest.approx(LONGEST_S, abs=0.1)


def test_the_last_picture_stays_while_there_is_sound(film, moment, ffmpeg, tmp_path):
    pictures, sound = film("short.mkv", HEVC, seconds=2), film("long.wav", "", PCM)
    path = tmp_path / "both.mkv"
    ffmpeg.run("-i", pictures, "-i", sound, "-map", "0:v", "-map", "1:a", "-c", "copy", path)
    made, out = moment(path, 4.0, 6.0)
    assert made.video == made.audio == "converted"
    assert {round(time % 1, 1) for time in films.shown(out)[0]} == {0.0}  # repeated each second
    assert films.at(out, 1.9) == pytest.approx(1.96)


def test_many_pictures_a_second_become_thirty(film, moment):
    _, out = moment(film("fast.mkv", HEVC, rate=60, seconds=4), 1.0, 3.0)
    times, _ = films.shown(out)
    assert len(times) == pytest.approx(60, abs=1)


def test_pictures_are_freed_at_once(film, moment):
    path = film("h264.avi", *FILES["h264.avi"][:2])
    gc.collect()
    gc.disable()
    try:
        moment(path, 1.0, 9.0)
        assert sum(type(thing) is av.VideoFrame for thing in gc.get_objects()) < 10
    finally:
        gc.enable()


HDR = HEVC + ":colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
LOOKS = {
    "deep.mkv": (HEVC, {"pixels": "yuv420p10le"}),
    "hdr.mkv": (HDR, {"pixels": "yuv420p10le"}),
    "interlaced.ts": (MPEG2 + " -flags +ildct+ilme -vf setfield=tff", {}),
    "interlaced.mp4": (H264 + ":tff=1 -flags +ildct+ilme", {}),
    "wide.mkv": (HEVC + " -vf setsar=4/3", {}),
    "odd.mp4": (H264 + " -vf crop=97:61", {"pixels": "yuv444p"}),
    "rotated.mov": ("-c:v prores_ks -display_rotation 90", {"pixels": "yuv422p10le"}),
}


@pytest.mark.parametrize("name", LOOKS)
def test_looks_as_extractors_see_it(name, film, moment):
    pictures, more = LOOKS[name]
    path = film(name, pictures.replace(" -display_rotation 90", ""), seconds=3, **more)
    if "rotated" in name:
        path = films.turned(path, films.TURNED["rotate"])
    same(path, moment(path, 1.0, 2.0)[1])


@pytest.mark.parametrize("turn", films.TURNED)
@pytest.mark.parametrize("codec", [H264, HEVC])
def test_turned_pictures(turn, codec, film, moment):
    path = films.turned(film("turned.mp4", codec, seconds=3), films.TURNED[turn])
    made, out = moment(path, 1.0, 2.0)
    assert made.video == ("copied" if (turn, codec) == ("rotate", H264) else "converted")
    same(path, out)


def same(path, out, start=1):
    """The reader of extractors sees the same in the moment as in the file, at 5 pictures of it."""
    need = FrameNeed(fps=10, size=64)
    before, after = (next(iter(read_clips(file, "v", (need,)))).frames[need] for file in (path, out))
    old, new = before.pixels[10 * start : 10 * start + 9 : 2], after.pixels[:9:2]
    assert old.shape[1] == new.shape[1]
    assert old.shape[2] == pytest.approx(new.shape[2], abs=1)  # sizes are even
    old, new = (pixels[:, :, : min(old.shape[2], new.shape[2])] for pixels in (old, new))
    assert np.abs(old.astype(int) - new).mean(axis=(1, 2, 3)).max() < 6
    made = probe_file(out).picture
    assert [made.interlaced, made.hdr, made.orientation.mirrored] == [False] * 3


def test_nothing_is_left_of_what_fails(film, tmp_path):
    out = tmp_path / "out.mp4"
    path = film("h264.mp4", *FILES["h264.mp4"][:2])
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(path.read_bytes()[:2000])
    for file, start, end in [(path, 60.0, 62.0), (path, 5.0, 5.0), (path, -1.0, 2.0), (broken, 0.0, 1.0)]:
        with pytest.raises(MediaError):
            write_moment(file, start, end, out)
        assert not out.exists()
