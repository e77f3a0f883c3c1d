"""Files that cannot be read say why: encrypted, a part of a segmented video. Damage is only what is damaged."""

import re
import struct

import numpy as np
import pytest

from features.errors import MediaError
from features.media.clip import DEGRADED, NO_PICTURE, NO_SOUND, OK, FrameNeed, SoundNeed
from features.media.probe import probe_file
from features.media.reader import read_clips

NEED, SOUND = FrameNeed(fps=10, size=32), SoundNeed(rate=16000)
SOURCES = "-f lavfi -i testsrc2=s=96x64:r=10:d=2 -f lavfi -i sine=440:d=2"
H264 = "-c:v libx264 -g 5 -c:a aac -movflags faststart"
KEY = "-encryption_key 76a6c65c5ea762046bd749a2e632ccbb -encryption_kid a7e61c373e219033c21091fa607bf3b8"


def read(path):
    return list(read_clips(path, "v", (NEED, SOUND)))


@pytest.fixture(scope="module")
def base(tmp_path_factory, ffmpeg):
    path = tmp_path_factory.mktemp("base") / "base.mp4"
    ffmpeg.run(*SOURCES.split(), *H264.split(), path)
    return ffmpeg.there(path)


def scrambled(data: bytes, *pids: int) -> bytes:
    """A transport stream whose packets of these tracks are scrambled."""
    packets = np.frombuffer(data, np.uint8).reshape(-1, 188).copy()
    own = np.isin((packets[:, 1].astype(int) & 31) << 8 | packets[:, 2], pids)
    packets[own, 3] |= 0x80
    packets[own, 16:] ^= 0x5A
    return packets.tobytes()


def element(name: str, content: bytes) -> bytes:
    """Of Matroska."""
    return bytes.fromhex(name) + (1 << 56 | len(content)).to_bytes(8, "big") + content


def locked(data: bytes, *tracks: int) -> bytes:
    """A Matroska file whose tracks, by number, have a key; elements between header and clusters are dropped."""
    key = element("5035", element("47E1", b"\5") + element("47E2", bytes(16)))
    key = element("6D80", element("6240", element("5033", b"\1") + key))
    start = data.index(b"\x16\x54\xae\x6b", data.index(b"\x16\x54\xae\x6b") + 4)  # the seek head names it, too
    entries = [match.start() for match in re.finditer(rb"\xae\x01\0\0\0\0\0..\xd7\x81", data[start:], re.DOTALL)]
    content = b""
    for number, entry in enumerate(entries):
        size = int.from_bytes(data[start + entry + 2 : start + entry + 9], "big")
        body = data[start + entry + 9 : start + entry + 9 + size]
        content += element("AE", body + (key if number in tracks else b""))
    clusters = data.index(b"\x1f\x43\xb6\x75", start)
    head = data[: data.index(b"\x18\x53\x80\x67")] + b"\x18\x53\x80\x67\x01" + b"\xff" * 7
    return head + element("1654AE6B", content) + data[clusters:]


def fairplay(data: bytes) -> bytes:
    return data.replace(b"avc1\0\0\0\0", b"drmi\0\0\0\0").replace(b"mp4a\0\0\0\0", b"drms\0\0\0\0")


def protected(data: bytes) -> bytes:
    """An asf file with one more object in its header, of content encryption."""
    texts = b"".join(
        struct.pack("<I", len(text)) + text for text in (b"secret", b"DRM\0", b"key\0", b"http://x\0")
    )
    added = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + struct.pack("<Q", 24 + len(texts)) + texts
    size, count = struct.unpack("<QI", data[16:28])
    return data[:16] + struct.pack("<QI", size + len(added), count + 1) + data[28:30] + added + data[30:]


