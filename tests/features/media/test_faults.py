"""Files that cannot be read say why: encrypted, a part of a segmented video. Damage is only what is damaged."""

import struct

import numpy as np
import pytest

from features.errors import MediaError
from features.media.clip import DEGRADED, NO_PICTURE, NO_SOUND, OK, FrameNeed, SoundNeed
from features.media.probe import probe_file
from features.media.reader import read_clips

NEED, SOUND = FrameNeed(fps=10, size=32), SoundNeed(rate=16000)
MADE = "-f lavfi -i testsrc2=s=96x64:r=10:d=2 -f lavfi -i sine=440:d=2 -c:v libx264 -g 5 -c:a aac"
CENC = "-encryption_scheme cenc-aes-ctr -encryption_key 76a6c65c5ea762046bd749a2e632ccbb "
CENC += "-encryption_kid a7e61c373e219033c21091fa607bf3b8"
NAME = b"\x53\x6e\xbc" + b"n" * 60  # of a Matroska track; in its place an encoding with a key, and Void
LOCK = bytes.fromhex("6d80a162409e5033810150359747e1810547e290") + bytes(16) + b"\xec\x99" + bytes(25)
FAIRPLAY = ((b"avc1\0\0\0\0", b"drmi\0\0\0\0"), (b"mp4a\0\0\0\0", b"drms\0\0\0\0"))  # sample entries
GUID = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e")


def read(path):
    return list(read_clips(path, "v", (NEED, SOUND)))


@pytest.fixture(scope="module")
def base(tmp_path_factory, ffmpeg):
    path = tmp_path_factory.mktemp("base") / "base.mp4"
    ffmpeg.run(*MADE.split(), path)
    return ffmpeg.there(path)


def rows(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """(N, 188) packets of a transport stream, and (N,) of which track they are."""
    packets = np.frombuffer(data, np.uint8).reshape(-1, 188).copy()
    return packets, (packets[:, 1].astype(int) & 31) << 8 | packets[:, 2]


def locked(ffmpeg, base, path, *tracks):
    """Write a file with these tracks encrypted: mp4 as FairPlay does, or by its name all of them by CENC."""
    names = [word for n in tracks for word in (f"-metadata:s:{n}", f"title={'n' * 60}")]
    if path.suffix == ".asf":  # one object more in its header
        ffmpeg.run("-i", base, "-c:v", "wmv2", "-c:a", "wmav2", path)
        texts = b"".join(struct.pack("<I", len(text)) + text for text in (b"secret", b"DRM\0", b"key\0", b"url\0"))
        added, data = GUID + struct.pack("<Q", 24 + len(texts)) + texts, path.read_bytes()
        size, count = struct.unpack("<QI", data[16:28])
        head = struct.pack("<QI", size + len(added), count + 1)
        path.write_bytes(data[:16] + head + data[28:30] + added + data[30:])
        return path
    after = " ".join(names) if path.suffix == ".mkv" else CENC if "cenc" in path.name else ""
    data = ffmpeg.copy(base, path, after=after + " -movflags frag_keyframe" * ("frag" in path.name)).read_bytes()
    if path.suffix == ".ts":
        packets, pids = rows(data)
        own = np.isin(pids, [0x100 + n for n in tracks])
        packets[own, 3] |= 0x80
        packets[own, 16:] ^= 0x5A
        data = packets.tobytes()
    for old, new in [(NAME, LOCK), *(FAIRPLAY[n] for n in tracks)]:
        data = data.replace(old, new)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["cenc.mp4", "cenc_frag.mp4", "fairplay.mp4", "a.mkv", "a.ts", "a.asf"])
def test_encrypted_files_are_called_that(tmp_path, ffmpeg, base, name):
    with pytest.raises(MediaError, match=r"^encrypted: .*put a copy without protection in its place$"):
        read(locked(ffmpeg, base, tmp_path / name, 0, 1))


@pytest.mark.parametrize("track", [0, 1])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_where_one_track_is_encrypted_the_other_is_read(tmp_path, ffmpeg, base, suffix, track):
    (clip,) = read(locked(ffmpeg, base, tmp_path / f"a.{suffix}", track))
    assert (clip.verdict, clip.note) == (DEGRADED, f"the {('picture', 'sound')[track]} track is encrypted")
    assert set(clip.frames) | set(clip.sound) == {(SOUND, NEED)[track]}


