"""Cut lists are what other programs read, and no name leaves its field."""

import csv
import io
import json
import re
import shlex
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.cut_list import EVENTS, cut_list
from index.video_index import Moment
from mee.errors import InputError

MOMENTS = [
    Moment("a/dög.mp4#t=10,12.5", "a/dög.mp4", 10.0, 12.5, ("appearance", "audio"), 25.0),
    Moment("still.png", "still.png", 0.0, 0.0, ("appearance",)),
    Moment("a/dog 1.mkv#t=3600,3601", "b/dog 1.mkv", 3600.0, 3601.01, ("motion",), 25.0),
    Moment("b/dog-1.mkv", "b/dog-1.mkv", 0.52, 0.5201, ("audio",), 29.97),
    Moment("a/dög.mp4#t=0,1", "a/dög.mp4", 0.0, 1.0, ("audio",), 25.0),
]
EDL = """\
TITLE: dogs & "d\\xf6gs"
FCM: NON-DROP FRAME

* 25 FRAMES A SECOND, AS 3 OF 5 CUTS HAVE
001  DG       AA/V  C        00:00:10:00 00:00:12:12 01:00:00:00 01:00:02:12
* FROM CLIP NAME: a/d\\xf6g.mp4
002  STILL    V     C        00:00:00:00 00:00:05:00 01:00:02:12 01:00:07:12
* FROM CLIP NAME: still.png
003  DOG1     V     C        01:00:00:00 01:00:01:00 01:00:07:12 01:00:08:12
* FROM CLIP NAME: b/dog 1.mkv
004  DOG11    AA/V  C        00:00:00:13 00:00:00:14 01:00:08:12 01:00:08:13
* FROM CLIP NAME: b/dog-1.mkv
005  DG       AA/V  C        00:00:00:00 00:00:01:00 01:00:08:13 01:00:09:13
* FROM CLIP NAME: a/d\\xf6g.mp4
"""


def written(form, moments=MOMENTS, **options):
    return cut_list(moments, form, **{"title": 'dogs & "dögs"', **options})


def test_edl():
    assert written("edl") == EDL
    slow, odd = ([moment._replace(fps=fps) for moment in MOMENTS] for fps in (59.94, 240.0))
    assert "00:00:09:59 00:00:12:29 01:00:00:00 01:00:02:30" in written("edl", slow)
    assert "* 25 FRAMES A SECOND, AS THE RATES OF THE VIDEOS ARE UNKNOWN" in written("edl", odd)
    late = [Moment("x", "x", 86400.0 * 4, 86401.0 * 4)]
    assert "00:00:00:00 00:00:04:00 01:00:00:00" in written("edl", late)


def test_csv_and_json():
    rows = list(csv.DictReader(io.StringIO(written("csv"), newline="")))
    assert rows[0] == {
        "clip_id": "a/dög.mp4#t=10,12.5", "video": "a/dög.mp4", "start_s": "10.0", "end_s": "12.5",
        "streams": "appearance audio", "fps": "25.0",
    }  # fmt: skip
    read = json.loads(written("json"))
    assert read["title"] == 'dogs & "dögs"'
    assert [Moment(**{**each, "streams": tuple(each["streams"])}) for each in read["moments"]] == MOMENTS
    for bad in ("=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\uff1d1"):
        (_, row) = csv.reader(io.StringIO(written("csv", [Moment(bad, bad, 0.0, 1.0)]), newline=""))
        assert row[:2] == [f"'{bad}"] * 2
    assert next(csv.reader(io.StringIO(written("csv", MOMENTS[3:]).split("\n", 1)[1])))[0] == "b/dog-1.mkv"


NAMES = st.text(st.sampled_from("a.é'\"\\\n\r\t\0\x1b=,;#:%/\u2028漢 -*"), min_size=1, max_size=12)


@given(names=st.lists(NAMES, min_size=1, max_size=4), title=NAMES)
def test_no_name_leaves_its_field(names, title):
    moments = [Moment(name, name, 1.0, 2.0) for name in names]
    rows = list(csv.reader(io.StringIO(written("csv", moments), newline="")))
    assert [row[1].removeprefix("'") for row in rows[1:]] == [name.removeprefix("'") for name in names]
    assert [each["video"] for each in json.loads(written("json", moments))["moments"]] == names
    edl = written("edl", moments, title=title)
    assert edl.isascii()
    assert all(letter.isprintable() for letter in edl.replace("\n", ""))
    lines = edl.split("\n")
    assert len(lines) == 4 + 2 * len(names) + 1
    shown = [line.removeprefix("* FROM CLIP NAME: ") for line in lines[5::2]]
    assert [line.encode().decode("unicode_escape") for line in shown] == names
    reels = {name: line[5:13] for name, line in zip(names, lines[4::2])}
    assert len(set(reels.values())) == len(set(names))
    assert all(re.fullmatch("[A-Z0-9]+ *", reel) for reel in reels.values())
    for form in ("otio", "ffmpeg"):
        outside = any(name.startswith("/") or ".." in name.split("/") for name in names)
        broken = form == "ffmpeg" and any(re.search("[\n\r\0]", name) for name in names)
        if outside or broken:
            with pytest.raises(InputError):
                written(form, moments, title=title)
            continue
        text = written(form, moments, title=title)
        if form == "ffmpeg":
            files = [line for line in text.split("\n") if line.startswith("file")]
            assert len(text.split("\n")) == 4 + 3 * len(names) + 1
            paths = [line[6:-1].replace("'\\''", "'") for line in files]
        else:
            clips = json.loads(text)["tracks"]["children"][0]["children"]
            urls = [urlparse(clip["media_references"]["DEFAULT_MEDIA"]["target_url"]) for clip in clips]
            assert not any(url.scheme or url.netloc or url.query or url.fragment for url in urls)
            paths = [f"./{unquote(url.path)}" for url in urls]
        assert [Path(path) for path in paths] == [Path(name) for name in names]


