"""Which files of a folder are media."""

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from features.errors import InputError
from features.media.clip import NO_PICTURE, NO_SOUND, OK, FrameNeed, SoundNeed
from features.media.library import Library, Selection, find_media, is_media
from features.media.reader import read_clips

PICTURES, SOUND = "-f lavfi -i testsrc=s=352x288:r=25:d=1", "-f lavfi -i sine=f=440:d=1"
NEEDS = (FrameNeed(fps=2, size=32), SoundNeed(rate=16000))


def put(folder, *names, content=b""):
    for path in (folder / name for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_subfolders_are_searched_and_linked_and_unreadable_names_are_not(tmp_path):
    names = "b.MP4 a/c.WEBM f.3gp notes.txt LICENSE x.txt b.srt b.en.VTT"
    put(tmp_path, *names.split(), "a/d/e f#1.jpg")
    (tmp_path / "a" / "circle").symlink_to(tmp_path)
    expected = {".txt": 2, "no ending": 1, "linked folder": 1}
    try:
        open(os.fsencode(tmp_path) + b"/\xff.mp4", "wb").close()
        expected["name that is not Unicode"] = 1
    except OSError:  # this file system refuses such names
        pass
    library = find_media(tmp_path)
    assert library.videos == ("a/c.WEBM", "a/d/e f#1.jpg", "b.MP4", "f.3gp")
    assert library.ignored == expected


def test_a_single_file_and_relative_paths(tmp_path, monkeypatch):
    put(tmp_path, "a.mp4", "b.dat", ".a.mp4")
    monkeypatch.chdir(tmp_path)
    for path, root in ((tmp_path / "a.mp4", tmp_path), (Path("."), Path(".")), (Path("a.mp4"), Path("."))):
        library = find_media(path)
        assert (library.root, library.videos) == (root, ("a.mp4",))
    assert find_media(Path(".a.mp4")).videos == (".a.mp4",)  # whoever names it wants it
    assert find_media(Path("b.dat"), Selection(endings=("dat",))).videos == ("b.dat",)
    names = ("a.MP4", "a.webm", "a.JPG", "a.3gp", "a.FLAC", "a.txt")
    assert [is_media(tmp_path / name) for name in names] == [True, True, True, True, True, False]


NOTHING = [([], "nowhere", "there is nothing at"), ([], "", "it is empty")]
NOTHING += [(["a.txt", "b.txt", "c.doc"], "", r"only 2 x \.txt, 1 x \.doc")]
NOTHING += [(["a.txt"], "a.txt", r"neither a video, a still image nor sound \(\.txt\)")]
NOTHING += [(["@eaDir/a.mp4"], "", "only 1 x excluded folder")]


@pytest.mark.parametrize(("names", "path", "message"), NOTHING)
def test_nothing_to_read_is_an_error_that_says_what_is_there(tmp_path, names, path, message):
    put(tmp_path, *names)
    with pytest.raises(InputError, match=message):
        find_media(tmp_path / path)


def test_all_kinds_of_skipped_files_are_named_or_counted():
    kinds = Counter({f".{letter}": 9 - number for number, letter in enumerate("abcdefgh")})
    named = "9 x .a, 8 x .b, 7 x .c, 6 x .d, 5 x .e, 4 x .f, 3 x .g, 2 x .h"
    for number, rest in enumerate(("", " and 1 x .i", " and 2 more kinds", " and 3 more kinds")):
        library = Library(Path(), (), kinds + Counter([".i", ".j", ".k"][:number]))
        assert library.others == named + rest


FOLDERS = "@eaDir #recycle $RECYCLE.BIN .Trash-1000 .stversions lost+found __MACOSX .git FOUND.000 @Recycle"
FOLDERS = [*FOLDERS.split(), "#snapshot", "System Volume Information", "d/@EADIR", "d/.b/c", ".a.mp4"]


@pytest.mark.parametrize("skipped", [*(f"{name}/a.mp4" for name in FOLDERS), "._a.mp4", "d/.hidden.mkv"])
def test_recycle_bins_previews_and_hidden_files_are_skipped(tmp_path, skipped):
    put(tmp_path, "b.mp4", "drafts/c.mp4", ".DS_Store", "d/.nomedia", "d/Thumbs.db", skipped)
    library = find_media(tmp_path)
    assert library.videos == ("b.mp4", "drafts/c.mp4")
    assert library.ignored == {f"excluded {'folder' if skipped.endswith('/a.mp4') else 'file'}": 1, ".db": 1}


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("drafts", "abcf"), ("drafts/*", "abcef"), ("Drafts/", "abcf"), ("./drafts", "abcf"), ("/drafts", "abcef"),
        ("*.proxy.mp4", "acdef"), ("d.mp4", "abcef"), ("x/drafts/*", "abcdf"), ("*/drafts", "abcf"),
        ("x/*", "abdf"), ("[ab]*", "cdef"), ("**/c.mp4", "abdef"), ("a\u0308", "abcde"),
    ],
)  # fmt: skip
def test_patterns_exclude_names_and_paths(tmp_path, pattern, left):
    put(tmp_path, "a.mp4", "b.proxy.mp4", "x/c.mp4", "drafts/d.mp4", "x/drafts/e.mp4", "\xc4/f.mp4")
    videos = find_media(tmp_path, Selection(exclude=(pattern,))).videos
    assert sorted(Path(video).name[0] for video in videos) == list(left)


TEXTS = {"a.ts": "export const a = 1;", "b.mts": "// ü", "go.mod": "module a", "e.dts": "/dts-v1/;", "n.dat": "1"}
TEXTS |= {"c.ts": "\ufeff<?xml version='1.0'?>", "f.asf": "[Reference]\r\nRef1=http://a"}