def test_parts_of_a_segmented_video(tmp_path, ffmpeg, base, says_all):
    flags = "-movflags frag_keyframe+empty_moov+default_base_moof"
    whole = ffmpeg.copy(base, tmp_path / "whole.mp4", after=flags).read_bytes()
    ffmpeg.run("-i", base, "-c:v", "libvpx", "-c:a", "libopus", tmp_path / "whole.webm")
    webm = (tmp_path / "whole.webm").read_bytes()
    cluster, moof = webm.index(b"\x1f\x43\xb6\x75", webm.index(b"\x16\x54\xae\x6b") + 60), whole.index(b"moof") - 4
    parts = {"init.mp4": whole[:moof], "segment.m4s": whole[moof:]}
    parts |= {"styp.mp4": b"\0\0\0\x10stypmsdh\0\0\0\0" + whole[moof:]}
    parts |= {"init.webm": webm[:cluster], "segment.webm": webm[cluster:]}
    parts |= {"joined.mp4": parts["init.mp4"] + parts["styp.mp4"]}
    for name, content in parts.items():
        (tmp_path / name).write_bytes(content)
    says_all(probe_file, [tmp_path / name for name in parts if name != "joined.mp4"])
    for name in ("whole.mp4", "joined.mp4"):
        assert [clip.verdict for clip in read(tmp_path / name)] == [OK]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_an_announced_track_without_packets_is_none(tmp_path, ffmpeg, base, suffix):
    path = tmp_path / f"a.{suffix}"
    cut = "-f lavfi -i anullsrc -filter_complex [1:a]atrim=0:0[a] -map 0:v -map [a] -c:v copy -c:a aac"
    ffmpeg.run("-i", base, *cut.split(), path)
    (clip,) = read(ffmpeg.there(path))
    assert (clip.verdict, clip.note, clip.source.audio_codec) == (NO_SOUND, "", None)
    if suffix == "ts":
        packets, pids = rows(ffmpeg.copy(base, path).read_bytes())
        for pid, verdict in ((0x101, NO_SOUND), (0x100, NO_PICTURE)):
            path.write_bytes(packets[pids != pid].tobytes())
            assert [(clip.verdict, clip.note) for clip in read(path)] == [(verdict, "")]


@pytest.mark.parametrize(
    ("codecs", "end"), [("libtheora -g 256 -c:a libvorbis", "ogv"), ("mpeg4 -c:a mp2", "avi")]
)
def test_packets_of_no_bytes_repeat_the_picture_before(tmp_path, ffmpeg, codecs, end):
    """Red for two seconds, then blue to the end of the sound."""
    sources = "-f lavfi -i color=red:s=64x64:r=10:d=2 -f lavfi -i color=blue:s=64x64:r=10:d=2 -f lavfi -i sine=d=4"
    rare = ",select='not(mod(n,5))+gt(n,38)'" * (end == "avi")
    words = [
        "-filter_complex",
        f"[0][1]concat=n=2{rare}[v]",
        "-map",
        "[v]",
        "-map",
        "2",
        "-fps_mode",
        "passthrough",
    ]
    ffmpeg.run(*sources.split(), *words, "-c:v", *codecs.split(), tmp_path / f"a.{end}")
    (clip,) = read(ffmpeg.there(tmp_path / f"a.{end}"))
    colours = clip.frames[NEED].pixels.mean((1, 2))
    assert (clip.verdict, clip.note, round(clip.span.end_s)) == (OK, "", 4)
    assert colours.argmax(1).tolist() == [0] * 20 + [2] * (len(colours) - 20)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *(
            (f"subtitles.{end}", f"-i SRT -map 0 -map 1 -c copy -c:s {kind}")
            for end, kind in (("mp4", "mov_text"), ("mkv", "srt"))
        ),
        *(
            (f"second_sound.{end}", "-f lavfi -i sine=d=9 -map 0 -map 1 -c:v copy -c:a aac")
            for end in ("mkv", "mp4")
        ),
        *((f"late.{end}", "-c copy -output_ts_offset 33") for end in ("mp4", "mkv", "flv", "ts")),
        ("timecode.mov", "-c copy -timecode 01:00:00:00"),
    ],
)
def test_headers_of_another_duration_are_no_damage(tmp_path, ffmpeg, base, name, words):
    (tmp_path / "late.srt").write_text("1\n00:00:20,000 --> 00:00:30,000\nlate\n")
    ffmpeg.run("-i", base, *words.replace("SRT", str(tmp_path / "late.srt")).split(), tmp_path / name)
    (clip,) = read(ffmpeg.there(tmp_path / name))
    assert (clip.verdict, clip.note, round(clip.span.end_s)) == (OK, "", 2)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "flv", "ts"])
def test_a_file_that_is_cut_short_or_lacks_packets_is_damaged(tmp_path, ffmpeg, base, suffix):
    path = tmp_path / f"a.{suffix}"
    data = ffmpeg.copy(base, path, "-stream_loop 4", "-movflags faststart" * (suffix == "mp4")).read_bytes()
    lost = np.delete(rows(data)[0], slice(30, None, 50), 0).tobytes() if suffix == "ts" else data[: len(data) // 2]
    path.write_bytes(lost)
    assert DEGRADED in [clip.verdict for clip in read(path)]