@pytest.mark.parametrize("case", ["mp4", "fragments", "fairplay", "mkv", "ts", "asf"])
def test_encrypted_files_are_called_that(tmp_path, ffmpeg, base, case):
    path = tmp_path / f"a.{case}"
    if case in ("mp4", "fragments"):
        words = "-movflags frag_keyframe+empty_moov " * (case == "fragments")
        ffmpeg.copy(base, path, after=f"{words}-f mp4 -encryption_scheme cenc-aes-ctr {KEY}")
    elif case == "fairplay":
        path.write_bytes(fairplay(base.read_bytes()))
    elif case == "asf":
        ffmpeg.run("-i", base, "-c:v", "wmv2", "-c:a", "wmav2", path)
        path.write_bytes(protected(path.read_bytes()))
    else:
        data = ffmpeg.copy(base, path).read_bytes()
        path.write_bytes(locked(data, 0, 1) if case == "mkv" else scrambled(data, 0x100, 0x101))
    with pytest.raises(MediaError, match=r"^encrypted: .*put a copy without protection in its place$"):
        read(path)


@pytest.mark.parametrize(
    ("case", "encrypted"),
    [("mkv", "picture"), ("ts", "picture"), ("mkv", "sound"), ("ts", "sound"), ("mp4", "sound")],
)
def test_where_one_track_is_encrypted_the_other_is_read(tmp_path, ffmpeg, base, case, encrypted):
    path, number = tmp_path / f"a.{case}", int(encrypted == "sound")
    data = ffmpeg.copy(base, path).read_bytes()
    if case == "mp4":
        path.write_bytes(data.replace(b"mp4a\0\0\0\0", b"drms\0\0\0\0"))
    else:
        path.write_bytes(locked(data, number) if case == "mkv" else scrambled(data, 0x100 + number))
    (clip,) = read(path)
    assert (clip.verdict, clip.note) == (DEGRADED, f"the {encrypted} track is encrypted")
    assert set(clip.frames) | set(clip.sound) == ({NEED} if encrypted == "sound" else {SOUND})


def test_parts_of_a_segmented_video(tmp_path, ffmpeg, base, says_all):
    whole = ffmpeg.copy(
        base, tmp_path / "whole.mp4", after="-movflags frag_keyframe+empty_moov+default_base_moof"
    ).read_bytes()
    webm = tmp_path / "whole.webm"
    ffmpeg.run("-i", base, "-c:v", "libvpx", "-c:a", "libopus", webm)
    matroska = webm.read_bytes()
    cluster = matroska.index(b"\x1f\x43\xb6\x75", matroska.index(b"\x16\x54\xae\x6b") + 60)
    parts = {"init.mp4": whole[: whole.index(b"moof") - 4], "segment.m4s": whole[whole.index(b"moof") - 4 :]}
    parts |= {"styp.mp4": b"\0\0\0\x10stypmsdh\0\0\0\0" + parts["segment.m4s"]}
    parts |= {"init.webm": matroska[:cluster], "segment.webm": matroska[cluster:]}
    for name, content in parts.items():
        (tmp_path / name).write_bytes(content)
    says_all(probe_file, [tmp_path / name for name in parts])
    (tmp_path / "joined.mp4").write_bytes(parts["init.mp4"] + parts["styp.mp4"])
    for path in (tmp_path / "whole.mp4", tmp_path / "joined.mp4"):
        assert [clip.verdict for clip in read(path)] == [OK]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_an_announced_track_without_packets_is_none(tmp_path, ffmpeg, base, suffix):
    path = tmp_path / f"a.{suffix}"
    cut = "-f lavfi -i anullsrc -filter_complex [1:a]atrim=0:0[a] -map 0:v -map [a] -c:v copy -c:a aac"
    ffmpeg.run("-i", base, *cut.split(), path)
    (clip,) = read(ffmpeg.there(path))
    assert (clip.verdict, clip.note, clip.source.audio_codec) == (NO_SOUND, "", None)
    if suffix == "ts":
        data = np.frombuffer(ffmpeg.copy(base, path).read_bytes(), np.uint8).reshape(-1, 188)
        for pid, verdict in ((0x101, NO_SOUND), (0x100, NO_PICTURE)):
            path.write_bytes(data[((data[:, 1].astype(int) & 31) << 8 | data[:, 2]) != pid].tobytes())
            assert [(clip.verdict, clip.note) for clip in read(path)] == [(verdict, "")]