def test_otio(tmp_path):
    folder = tmp_path / "my videos"
    timeline = json.loads(written("otio", folder=folder))
    tracks = timeline["tracks"]["children"]
    kinds = [[item["OTIO_SCHEMA"] for item in track["children"]] for track in tracks]
    assert kinds == [["Clip.2"] * 5, ["Clip.2", "Gap.1", "Gap.1", "Clip.2", "Clip.2"]]
    otio = pytest.importorskip("opentimelineio")
    read = otio.adapters.read_from_string(written("otio", folder=folder))
    assert (read.name, [track.kind for track in read.tracks]) == ('dogs & "dögs"', ["Video", "Audio"])
    clips = list(read.video_tracks()[0])
    assert [clip.name for clip in clips] == [moment.clip_id for moment in MOMENTS]
    ranges = [(c.source_range.start_time.to_seconds(), c.source_range.duration.to_seconds()) for c in clips]
    assert ranges == [(10, 2.48), (0, 5), (3600, 1), (pytest.approx(16 / 29.97), pytest.approx(1 / 29.97)), (0, 1)]
    assert [clip.media_reference.target_url for clip in clips[:2]] == [
        (folder / name).as_uri() for name in ("a/dög.mp4", "still.png")
    ]
    sound = [item.duration().to_seconds() for item in read.audio_tracks()[0]]
    assert sound == [clip.duration().to_seconds() for clip in clips]
    assert otio.adapters.read_from_string(read.to_json_string()).is_equivalent_to(read)


def test_ffmpeg_joins_the_moments_by_the_command_in_the_list(tmp_path):
    """Each video has one key frame, its first, is as bright as it has run seconds, and silent before the third."""
    program = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    av = pytest.importorskip("av")

    def run(*words):
        done = subprocess.run(
            [program, "-v", "error", "-y", *map(str, words)], cwd=tmp_path, capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr

    names = ["it's 'one'.mp4", "b: two.mp4"]
    for name in names:
        grey = ("-f", "lavfi", "-i", "color=black:s=64x64:r=10:d=6,geq=lum='32*floor(T)+16':cb=128:cr=128")
        run(
            *grey,
            "-f",
            "lavfi",
            "-i",
            "aevalsrc=sin(2000*t)*gte(t\\,3):d=6",
            "-pix_fmt",
            "yuv420p",
            "-g",
            99,
            tmp_path / name,
        )
    cuts = [Moment("a", names[0], 2.0, 3.5, ("audio",)), Moment("b", names[1], 4.0, 5.0, ("audio",))]
    for place in (None, tmp_path):
        text = written("ffmpeg", cuts, folder=place)
        (tmp_path / "cuts.ffconcat").write_text(text)
        (command,) = [line for line in text.splitlines() if line.startswith("# ffmpeg ")]
        run(*(word.replace("THIS_FILE", "cuts.ffconcat") for word in shlex.split(command)[2:]))
        with av.open(str(tmp_path / "out.mp4")) as made:
            sound = np.concatenate([frame.to_ndarray()[0] for frame in made.decode(audio=0)])
            made.seek(0)
            shown = [int(frame.to_ndarray(format="gray").mean()) // 32 for frame in made.decode(video=0)]
        assert shown == [2] * 10 + [3] * 5 + [4] * 10
        loud = np.abs(sound).reshape(-1)[: 44100 * 5 // 2].reshape(50, -1).max(1) > 0.1  # in steps of 50 ms
        assert (loud[1:18].any(), loud[22:48].all()) == (False, True)
    stills = written("ffmpeg", [Moment("s", "s.png", 0.0, 0.0)])
    assert stills.endswith("file './s.png'\nduration 5\n")


def test_what_a_form_cannot_hold_is_refused(says):
    moment, many = MOMENTS[0], [MOMENTS[0]] * (EVENTS + 1)
    refused = []
    for moments, form in (
        ([], "csv"), ([moment], "avi"), (many, "edl"), ([moment._replace(video="/etc/passwd")], "otio"),
        ([moment._replace(video="a/../../b.mp4")], "ffmpeg"), ([moment._replace(video="a\nb.mp4")], "ffmpeg"),
    ):  # fmt: skip
        with pytest.raises(InputError) as caught:
            written(form, moments)
        refused.append(str(caught.value))
    assert written("edl", many[1:]).count("\n999  ") == 1
    odd = [moment._replace(start_s=-5.0, end_s=-3.0), moment._replace(start_s=1e300, end_s=1e308)]
    assert [len(written(form, odd)) < 4000 for form in ("edl", "otio", "ffmpeg")] == [True] * 3
    says("\n".join(refused))
