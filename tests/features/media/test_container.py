"""What a file is called and refers to means nothing to ffmpeg; the tracks that are read belong together."""

import os
import shutil
import socket
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from features.errors import MediaError
from features.media.clip import FrameNeed, SoundNeed
from features.media.probe import probe_file
from features.media.reader import read_clips
from tests.features.ffmpeg_program import FILES
from tests.scripts.test_canaries import CONCAT, M3U8, Canaries

NEED, SOUND = FrameNeed(fps=2, size=32), SoundNeed(rate=16000)
NAMES = (
    "12:30 a.mp4|file:a.mp4|http:a.mp4|concat:a.mp4|subfile,,start,0,end,9,,:a.mp4|data:a|pipe:|-|-i.mp4|crypto:a"
)
NAMES += "|a%d.mp4|a%03d.mkv|*?[a].mp4|back\\slash.mp4|new\nline.mp4"
MADE = "-f lavfi -i testsrc2=s=128x96:r=10:d=2 -c:v libx264 -bf 0"


@pytest.fixture(scope="module")
def movie(tmp_path_factory, ffmpeg):
    path = tmp_path_factory.mktemp("movie") / "a.mp4"
    ffmpeg.run(*MADE.split(), path)
    return ffmpeg.there(path)


@pytest.mark.parametrize("reader", ["pyav", "decord"])
def test_every_name_means_the_file(tmp_path, movie, monkeypatch, reader):
    if reader == "decord":
        pytest.importorskip("decord")
    monkeypatch.chdir(tmp_path)
    (expected,) = read_clips(movie, "v", (NEED,), reader=reader)
    for name in NAMES.split("|"):
        (clip,) = read_clips(Path(shutil.copy(movie, f"./{name}").removeprefix("./")), "v", (NEED,), reader=reader)
        assert (clip.reader, clip.note) == (reader, ""), name
        np.testing.assert_array_equal(clip.frames[NEED].pixels, expected.frames[NEED].pixels)


LISTS = """#EXTM3U
#EXT-X-KEY:METHOD=AES-128,URI="{}"
#EXTINF:2,
{}|#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=1
{}|<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>
<Representation id="1" mimeType="video/mp4"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>
|<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"><Id>{}</Id>|v=0
o=- 0 0 IN IP4 127.0.0.1
s=x
c=IN IP4 127.0.0.1
t=0 0
a=control:{}
m=video 5004 RTP/AVP 33
|<smil><body><video src="{}"/></body></smil>|[Reference]
Ref1={}
|# VobSub index file, v7 (do not modify this line!)"""


def outer(data: bytes, target: str) -> bytes:
    """A file of boxes whose media are said to lie in another file."""
    content = b""
    while data:
        size, kind = struct.unpack(">I4s", data[:8])
        body, data = data[8:size], data[size:]
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
            body = outer(body, target)
        elif kind == b"dref":
            body = struct.pack(">IIII", 0, 1, 13 + len(target), 0x75726C20) + bytes(4) + target.encode() + b"\0"
        content += struct.pack(">I4s", 8 + len(body), kind) + body
    return content


@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
def test_no_file_opens_another(tmp_path, movie, ffmpeg):
    """Whatever its ending, with a target that exists: a file beside it, or an address where somebody listens."""
    secret = tmp_path / "secret"
    secret.mkdir()
    ffmpeg.copy(shutil.copy(movie, secret), secret / "a.ts")
    canaries = Canaries(secret)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        targets = [
            "secret/a.ts",
            f"{secret}/a.mp4",
            f"concat:{secret}/a.ts",
            f"subfile,,start,0,end,0,,:{secret}/a.ts",
        ]
        targets += [f"file:{secret}/a.ts", f"http://{address}/a.ts", f"tcp://{address}"]
        for number, target in enumerate(targets):
            path = tmp_path / f"a.{('mp4', 'mkv', 'ts', 'm3u8', 'mpd')[number % 5]}"
            path.write_bytes(outer(movie.read_bytes(), target))
            probe_file(path)
            for text in (M3U8, CONCAT, *LISTS.split("|")):
                path.write_text(text.replace("CANARIES/videos/clip8.mp4", "{}").replace("{}", target))
                with pytest.raises(MediaError, match=r"^not a video: |^there is no decoder"):
                    list(read_clips(path, "v", (NEED, SOUND)))
        with pytest.raises(BlockingIOError):
            server.accept()
    assert canaries.opened() == set()
    os.close(canaries.handle)


SOURCES = {"v": "color=red:s=64x48:r=25:d=2", "V": "color=blue:s=128x96:r=25:d=2"}
SOURCES |= {"a": "sine=440:d=2:sample_rate=32000", "A": "sine=1000:d=2:sample_rate=32000"}


@pytest.mark.parametrize(
    ("tracks", "programmes", "colour", "hertz"),
    [
        ("vaVA", ["va", "VA"], 0, 440),
        ("VAva", ["va", "VA"], 0, 440),
        ("VAva", ["VA", "va"], 2, 1000),
        ("vVA", ["v", "VA"], 0, None),  # no sound is better than that of another programme
        ("vA", ["v", "A"], 0, None),  # a radio
    ],
)
def test_sound_of_the_programme_of_the_pictures(tmp_path, ffmpeg, tracks, programmes, colour, hertz):
    words = [word for track in tracks for word in ("-f", "lavfi", "-i", SOURCES[track])]
    words += [word for n in range(len(tracks)) for word in ("-map", str(n))]
    for n, own in enumerate(programmes, 1):
        words += ["-program", f"program_num={n}" + "".join(f":st={tracks.index(track)}" for track in own)]
    ffmpeg.run(*words, "-c:v", "mpeg2video", "-b:v", "50k", "-c:a", "mp2", tmp_path / "a.ts")
    (clip,) = read_clips(ffmpeg.there(tmp_path / "a.ts"), "v", (NEED, SOUND))
    heard = {np.abs(np.fft.rfft(wave[8000:24000])).argmax() for wave in clip.sound.values()}
    assert (clip.frames[NEED].pixels.mean((0, 1, 2)).argmax(), heard) == (colour, {hertz} - {None})


@pytest.mark.parametrize(("suffix", "kind"), [("avi", "jpg"), ("mov", "jpg"), ("mkv", "png")])
def test_side_data_that_pyav_has_no_name_for(tmp_path, ffmpeg, suffix, kind):
    """Such as the EXIF of each picture."""
    exif = Image.Exif()
    exif[271] = "camera"
    for number, colour in enumerate(("red", "red", "red", "blue", "blue", "blue")):
        Image.new("RGB", (64, 48), colour).save(tmp_path / f"{number}.{kind}", exif=exif)
    ffmpeg.run("-framerate", 3, "-i", tmp_path / f"%d.{kind}", "-c", "copy", tmp_path / f"a.{suffix}")
    (clip,) = read_clips(ffmpeg.there(tmp_path / f"a.{suffix}"), "v", (NEED,))
    assert (clip.note, clip.frames[NEED].pixels.mean((1, 2)).argmax(-1).tolist()) == ("", [0, 0, 2, 2])


def test_program_streams_have_all_pictures_at_their_times(tmp_path, ffmpeg):
    """ffmpeg guesses the times of those that share a packet, the last ones wrongly."""
    path, need = ffmpeg.make(tmp_path / "a.mpg", FILES["mpeg2.mpg"][0]), FrameNeed(fps=25, size=96)
    (clip,) = read_clips(path, "v", (need,))
    assert (clip.span.end_s, ffmpeg.numbers(clip.frames[need].pixels)) == (2.0, list(range(50)))