def still(path, ffmpeg, codec, end):
    """Red for two seconds, then blue for two, by packets of no bytes where nothing changes; with sound."""
    colours = (
        "-f lavfi -i color=red:s=64x64:r=10:d=2 -f lavfi -i color=blue:s=64x64:r=10:d=2 -f lavfi -i sine=440:d=4"
    )
    filters = "[0][1]concat=n=2" + (",select='not(mod(n,5))'" if end == "avi" else "") + "[v]"
    words = ["-filter_complex", filters, "-map", "[v]", "-map", "2", "-fps_mode", "passthrough"]
    ffmpeg.run(*colours.split(), *words, *codec.split(), path)
    return ffmpeg.there(path)


@pytest.mark.parametrize(
    ("codec", "end"),
    [
        ("-c:v libtheora -q:v 6 -g 256 -c:a libvorbis", "ogv"),
        ("-c:v mpeg4 -bf 0 -c:a mp2", "avi"),
        ("-c:v libx264 -bf 0 -c:a mp2", "avi"),
    ],
)
def test_packets_of_no_bytes_repeat_the_picture_before(tmp_path, ffmpeg, codec, end):
    clips = read(still(tmp_path / f"a.{end}", ffmpeg, codec, end))
    colours = np.concatenate([clip.frames[NEED].pixels.mean((1, 2)) for clip in clips])
    assert [(clip.verdict, clip.note) for clip in clips] == [(OK, "")]
    assert abs(len(colours) - 40) <= 5, "to the end"
    assert (colours[:20, 0] > 200).all()
    assert (colours[21:, 2] > 200).all()


LATE = "1\n00:00:00,500 --> 00:00:01,000\nhello\n\n2\n00:00:20,000 --> 00:00:30,000\nlate\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("subtitles.mp4", "-i late.srt -map 0 -map 1 -c copy -c:s mov_text"),
        ("subtitles.mkv", "-i late.srt -map 0 -map 1 -c copy -c:s srt"),
        ("second_sound.mkv", "-f lavfi -i sine=d=9 -map 0 -map 1 -c:v copy -c:a aac"),
        ("second_sound.mp4", "-f lavfi -i sine=d=9 -map 0 -map 1 -c:v copy -c:a aac"),
        *((f"late.{end}", "-c copy -output_ts_offset 33") for end in ("mp4", "mkv", "flv", "ts")),
        ("timecode.mov", "-c copy -timecode 01:00:00:00"),
        ("live.mkv", "-c copy -live 1"),
    ],
)
def test_headers_of_another_duration_are_no_damage(tmp_path, ffmpeg, base, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "late.srt").write_text(LATE)
    ffmpeg.run("-i", base, *words.split(), name)
    (clip,) = read(ffmpeg.there(tmp_path / name))
    assert (clip.verdict, clip.note, round(clip.span.end_s)) == (OK, "", 2)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "flv", "ts"])
def test_a_file_that_is_cut_short_or_lacks_packets_is_damaged(tmp_path, ffmpeg, base, suffix):
    path = tmp_path / f"a.{suffix}"
    words = "-stream_loop 4", "-movflags faststart" * (suffix == "mp4")
    data = ffmpeg.copy(base, path, *words).read_bytes()
    if suffix == "ts":
        data = b"".join(data[n : n + 188] for n in range(0, len(data), 188) if n // 188 % 50 != 30)
    else:
        data = data[: len(data) // 2]
    path.write_bytes(data)
    assert DEGRADED in [clip.verdict for clip in read(path)]