def test_program_text_with_the_ending_of_a_video_is_ignored_and_named(tmp_path, media):
    for name, content in TEXTS.items():
        put(tmp_path, name, content=content.encode())
    put(tmp_path, "wide.ts", content="let a".encode("utf-16"))
    put(tmp_path, "empty.ts", "text.mp4", "clip.DAT")
    put(tmp_path, "page.mp4", content=b"<html>404 not found")  # a failed download: its row says so
    media.write(tmp_path / "real.ts", [media.plain(n) for n in range(3)], kind="ts")
    os.mkfifo(tmp_path / "pipe.ts")
    library = find_media(tmp_path, Selection(endings=("*.dat",)))
    assert library.videos == ("clip.DAT", "empty.ts", "page.mp4", "pipe.ts", "real.ts", "text.mp4")
    assert library.ignored == Counter(f"{Path(name).suffix} (text)" for name in [*TEXTS, "wide.ts"])


@pytest.mark.parametrize("word", ["", "/", ".", "*", "*."])
@pytest.mark.parametrize("flag", ["endings", "exclude"])
def test_words_that_select_nothing_or_all_are_refused(flag, word):
    with pytest.raises(ValueError, match=f"got '{re.escape(word)}'"):
        Selection(**{flag: (word,)})


def test_files_of_sound_are_left_out_where_nobody_wants_them(tmp_path):
    put(tmp_path, "a.mp4", "a.wav", "b.MP3", "c.opus")
    assert find_media(tmp_path).videos == ("a.mp4", "a.wav", "b.MP3", "c.opus")
    library = find_media(tmp_path, Selection(audio_files=False))
    assert (library.videos, library.ignored) == (("a.mp4",), {".wav": 1, ".mp3": 1, ".opus": 1})


# ending: how the ffmpeg program writes it, of a second of pictures and sound; then of each alone
WITH_BOTH = """m2ts m2t tp trp: -c:v mpeg2video -c:a mp2 -f mpegts
/ vob evo mod tod: -c:v mpeg2video -c:a mp2 -f vob / mpe: -f mpeg / wtv: -c:v mpeg2video -c:a mp2
/ asf: -c:v wmv2 -c:a wmav2 / f4v: -f mp4 / qt: -f mov / ogm: -f ogg / 3g2 ismv: -c:v mpeg4 -c:a aac
/ divx: -c:v mpeg4 -vtag DIVX -f avi / flv: -ar 44100
/ rm: -c:v rv20 -c:a ac3 / nut: -c:v mpeg4 / mxf: -c:v mpeg2video -c:a pcm_s16le -ar 48000
/ dv: -s 720x576 -c:v dvvideo -pix_fmt yuv420p -c:a pcm_s16le -ar 48000 -ac 2"""
SILENT = """m2v: -f mpeg2video / mpv: -f mpeg1video / y4m: -pix_fmt yuv420p / mjpg: -pix_fmt yuvj420p -f mjpeg
/ h264: / 265: -c:v libx265 -x265-params log-level=none -f hevc / apng: -plays 0"""
HEARD = """mp3 m4a wav flac aac wma aiff ac3 mp2 caf au w64 wv tta voc ogg opus mka eac3:
/ m4b: -f mp4 / aif: -f aiff / weba: -f webm / dts: -c:a dca -strict -2 / amr: -ar 8000 -c:a libopencore_amrnb"""
KINDS = [(f"{PICTURES} {SOUND}", WITH_BOTH, OK), (PICTURES, SILENT, NO_SOUND), (SOUND, HEARD, NO_PICTURE)]
ENDINGS = [
    (ending, [*given.split(), *how.split()], verdict)
    for given, table, verdict in KINDS
    for endings, _, how in (each.partition(":") for each in table.split("/"))
    for ending in endings.split()
]


@pytest.mark.parametrize(("ending", "how", "verdict"), ENDINGS, ids=[ending for ending, *_ in ENDINGS])
def test_files_of_every_ending_are_found_and_read(tmp_path, ffmpeg, ending, how, verdict):
    ffmpeg.run(*how, tmp_path / f"a.{ending}")
    if "libopencore_amrnb" in how and not any(tmp_path.iterdir()):
        pytest.skip("this ffmpeg has no such encoder")
    (video,) = find_media(tmp_path).videos
    (clip,) = read_clips(ffmpeg.there(tmp_path / video), video, NEEDS)
    interlaced = "interlaced: one field of each picture was read" if ending == "dv" else ""
    assert (clip.verdict, clip.note) == (verdict, interlaced)
    assert 0.9 < clip.source.file_seconds < 1.1
    assert (NEEDS[0] in clip.frames, NEEDS[1] in clip.sound) == (verdict != NO_PICTURE, verdict != NO_SOUND)


@pytest.mark.parametrize("how", ["a.mp3", "a.flac", "a.m4a", "-write_id3v2 1 a.aiff", "a.mka"])
def test_a_cover_picture_is_no_video_track(tmp_path, ffmpeg, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    ffmpeg.run(*PICTURES.split(), "-frames:v", "1", "cover.png")
    cover = "-i cover.png -map 0 -map 1 -c:v copy -disposition:v attached_pic"
    if how == "a.mka":
        cover = "-attach cover.png -metadata:s:t mimetype=image/png"
    ffmpeg.run(*SOUND.split(), *cover.split(), *how.split())
    path = ffmpeg.there(tmp_path / how.split()[-1])
    assert b"PNG" in path.read_bytes()
    (clip,) = read_clips(path, "a", NEEDS)
    assert (clip.verdict, list(clip.frames), clip.note) == (NO_PICTURE, [], "")
