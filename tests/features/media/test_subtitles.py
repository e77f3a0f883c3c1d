"""Subtitles: which count, what they say, whose clip they are of, and files that nobody should trust."""

import os
import shutil

import av
import pytest

from features.media import subtitles
from features.media.clip import DEGRADED, SubtitleNeed
from features.media.reader import read_clips

SRT = """1
00:00:00,500 --> 00:00:01,500
<i>Hello</i> {\\an8}there,
- <font color="#ff0000">Übung</font> & 1 < 2

2
00:00:03,000 --> 01:00:00,000
{\\b1}too long{\\b0}
"""
HELLO = (0.5, 1.5, "Hello there, - Übung & 1 < 2")
VTT = "WEBVTT\n\nNOTE no cue\n\n00:01.000 --> 00:01.500 align:start\n<v Bob>of &amp; <c.red>vtt</c>\n"


def plain(text):
    return f"1\n00:00:00,000 --> 00:00:01,000\n{text}\n"


@pytest.fixture
def video(tmp_path, media):
    """Five seconds without subtitles, called film.mp4."""
    return media.write(tmp_path / "film.mp4", [media.plain(n % 17) for n in range(50)])


def read(path, language="", **settings):
    """The text of each clip's subtitles, None without any; and the note."""
    need = SubtitleNeed(language=language)
    clips = list(read_clips(path, path.name, [need], **settings))
    (note,) = {clip.note for clip in clips}
    assert {clip.verdict for clip in clips} == ({DEGRADED} if note else {clips[0].verdict})
    return [clip.said.get(need) for clip in clips], note


def texts(path, language=""):
    ((cues,), note) = read(path, language)
    return cues and [text for *_, text in cues], note


def test_cues_are_plain_text_in_one_line_and_belong_to_the_clips_that_they_overlap(video):
    video.with_suffix(".srt").write_text("\ufeff" + SRT)
    (first, second, third, fourth, fifth), note = read(video, clip_seconds=1.0)
    assert first[0] == HELLO
    assert second == (HELLO,)
    assert (third, fourth, fifth, note) == ((), ((3.0, 63.0, "too long"),), ((3.0, 63.0, "too long"),), "")


def test_a_file_beside_comes_before_a_track_inside_and_one_of_the_language_first(video, tmp_path):
    assert texts(video) == (None, "")
    for name in ("film2.srt", "film.srt.txt", "other.en.srt", "film.en.forced.srt", ".film.srt"):
        (tmp_path / name).write_text(plain("of another"))
    assert texts(video) == (None, "")
    (tmp_path / "film.de.srt").write_text(plain("deutsch"))
    assert (texts(video)[0], texts(video, "en")[0], texts(video, "de")[0]) == (["deutsch"], None, ["deutsch"])
    (tmp_path / "film.VTT").write_text(VTT)
    (tmp_path / "film.en-GB.srt").write_text(plain("english"))
    assert [texts(video, tag)[0] for tag in ("", "en", "fr")] == [["of & vtt"], ["english"], ["of & vtt"]]
    (tmp_path / "film.VTT").write_text("WEBVTT\n")  # empty: the next one counts
    assert texts(video)[0] == ["deutsch"]


@pytest.mark.parametrize(("kind", "codec"), [("mkv", "srt"), ("mkv", "ass"), ("mp4", "mov_text")])
def test_a_track_inside_counts_on_the_videos_clock(tmp_path, media, ffmpeg, kind, codec):
    plain_video = media.write(tmp_path / "plain.mp4", [media.plain(n % 17) for n in range(50)])
    (tmp_path / "t.srt").write_text(SRT[: SRT.index("2\n00")])
    made = tmp_path / f"film.{kind}"
    given = ["-i", plain_video, "-i", tmp_path / "t.srt"]
    ffmpeg.run(
        *given, "-map", "0", "-map", "1", "-c:v", "copy", "-c:s", codec, "-metadata:s:s", "language=eng", made
    )
    ((cues,), note) = read(made, "en")
    assert ([(round(start, 2), round(end, 2), text) for start, end, text in cues], note) == ([HELLO], "")
    made.with_suffix(".srt").write_text(plain("beside"))
    assert texts(made)[0] == ["beside"]


BAD = {
    "utf-16": lambda path: path.write_bytes(SRT.encode("utf-16")),
    "windows-1252": lambda path: path.write_bytes(SRT.encode("windows-1252")),
    "no subtitles": lambda path: path.write_bytes(b"\0" * 99),
    "link": lambda path: path.symlink_to("/dev/zero"),
    "pipe": os.mkfifo,
    "folder": lambda path: path.mkdir(),
    "too large": lambda path: path.write_bytes(b" " * (subtitles.MOST_BYTES + 1)),
}


def test_a_file_that_cannot_be_read_is_passed_over_and_noted(video, tmp_path, says):
    notes = []
    for name, put in BAD.items():
        path = video.with_suffix(".srt")
        put(path)
        cues, note = texts(video)
        assert cues is None
        notes.append(f"{name}: {note}")
        (tmp_path / "film.vtt").write_text(VTT)
        assert texts(video) == (["of & vtt"], note)
        (tmp_path / "film.vtt").unlink()
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    says("\n".join(notes))


def test_many_cues_and_a_playlist_in_place_of_subtitles(video, tmp_path, monkeypatch):
    monkeypatch.setattr(subtitles, "MOST_CUES", 3)
    path = video.with_suffix(".srt")
    path.write_text("\n".join(plain(f"line {n}") for n in range(9)))
    assert texts(video)[0] == ["line 0", "line 1", "line 2"]
    path.write_text(f"#EXTM3U\n#EXTINF:5,\n{tmp_path}/film.mp4\n")  # ffmpeg would open what it names
    opened = []
    monkeypatch.setattr(subtitles.av, "open", lambda *a, **k: opened.append(k) or av.container.open(*a, **k))
    assert texts(video)[0] is None
    assert {"format": "srt"} in opened
