"""What a file is called and refers to means nothing to ffmpeg; the tracks that are read belong together."""

import os
import shutil
import socket
import struct
import sys

import numpy as np
import pytest

from features.errors import MediaError
from features.media.clip import NO_SOUND, OK, FrameNeed, SoundNeed
from features.media.frames import Orientation
from features.media.probe import probe_file
from features.media.reader import read_clips
from tests.features.ffmpeg_program import FILES
from tests.scripts.test_canaries import Canaries

NEED, SOUND = FrameNeed(fps=2, size=32), SoundNeed(rate=16000)
SOURCES = "-f lavfi -i testsrc2=s=96x64:r=10:d=2 -f lavfi -i sine=440:d=2"
NAMES = [
    "12:30 news.mp4",
    "file:a.mp4",
    "http:a.mp4",
    "concat:a.mp4",
    "subfile,,start,0,end,9,,:a.mp4",
    "data:a.mp4",
]
NAMES += [
    "pipe:",
    "-",
    "-i.mp4",
    "a%d.mp4",
    "a%03d.gif",
    "*?[a].mp4",
    "back\\slash.mp4",
    "new\nline.mp4",
    "crypto:a",
]


@pytest.fixture(scope="module")
def movie(tmp_path_factory, ffmpeg):
    path = tmp_path_factory.mktemp("movie") / "a.mp4"
    ffmpeg.run(*SOURCES.split(), "-c:v", "libx264", "-bf", "0", path)
    return ffmpeg.there(path)


@pytest.mark.parametrize("reader", ["pyav", "decord"])
def test_every_name_means_the_file(tmp_path, movie, monkeypatch, reader):
    if reader == "decord":
        pytest.importorskip("decord")
    monkeypatch.chdir(tmp_path)
    expected = None
    for name in NAMES:
        path = type(movie)(name)
        shutil.copy(movie, path)
        (clip,) = read_clips(path, "v", (NEED, SOUND), reader=reader)
        pixels = clip.frames[NEED].pixels
        expected = pixels if expected is None else expected
        assert (clip.verdict, clip.reader) == (OK, reader), name
        np.testing.assert_array_equal(pixels, expected)
        path.unlink()


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n{}#EXTINF:2.0,\n{}\n#EXT-X-ENDLIST\n"
MPD = '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
MPD += 'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4">'
MPD += "<Representation id='1' bandwidth='1'><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>"
CPL = '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"><Id>{}</Id>'
LISTS = {
    "hls": PLAYLIST.format("", "{}"),
    "key": PLAYLIST.format('#EXT-X-KEY:METHOD=AES-128,URI="{}"\n', "{}"),
    "map": PLAYLIST.format('#EXT-X-MAP:URI="{}"\n', "{}"),
    "master": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{}\n",
    "concat": "ffconcat version 1.0\nfile '{}'\nduration 2\n",
    "dash": MPD,
    "imf": CPL + "</CompositionPlaylist>",
    "smil": '<smil><body><video src="{}"/></body></smil>',
    "asx": '<asx version="3.0"><entry><ref href="{}"/></entry></asx>',
    "reference": "[Reference]\nRef1={}\n",
    "rtsp": "RTSPtext\n{}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\n"
    "c=IN IP4 127.0.0.1\nt=0 0\na=control:{}\nm=video 5004 RTP/AVP 33\n",
    "idx": "# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n",
}


def outer(data: bytes, target: str) -> bytes:
    """A file of boxes whose media are said to lie in another file."""
    content = b""
    while data:
        size, kind = struct.unpack(">I4s", data[:8])
        body, data = data[8:size], data[size:]
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
            body = outer(body, target)
        elif kind == b"dref":
            entry = b"url \0\0\0\0" + target.encode() + b"\0"
            body = struct.pack(">III", 0, 1, 4 + len(entry)) + entry
        content += struct.pack(">I4s", 8 + len(body), kind) + body
    return content


@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
def test_no_file_opens_another(tmp_path, movie, ffmpeg):
    """Whatever its ending, with a target that exists: a file beside it, or an address where somebody listens."""
    secret, place = tmp_path / "secret", tmp_path / "place"
    secret.mkdir()
    place.mkdir()
    shutil.copy(movie, secret / "a.mp4")
    ffmpeg.copy(movie, secret / "a.ts")
    canaries = Canaries(secret)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        targets = ["../secret/a.ts", f"{secret}/a.mp4", f"file:{secret}/a.ts", f"http://127.0.0.1:{port}/a.ts"]
        targets += [f"concat:{secret}/a.ts", f"subfile,,start,0,end,0,,:{secret}/a.ts", f"tcp://127.0.0.1:{port}"]
        for kind, content in [*LISTS.items(), ("mov", None)]:
            for number, target in enumerate(targets):
                path = place / f"{kind}.{('mp4', 'mkv', 'ts', 'm3u8', 'mpd', 'webm')[number % 6]}"
                if content is None:
                    path.write_bytes(outer(movie.read_bytes(), target))
                    probe_file(path)
                    continue
                path.write_text(content.format(*[target] * content.count("{}")))
                with pytest.raises(MediaError, match=r"^not a video: |^there is no decoder"):
                    list(read_clips(path, "v", (NEED, SOUND)))
        with pytest.raises(BlockingIOError):
            server.accept()
    assert canaries.opened() == set()
    (secret / "a.ts").read_bytes()
    assert canaries.opened() == {"a.ts"}
    os.close(canaries.handle)


