"""Training videos among those to be measured are found by name and by the content of files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.data import leaks
from mee.errors import InputError

NAMES = st.sets(st.text("abc", min_size=1, max_size=2))
FILES = st.dictionaries(st.text("abc"), st.sampled_from("xyz"))


def digest(letter):
    return letter * 64


def hashed(source, **letters):
    """Give files of a source a content: v00="a" says that of v00.mp4."""
    known = {f"{name}.mp4": digest(letter) for name, letter in letters.items()}
    source.clips = source.clips.assign(file_sha256=source.clips["video"].map(known))
    return source


def record(train, contents=None, **more):
    return {"videos": {"train": train, "val": []}, "contents": {"train": contents or {}}, **more}


def apart(record, source, videos, **more):
    return leaks.check_apart(record, videos, source, what="split 'test'", **more)


def test_base_names():
    names = {
        "TrainVal/video7010.mp4": "video7010",
        "a/b/video7010.WEBM": "video7010",
        "old.3gp": "old",
        "M/M_00.00.51.926-00.00.54.129.avi": "M_00.00.51.926-00.00.54.129",
        "54322086@N00_2408598493_8c73ed65c6.mov": "54322086@N00_2408598493_8c73ed65c6",
        ".mp4": ".mp4",
    }
    names |= {name: name for name in ("video7010", "M_00.00.51.926-00.00.54.129", "-4wsuPCjDBc_5_15", "")}
    assert {name: leaks.base_name(name) for name in names} == names


@given(videos=NAMES, ids=NAMES, others=NAMES, files=FILES, trained=FILES)
def test_names_and_files_are_known_exactly_where_they_are_the_same(videos, ids, others, files, trained):
    assert leaks.known_names(sorted(videos), (), others) == sorted(videos & others)
    elsewhere = [f"folder/{name}.mp4" for name in others]  # ids are known in any folder and format
    assert leaks.known_names([], ids, elsewhere) == sorted(ids & others)
    found = leaks.same_files(files, trained)
    assert [name for name, _ in found] == sorted(name for name in files if files[name] in trained.values())
    assert all(files[name] == trained[other] for name, other in found)


SEEN = {"x/y.mp4": digest("b")[: leaks.DIGITS]}
OF_IMAGE = {"videos": {"train": [], "images": ["x/y.mp4"]}, "contents": {"train": {}, "images": SEEN}}
NINE_K = {"protocol": "msrvtt-1ka", "train_list": "9k"}


@pytest.mark.parametrize(
    ("trained", "videos", "ids", "says"),
    [
        (record([f"v0{n}.mp4" for n in range(5)]), range(1, 12), (), r"on 4 videos .*, 'v01\.mp4', .* and 1 more"),
        (record(["Train/v03.webm"], **NINE_K), (3, 4), ("v03", "v04"), r"'v03', .* on msrvtt-1ka, list 9k\)"),
        (record(["x/y.mp4"], SEEN), (0, 1), (), r"1 videos of split 'test' under .* 'v01\.mp4' is 'x/y\.mp4'"),
        ({"videos": {"train": ["x.mp4"], "images": ["v00.mp4"]}}, (0,), (), r"1 .* of split 'test', 'v00\.mp4'"),
        (OF_IMAGE, (1,), (), r"'v01\.mp4' is 'x/y\.mp4'"),
    ],
    ids=["name", "id of a benchmark", "file", "image by name", "image by file"],
)
def test_what_was_trained_on_is_refused(source, trained, videos, ids, says):
    hashed(source, v00="a", v01="b", v02="c")
    with pytest.raises(InputError, match=says):
        apart(trained, source, [f"v{number:02d}.mp4" for number in videos], ids=ids)
    apart(trained, source, ["v07.mp4"])
    if ids:  # your own folders may have names in common
        apart(trained, source, ["v03.mp4", "v04.mp4"])


def test_what_was_not_compared_is_reported(source):
    known = {"x.mp4": digest("x")[: leaks.DIGITS]}
    compared, half = (record(names, known) for names in (["x.mp4"], ["x.mp4", "y.mp4"]))
    assert "not compared" in apart(compared, source, ["v00.mp4"])  # no column
    hashed(source, v00="a")
    assert apart(compared, source, ["v00.mp4"]) == ""
    note = apart(half, source, ["v00.mp4", "v01.mp4"])
    assert "compared only in part" in note
    assert "of 1 of 2 training videos and of 1 of 2 of split 'test'" in note
    assert "not compared" in apart({"videos": {"train": ["x.mp4"], "val": []}}, source, ["v00.mp4"])
    assert "has no record of its training videos" in apart({}, source, ["v00.mp4"])


def test_contents_are_of_known_videos_once_and_other_systems_training_videos_are_no_test(make_source):
    source = make_source(["a.mp4", "b.mp4", "c.mp4"], clips_of_video=2)
    assert leaks.video_contents(source, ["a.mp4"]) == {}
    content = {"a.mp4": digest("a"), "b.mp4": None, "c.mp4": ""}
    source.clips = source.clips.assign(file_sha256=source.clips["video"].map(content))
    assert leaks.video_contents(source, ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]) == {"a.mp4": "a" * leaks.DIGITS}
    assert leaks.video_contents(source, ["b.mp4"]) == {}
    leaks.check_ids_apart({"a.mp4", "b"}, ["c", "d"], "seen.csv")
    with pytest.raises(InputError, match=r"^seen\.csv names 5 of the 6 test videos .* and 2 more"):
        leaks.check_ids_apart({f"t/v{n}.avi" for n in range(5)}, ["v9", *(f"v{n}" for n in range(5))], "seen.csv")


@pytest.mark.parametrize(
    ("image", "measured", "ids", "says"),
    [
        ("v00.mp4", "v00.mp4", (), r"^i\.csv: 1 of the images are validated or tested on, 'v00\.mp4'"),
        ("v09.mp4", "v01.mp4", (), r"^i\.csv: 1 of the images are the files of .* 'v09\.mp4' is 'v01\.mp4'"),
        ("v09.mp4", "v00.mp4", {"v09"}, "tested on, 'v09'"),  # of a benchmark, not in the store
    ],
)
def test_images_that_are_measured_on_are_refused(make_source, image, measured, ids, says):
    images = hashed(make_source(["v00.mp4", "v09.mp4"]), v09="b")
    videos = hashed(make_source(["v00.mp4", "v01.mp4"]), v01="b")
    leaks.check_images_apart((images, {"v09.mp4"}), (videos, {"v00.mp4"}), name="i.csv")
    with pytest.raises(InputError, match=says):
        leaks.check_images_apart((images, {image}), (videos, {measured}), name="i.csv", ids=ids)
