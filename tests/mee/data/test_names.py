"""Names meet: tables of spellings, which of them comes first, and what is ambiguous."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.data.names import Names, base_name, meet
from mee.data.pairs import find_videos
from mee.errors import InputError

NFC, NFD = (unicodedata.normalize(form, "größe é.mp4") for form in ("NFC", "NFD"))
CLIP = "0001_A_Film_00.00.51.926-00.00.54.129"
FOUND = {  # the known name: how it may be written
    "video0": ["video0.mp4", "video0.MKV", "video0.", "video0.mp4.npy", "a/video0.webm", ' "video0" '],
    "video0.mp4": ["video0", "./video0.mp4", "VIDEO0.MP4", "video0.mp4.npy", "v_video0", "\ufeff“video0”"],
    "a/b/video0.mp4": [
        "video0", "b/video0.mkv", "./a//b/video0.mp4", "x/../a/b/video0", r"C:\data\a\b\video0.mp4", r"a\b\video0",
        "/home/a/b/video0.mp4", "file:///data/a/b/video0.mp4", "B/Video0", r"\\server\a\b\video0.avi",
        "https://example.org/a/b/video0.mp4", "../b/video0.mp4",
    ],
    "my video #1.mp4": ["my%20video%20%231.mp4", "file:///x/my%20video%20%231.mp4", "file:my video #1.mp4"],
    r"clips\video0.mp4": ["clips/video0.mp4", "video0"],
    "new.dav": ["new", "a/new"],  # an ending that is not usual
    "33333@N02_4444_bbbb.mp4": ["33333@N02_4444_bbbb.", "33333@N02_4444_bbbb.mov"],
    "33333@N02_4444_bbbb.": ["33333@N02_4444_bbbb", "33333@N02_4444_bbbb.mp4"],
    f"A_Film/{CLIP}.avi": [CLIP, f"{CLIP}.mp4", f"0001_A_Film/{CLIP}"][:2],
    CLIP: [f"0001_A_Film/{CLIP}.avi", f"{CLIP}.npy"],
    NFC: [NFD, f"x/{NFD}", "GRÖSSE É", "größe é.mkv"], NFD: [NFC, f"x/{NFC}", "GRÖSSE É"],
    "v_abc-_1.mp4": ["abc-_1", "abc-_1.mkv", "x/abc-_1"], "abc-_1.mp4": ["v_abc-_1", "V_ABC-_1.mp4"],
    "7": ["7.0", "7.00", "007", "7.mp4"], "007.mp4": ["7", "7.0", "0007"], "7.0": ["7", "07"], "0": ["000", "0.0"],
    "a.mp4#t=0,10": ["a#t=0,10", "a.mp4#t=0.0,10.0", "x/a.mkv#t=0,10.00", "A#t=npt:0,10", "a.mp4#t=,10"],
    "a.mp4#t=3600.125,3601": ["a#t=3600.1250,3601.", "x/A#t=npt:3600.125,3601.0"],
}  # fmt: skip
UNKNOWN = {  # the known name: what is not it
    "video0.mp4": ["video", "video00", "video0.mp5", "", ".", ".mp4", "/", "video0.mp4#t=0,10", "video0.mp4/x"],
    "a/video0.mp4": ["b/video0.mp4", "a/a/b/video0.mp4/c", "a", "a/"],
    f"{CLIP}.avi": [CLIP.rpartition(".")[0], CLIP.partition("-")[0]], CLIP: [CLIP.rpartition(".")[0]],
    "Dr.Who": ["Dr.No", "Dr.Strange"], "abc": ["v_", "v_v_abc"],
    "a.mp4#t=0,10": ["a#t=0,1", "a", "a#t=10", "a#t=x", "a#t="],
    "7": ["7.5", "70", "-7", "7.0.0"],
}  # fmt: skip


@pytest.mark.parametrize(("known", "written"), [(known, one) for known, some in FOUND.items() for one in some])
def test_a_name_is_found_in_other_spellings(known, written):
    others = {name: name for name in ("other.mp4", "x/y/other2.mp4", "8", "a.mp4#t=10,20")}
    assert Names({**others, known: known}, "x").find(written) == known


@pytest.mark.parametrize(("known", "written"), [(known, one) for known, some in UNKNOWN.items() for one in some])
def test_a_name_is_not_another(known, written):
    assert Names({known: known}, "x").find(written) is None


CLOSER = {  # known names: how one is written, and which it is
    ("v.mp4", "v.mkv", "v"): {"v.mp4": "v.mp4", "v": "v", "v.avi": "v"},
    ("v.mp4", "v.mkv"): {"v": "v.mp4 v.mkv", "v.avi": "v.mp4 v.mkv", "v.mkv.npy": "v.mkv", "a/v.mkv": "v.mkv"},
    ("v.mp4", "v.wav", "w.mp3", "w.WAV"): {"v": "v.mp4", "v.mkv": "v.mp4", "v.wav": "v.wav", "w": "w.mp3 w.WAV"},
    ("a.mp4", "d/a.mp4", "d/b.mp4", "e/b.mp4", "e/c.mp4"): {
        "./a.mp4": "a.mp4", "c.mp4": "e/c.mp4", "../d/b.mp4": "d/b.mp4", "/x/d/a.mp4": "d/a.mp4", "d": "",
        "b.mp4": "d/b.mp4 e/b.mp4",
    },
    ("v.mp4", "a/v.mp4", "b/v.mp4"): {"v": "v.mp4", "b/v": "b/v.mp4", "/x/a/v": "a/v.mp4", "c/v": "v.mp4"},
    ("a/v.mp4", "b/v.mp4"): {"v": "a/v.mp4 b/v.mp4", "x/b/v": "b/v.mp4", "c/v": ""},
    ("abc.mp4", "v_abc.mp4"): {"abc": "abc.mp4", "v_abc.mkv": "v_abc.mp4", "ABC": "abc.mp4 v_abc.mp4"},
    ("AbC", "aBc"): {"AbC.mp4": "AbC", "abc": "AbC aBc"},
    ("7", "007"): {"7.0": "7", "007": "007", "07": "7 007"},
    ("x/7.mp4", "x/07.mp4"): {"7": "x/7.mp4", "7.0": "x/7.mp4", "007": "x/7.mp4 x/07.mp4"},
    ("\u00e9", "e\u0301"): {"\u00e9": "\u00e9", "e\u0301": "e\u0301", "e\u0301.mp4": "\u00e9 e\u0301"},
    ("v.mp4", "v.mp4#t=0,10", "v.mp4#t=10,20"): {"v": "v.mp4", "v#t=10,20.0": "v.mp4#t=10,20"},
}  # fmt: skip


@pytest.mark.parametrize("known", CLOSER, ids=" ".join)
def test_the_closer_spelling_counts_and_never_one_of_several(known):
    names = Names({name: name for name in known}, "the store")
    for written, which in CLOSER[known].items():
        assert " ".join(names.meant(written).names) == which
        assert names.find(written) == (which if which.count(" ") == 0 and which else None)
    assert Names(dict.fromkeys(known, "one thing"), "x").find("a/v.xyz") is None


@given(
    names=st.lists(st.text(st.sampled_from("aA0.v_/ \\é#%"), max_size=8), unique=True), written=st.text(max_size=8)
)
def test_a_known_name_means_itself_and_no_name_fails(names, written):
    known = Names({name: name for name in names}, "x")
    assert [known.find(name) for name in names] == names
    assert known.find(written) in (None, *names)
    assert known.reason(written)
    assert isinstance(base_name(written), str)


def test_near_names_are_named(says):
    names = Names({f"a/video{number}.mp4": number for number in range(20)} | {"v.mp4": 1, "v.mkv": 2}, "the store")
    refused = []
    for name in ("vido7", "b/Video77.avi", "nothing", "a", "mp4", "v"):
        with pytest.raises(InputError) as caught:
            names.need(name, "file")
        refused.append(str(caught.value))
    says("\n".join(refused))


def test_ids_of_a_file_meet_clips_one_to_one(says):
    known = ["a.mp4", "b/c.mp4", "v_d.mp4", "e.mp4", "e.mkv"]
    assert meet(["a", "x/b/c.npy", "d", "new"], known, "f") == {
        "a": "a.mp4",
        "x/b/c.npy": "b/c.mp4",
        "d": "v_d.mp4",
    }
    assert meet(["d", "v_d"], known, "f") == {"v_d": "v_d.mp4"}  # and d is another
    assert meet(known, known, "f") == {name: name for name in known}
    refused = []
    for ids in (["a", "a.mp4"], ["D", "V_D"], ["a", "e"]):
        with pytest.raises(InputError) as caught:
            meet(ids, known, "f.npz")
        refused.append(str(caught.value))
    says("\n".join(refused))


def test_one_file_is_not_found_under_two_folders_of_which_it_has_none(make_source):
    source = make_source(["0.mp4", "1.mp4"])
    found, left_out = find_videos(["train/0.mp4", "test/0.mp4", "/x/1", "1"], source, partial=True)
    assert ([*found], left_out) == (["/x/1", "1"], ["train/0.mp4", "test/0.mp4"])
    with pytest.raises(InputError, match=r"0\.mp4 may be any of train/0\.mp4 or test/0\.mp4"):
        find_videos(["train/0.mp4", "test/0.mp4", "1"], source, partial=False)
    assert [*find_videos(["/data/train/0.mp4", "train/0"], source, partial=False)[0]]  # the same folder