def broadcast(path, ffmpeg, tracks, programmes):
    """A transport stream: "v" a red, "V" a large blue picture; "a" 440 Hz, "A" 1000 Hz with more bits."""
    kinds = {
        "v": "-f lavfi -i color=red:s=64x48:r=25:d=2",
        "V": "-f lavfi -i color=blue:s=128x96:r=25:d=2",
        "a": "-f lavfi -i sine=440:d=2:sample_rate=32000",
        "A": "-f lavfi -i sine=1000:d=2:sample_rate=32000",
    }
    words = [word for track in tracks for word in kinds[track].split()]
    words += [word for n in range(len(tracks)) for word in ("-map", str(n))]
    words += ["-c:v", "mpeg2video", "-b:v", "50k", "-c:a", "mp2", "-ac", "1"]
    sounds = [track for track in tracks if track in "aA"]
    words += [word for n, t in enumerate(sounds) for word in (f"-b:a:{n}", "48k" if t == "a" else "96k")]
    for number, own in enumerate(programmes, 1):
        streams = "".join(f":st={tracks.index(track)}" for track in own)
        words += ["-program", f"title={number}:program_num={number}{streams}"]
    ffmpeg.run(*words, path)
    return ffmpeg.there(path)


@pytest.mark.parametrize(
    ("tracks", "programmes", "colour", "hertz"),
    [
        ("vaVA", ["va", "VA"], 0, 440),
        ("VAva", ["va", "VA"], 0, 440),
        ("VAva", ["VA", "va"], 2, 1000),
        ("vVA", ["v", "VA"], 0, None),  # no sound is better than that of another programme
        ("vA", ["v", "A"], 0, None),  # a radio
        ("vaA", ["vaA"], 0, 1000),  # a player prefers more bits
    ],
)
def test_sound_of_the_programme_of_the_pictures(tmp_path, ffmpeg, tracks, programmes, colour, hertz):
    (clip,) = read_clips(broadcast(tmp_path / "a.ts", ffmpeg, tracks, programmes), "v", (NEED, SOUND))
    assert clip.frames[NEED].pixels.mean((0, 1, 2)).argmax() == colour
    assert (clip.verdict, SOUND in clip.sound) == ((OK, True) if hertz else (NO_SOUND, False))
    if hertz:
        loud = np.abs(np.fft.rfft(clip.sound[SOUND][8000:24000]))
        assert loud.argmax() == hertz


@pytest.mark.parametrize("suffix", ["avi", "mov", "mkv"])
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_side_data_that_pyav_has_no_name_for(tmp_path, ffmpeg, suffix, kind):
    """Such as the EXIF of each picture, which also says how it is turned."""
    from PIL import Image

    exif = Image.Exif()
    exif[274] = 6  # a quarter turn
    for number, colour in enumerate(("red", "red", "red", "blue", "blue", "blue")):
        Image.new("RGB", (64, 48), colour).save(tmp_path / f"{number}.{kind}", exif=exif)
    path = tmp_path / f"a.{suffix}"
    ffmpeg.run("-framerate", 3, "-i", tmp_path / f"%d.{kind}", "-c", "copy", path)
    (clip,) = read_clips(ffmpeg.there(path), "v", (NEED,))
    frames = clip.frames[NEED].pixels
    assert (clip.note, frames.mean((1, 2)).argmax(-1).tolist()) == ("", [0, 0, 2, 2])
    assert (frames.shape[1:3] == (43, 32)) == (probe_file(path).picture.orientation != Orientation())


def test_program_streams_have_all_pictures_at_their_times(tmp_path, ffmpeg):
    """ffmpeg guesses the times of those that share a packet, the last ones wrongly."""
    path, need = ffmpeg.make(tmp_path / "a.mpg", FILES["mpeg2.mpg"][0]), FrameNeed(fps=25, size=96)
    (clip,) = read_clips(path, "v", (need,))
    assert (clip.span.end_s, ffmpeg.numbers(clip.frames[need].pixels)) == (2.0, list(range(50)))
